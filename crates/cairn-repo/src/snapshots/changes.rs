//! What differs between snapshots.

use cairn_layer::{Change, Tree, diff};
use cairn_model::SnapshotKey;
use cairn_snapshot::{Kind, Snapshotter};

use super::Snapshots;
use crate::error::Result;

impl Snapshots<'_> {
    /// The tree a process in this snapshot sees, with what an active one changed so far.
    fn tree_now(&self, key: &SnapshotKey) -> Result<Tree> {
        let snapshot = self.stat(key)?;
        let mut tree = self.tree(key)?;
        if snapshot.kind == Kind::Active {
            // For the comparison only: nothing of it is stored.
            let rehearsal = self.repo.store.rehearse()?;
            let ingest = rehearsal.ingest();
            let scanned = self.repo.heads().read(&snapshot, &tree, ingest)?;
            tree.apply(&scanned.entries)?;
        }
        Ok(tree)
    }

    /// What differs between two snapshots.
    pub fn diff(&self, old: &SnapshotKey, new: &SnapshotKey) -> Result<Vec<Change>> {
        Ok(diff(&self.tree_now(old)?, &self.tree_now(new)?))
    }

    /// What an active snapshot changed, or a committed one brought, against its parent.
    pub fn changes(&self, key: &SnapshotKey) -> Result<Vec<Change>> {
        let before = match self.stat(key)?.parent {
            Some(parent) => self.tree(&parent)?,
            None => Tree::new(),
        };
        Ok(diff(&before, &self.tree_now(key)?))
    }
}
