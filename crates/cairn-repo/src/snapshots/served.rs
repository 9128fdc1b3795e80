//! What a server of snapshots needs beside the contract: whose snapshots they are, removals that do not wait for the
//! files, and layers that are here already.

use std::path::PathBuf;

use cairn_layer::Layer;
use cairn_model::{Digest, Driver, Entry, Meta, MountPlan, SnapshotKey};
use cairn_snapshot::{Kind, Labels, Snapshot, Snapshotter, graph};
use cairn_store::{Rows, Txn};
use sha2::Digest as _;

use super::Snapshots;
use crate::error::{Error, Result};
use crate::rows;

/// Label of a snapshot that belongs to containerd: the namespace there. Only containerd removes such a one, or a
/// user who insists.
pub const NAMESPACE: &str = "containerd.io/namespace";

/// Label with the chain id of the layers up to a snapshot.
pub const CHAIN: &str = "containerd.io/snapshot.ref";

/// A snapshot whose record is gone.
#[must_use = "what it wrote stays until it is freed, or a collection comes"]
#[derive(Debug)]
pub struct Released(Option<PathBuf>);

impl Released {
    /// Removes the files that it had.
    pub fn free(self) -> Result<()> {
        match self.0 {
            Some(head) => crate::heads::remove(&head),
            None => Ok(()),
        }
    }
}

/// A layer, and what it is to stand on, by the ids that images have for them.
#[derive(Debug, Clone)]
pub struct Link {
    /// The chain id up to the layer: its diff id where it is the lowest, else the SHA-256 of the chain id below, a
    /// space and the diff id (OCI image specification, config.md).
    pub chain: Digest,
    /// The chain id below.
    pub below: Option<Digest>,
    /// The diff id, where somebody says it. It is believed only as far as the chain id bears it out.
    pub diff_id: Option<Digest>,
}

/// A committed snapshot that somebody is about to unpack.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is to be called.
    pub name: SnapshotKey,
    /// What it is to stand on.
    pub parent: Option<SnapshotKey>,
    /// Its layer.
    pub link: Link,
    /// Labels.
    pub labels: Labels,
}

impl Link {
    fn is_made_of(&self, diff_id: &Digest) -> bool {
        match &self.below {
            None => self.chain == *diff_id,
            Some(below) => {
                let text = format!("{below} {diff_id}");
                let sum = sha2::Sha256::digest(text.as_bytes());
                self.chain == Digest::from_bytes(sum.into())
            }
        }
    }

    /// The layer, by the diff ids that are known, or by another snapshot of the same chain.
    fn layer(&self, rows: &dyn Rows) -> Result<Option<Layer>> {
        let said = self.diff_id.or(self.below.is_none().then_some(self.chain));
        let found = match said.filter(|id| self.is_made_of(id)) {
            Some(diff_id) => rows::layer_of_diff(rows, &diff_id)?,
            None => {
                let is_it = |layer: &Layer| layer.diff_id.is_some_and(|id| self.is_made_of(&id));
                rows::layers(rows)?.into_iter().find(is_it)
            }
        };
        if found.is_some() {
            return Ok(found);
        }
        let chain = self.chain.to_string();
        let twin = graph::list(rows)?
            .into_iter()
            .find(|s| s.kind == Kind::Committed && s.labels.get(CHAIN) == Some(&chain));
        let layer = twin.and_then(|twin| twin.layer);
        layer.map(|id| rows::layer(rows, &id)).transpose()
    }
}

impl Snapshots<'_> {
    /// Removes the record of a snapshot that nothing depends on, whoever it belongs to and whether or not it is
    /// mounted. It is gone at once; what it wrote goes when the answer is freed.
    pub fn release(&self, key: &SnapshotKey) -> Result<Released> {
        self.repo.store.may_spend_reserve();
        let head = self.remove_record(key)?.head;
        Ok(Released(head.map(|head| self.repo.heads().dir(&head))))
    }

    /// Removes a snapshot that is not mounted, also one that containerd may still refer to.
    pub fn remove_any(&self, key: &SnapshotKey) -> Result<()> {
        self.repo.store.may_spend_reserve();
        self.repo.views().refuse_if_mounted(&self.stat(key)?)?;
        self.release(key)?.free()
    }

    pub(super) fn take_files(&self, gone: &Snapshot, entries: &[Entry]) {
        let Some(head) = &gone.head else { return };
        // Views over packs have no use for them.
        if matches!(self.repo.views().driver(), Ok(Driver::Packs)) && self.repo.store.has_frames() {
            return;
        }
        let wait = || self.repo.store.db().release();
        let directory = self.repo.heads().dir(head);
        let cache = self.repo.views().cache();
        // It only saves work.
        match cache.take_files(&directory, entries, &wait) {
            Ok(count) => tracing::debug!(count, "files of the head are in the cache"),
            Err(e) => tracing::debug!(error = %e, "files of the head are not taken"),
        }
    }

    /// A layer that is here, with all its content.
    fn known(&self, link: &Link) -> Result<Option<Layer>> {
        let found = self.repo.store.db().read(|rows| link.layer(rows))?;
        Ok(found.filter(|layer| self.repo.is_whole(layer)))
    }

    /// Makes an active snapshot over nothing as a layer that is here would have made it by being applied to it; none,
    /// where it is not here, or not whole.
    pub fn prepare_known(
        &self,
        key: &SnapshotKey,
        link: &Link,
        labels: Labels,
    ) -> Result<Option<MountPlan>> {
        // What is found from here on stays until it is referred to.
        let _lease = self.repo.store.lease()?;
        let Some(layer) = self.known(link)? else {
            return Ok(None);
        };
        let apply = |txn: &mut Txn<'_>| {
            // A collection may have been quicker.
            rows::layer(txn, &layer.id).map_err(|_| Error::LayerGone)?;
            let usage = super::apply::usage_of(&layer);
            Ok(graph::apply(txn, key, layer.id, usage)?)
        };
        let plan = match self.create(key, Kind::Active, None, labels, false, &apply) {
            Err(Error::LayerGone) => return Ok(None),
            plan => plan?,
        };
        if let Err(e) = self.root_as_applied(key) {
            // Nobody gets to know of it, and the first error counts.
            let _ = self.release(key).and_then(Released::free);
            return Err(e);
        }
        Ok(Some(plan))
    }

    /// The attributes of the root directory that a snapshot shows, without what an active one changed.
    pub fn root(&self, key: &SnapshotKey) -> Result<Meta> {
        self.repo.views().root_meta(&self.layers(key)?)
    }

    /// Makes a committed snapshot of a layer that is here already; false where it is not, or is not whole.
    pub fn commit_known(&self, target: &Target) -> Result<bool> {
        // What is found from here on stays until it is referred to.
        let _lease = self.repo.store.lease()?;
        let db = self.repo.store.db();
        let Some(layer) = self.known(&target.link)? else {
            return Ok(false);
        };
        db.write::<_, Error>(|txn| {
            // A collection may have been quicker.
            if rows::layer(txn, &layer.id).is_err() {
                return Ok(false);
            }
            let usage = super::apply::usage_of(&layer);
            let (parent, labels) = (target.parent.as_ref(), target.labels.clone());
            graph::create_committed(txn, &target.name, parent, layer.id, usage, labels)?;
            Ok(true)
        })
    }
}

/// Refuses what belongs to containerd, which would go on counting on it.
pub(super) fn refuse_if_served(snapshot: &Snapshot) -> Result<()> {
    let Some(namespace) = snapshot.labels.get(NAMESPACE) else {
        return Ok(());
    };
    let key = snapshot.key.clone();
    let by = format!(
        "containerd's namespace {namespace}; remove it there, or here with --force if containerd has forgotten it"
    );
    Err(cairn_snapshot::Error::InUse { key, by }.into())
}
