//! What of the cache is of no use any more.

use std::collections::HashSet;

use cairn_layer::Layer;
use cairn_model::{Kind as EntryKind, ObjectId, TreeId};
use cairn_snapshot::Kind;
use cairn_view::Evicted;

use super::{Gc, roots};
use crate::error::{Error, Result};
use crate::trees::tree_id;

impl Gc<'_> {
    /// Views of trees that are gone, and objects no layer has, leave the cache; with `prune`, all that
    /// nothing writable or mounted is made of. Roots are read again once no view can be made, so that
    /// what came meanwhile stays.
    pub(super) fn evict(&self, prune: bool) -> Result<Evicted> {
        self.repo.views().cache().retain::<Error>(|| {
            let roots = self.repo.store.db().read::<_, Error>(|rows| roots(rows))?;
            let mut trees: HashSet<TreeId> = HashSet::new();
            let mut objects: HashSet<ObjectId> = HashSet::new();
            for snapshot in roots
                .snapshots
                .iter()
                .filter(|s| !prune || s.kind != Kind::Committed)
            {
                let layers = roots.chain(snapshot)?;
                if trees.insert(tree_id(&layers)) && prune {
                    for layer in &layers {
                        self.objects_of(layer, &mut objects)?;
                    }
                }
            }
            if !prune {
                for layer in &roots.layers {
                    self.objects_of(layer, &mut objects)?;
                }
            }
            Ok((trees, objects))
        })
    }

    /// Names that contents of a layer would have in the object cache.
    fn objects_of(&self, layer: &Layer, objects: &mut HashSet<ObjectId>) -> Result<()> {
        for entry in layer.read_entries(&self.repo.store)? {
            if let EntryKind::File(content) = &entry.kind {
                objects.insert(content.object());
            }
        }
        Ok(())
    }
}
