//! Layers of a chain, and the tree they merge to.

use std::collections::HashMap;

use cairn_layer::{Layer, Tree};
use cairn_model::{Entry, LayerId, SnapshotKey, TreeId};
use cairn_snapshot::{Snapshot, graph};

use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::rows;

/// A layer and its entries.
pub(crate) type ReadLayer = (LayerId, Vec<Entry>);

impl Repo {
    /// Records of these layers, in one look at the database.
    pub(crate) fn layers(&self, ids: &[LayerId]) -> Result<Vec<Layer>> {
        self.store
            .db()
            .read(|rows| ids.iter().map(|id| rows::layer(rows, id)).collect())
    }

    /// Layers of a snapshot, lowest first.
    pub(crate) fn layers_of(&self, key: &SnapshotKey) -> Result<Vec<Layer>> {
        let ids = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok(graph::layers(rows, key)?))?;
        self.layers(&ids)
    }

    /// The tree a chain of layers merges to.
    pub(crate) fn tree(&self, layers: &[Layer]) -> Result<Tree> {
        self.tree_after(layers, None)
    }

    /// The same where one of them was read already.
    pub(crate) fn tree_after(&self, layers: &[Layer], read: Option<ReadLayer>) -> Result<Tree> {
        // This takes long; nobody should wait for it.
        self.store.db().release();
        let mut tree = Tree::new();
        for layer in layers {
            self.watch().check()?;
            match &read {
                Some((id, entries)) if *id == layer.id => tree.apply(entries)?,
                _ => tree.apply(&layer.read_entries(&self.store)?)?,
            }
        }
        Ok(tree)
    }
}

/// Name of the tree that a chain of layers merges to.
pub(crate) fn tree_id(layers: &[Layer]) -> TreeId {
    let ids: Vec<LayerId> = layers.iter().map(|layer| layer.id).collect();
    tree_of(&ids)
}

/// What names of trees are derived with.
const TREE: &str = "cairn 2026 tree of layers v1";

/// The same of their ids, lowest first.
pub(crate) fn tree_of(layers: &[LayerId]) -> TreeId {
    let mut hasher = blake3::Hasher::new_derive_key(TREE);
    for layer in layers {
        hasher.update(layer.as_bytes());
    }
    TreeId::from_bytes(*hasher.finalize().as_bytes())
}

/// The names of the trees of none of the layers, of the lowest, of the two lowest, and so on.
pub(crate) fn trees_up_to(layers: &[Layer]) -> Vec<TreeId> {
    let mut hasher = blake3::Hasher::new_derive_key(TREE);
    let mut out = vec![tree_of(&[])];
    for layer in layers {
        hasher.update(layer.id.as_bytes());
        out.push(TreeId::from_bytes(*hasher.finalize().as_bytes()));
    }
    out
}

/// The same of a snapshot and all below it, among these; of none, the empty tree's.
pub(crate) fn tree_over(
    among: &HashMap<&SnapshotKey, &Snapshot>,
    top: Option<&SnapshotKey>,
) -> Result<TreeId> {
    let chain = graph::ancestors(top, |key| Ok(among.get(key).copied()));
    let mut layers: Vec<LayerId> = Vec::new();
    for snapshot in chain {
        layers.extend(snapshot?.layer);
    }
    layers.reverse();
    Ok(tree_of(&layers))
}
