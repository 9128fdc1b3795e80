//! What a snapshot changed, as the tar of a layer.

use std::collections::HashMap;

use cairn_image::{Compression, Packed, pack};
use cairn_layer::Layer;
use cairn_model::{Digest, SnapshotKey, TreeId};
use cairn_snapshot::{Kind, Snapshot, Snapshotter};

use super::Snapshots;
use crate::error::{Error, Result};
use crate::trees::{tree_id, tree_of, tree_over};

/// A layer as it goes out.
#[derive(Debug)]
pub struct PackedChanges {
    /// Its blob.
    pub packed: Packed,
    /// SHA-256 of its tar.
    pub diff_id: Digest,
}

impl Snapshots<'_> {
    /// True where the parent of a snapshot shows the tree `below`; without one that is the empty tree.
    pub fn stands_on(&self, key: &SnapshotKey, below: Option<TreeId>) -> Result<bool> {
        let found = match self.stat(key)?.parent {
            Some(parent) => tree_id(&self.layers(&parent)?),
            None => tree_of(&[]),
        };
        Ok(found == below.unwrap_or(tree_of(&[])))
    }

    /// A committed snapshot that makes the tree `to` of the tree `from`; without one, of nothing.
    pub fn between(&self, from: Option<TreeId>, to: TreeId) -> Result<Option<SnapshotKey>> {
        let all = self.walk(&[])?;
        let by_key: HashMap<&SnapshotKey, &Snapshot> = all.iter().map(|s| (&s.key, s)).collect();
        let from = from.unwrap_or(tree_of(&[]));
        for snapshot in all.iter().filter(|s| s.kind == Kind::Committed) {
            if tree_over(&by_key, Some(&snapshot.key))? == to
                && tree_over(&by_key, snapshot.parent.as_ref())? == from
            {
                return Ok(Some(snapshot.key.clone()));
            }
        }
        Ok(None)
    }

    /// Compresses what an active snapshot changed so far, or a committed one brought, into a file without a name: the
    /// layer that a commit would make, or the tar that came in. The snapshot stays as it is; whoever writes to it has to
    /// be paused.
    pub fn pack_changes(
        &self,
        key: &SnapshotKey,
        compression: Compression,
    ) -> Result<PackedChanges> {
        let snapshot = self.stat(key)?;
        // What is read from a head is content that nothing refers to; until it is packed, no collection takes it.
        let _lease = self.repo.store.lease()?;
        let layer = match snapshot.kind {
            Kind::Committed => {
                let layers = self.repo.layers(snapshot.layer.as_slice())?;
                layers.into_iter().next().ok_or(Error::LayerGone)?
            }
            _ => self
                .repo
                .with_room(|| self.stored_changes(&snapshot), || Ok(None))?,
        };
        let export = self.repo.export_layer(&self.repo.with_diff_id(&layer)?)?;
        let diff_id = export.diff_id;
        let images = self.repo.images();
        let export = images.telling(export);
        let packed = pack(&export, compression, None, &self.repo.spool())?;
        Ok(PackedChanges { packed, diff_id })
    }

    fn stored_changes(&self, snapshot: &Snapshot) -> Result<Layer> {
        let (layer, _, ingest) = self.read_active(snapshot, None)?;
        let store = &self.repo.store;
        store.publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
        Ok(layer)
    }
}
