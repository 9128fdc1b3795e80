//! Commits: what is in an active snapshot becomes a layer.

use cairn_layer::{Layer, Scanned, Tree};
use cairn_model::{Entry, SnapshotKey};
use cairn_snapshot::{Labels, Snapshot, Snapshotter, graph};
use cairn_store::Ingest;

use super::apply::{self, Committed};
use super::{Snapshots, refuse_if_container};
use crate::error::{Error, Result};
use crate::rows;

/// How a snapshot is committed, beside its name.
#[derive(Debug, Clone, Default)]
pub struct Committing {
    /// Its labels.
    pub labels: Labels,
    /// What it is put onto, where it stands on nothing so far.
    pub onto: Option<SnapshotKey>,
    /// Nobody has its head open any more: files that the cache lacks are moved there, so that views of the snapshot
    /// need not write them again.
    pub take: bool,
}

impl Snapshots<'_> {
    /// A commit in all its forms.
    pub fn commit_as(&self, name: &SnapshotKey, key: &SnapshotKey, how: &Committing) -> Result<()> {
        let snapshot = self.stat(key)?;
        let onto = how.onto.as_ref();
        graph::parent_of_commit(&snapshot, onto)?;
        self.repo.views().refuse_if_mounted(&snapshot)?;
        // Also asked before anything is read: a container's head may change under the reader.
        self.repo.store.db().read::<_, Error>(|rows| {
            refuse_if_container(rows, key)?;
            match graph::find(rows, name)? {
                Some(_) => Err(cairn_snapshot::Error::Exists(name.clone()).into()),
                None => Ok(()),
            }
        })?;
        let store = &self.repo.store;
        let bring = || {
            let (layer, written, ingest) = self.read_active(&snapshot, onto)?;
            self.repo.require_own_names(&layer)?;
            let gone = store.publish::<_, Error>(ingest.finish()?, |txn| {
                refuse_if_container(txn, key)?;
                rows::put_layer(txn, &layer)?;
                let (usage, labels) = (apply::usage_of(&layer), how.labels.clone());
                let gone = graph::commit(txn, name, key, onto, layer.id, usage, labels)?;
                Ok(gone)
            })?;
            Ok((gone, written))
        };
        let (gone, written) = self.repo.with_room(bring, || Ok(None))?;
        if how.take {
            self.take_files(&gone, &written);
        }
        self.repo.heads().remove_of(&gone)
    }

    /// The layer of what is in an active snapshot now, over its parent or what it is put onto; the entries that were
    /// read from its head, and the ingest that has what is new of both.
    pub(super) fn read_active(
        &self,
        snapshot: &Snapshot,
        onto: Option<&SnapshotKey>,
    ) -> Result<(Layer, Vec<Entry>, Ingest)> {
        let store = &self.repo.store;
        if let Some(layer) = self.only_applied(snapshot)? {
            return Ok((layer, Vec::new(), store.ingest()?));
        }
        let below = match graph::parent_of_commit(snapshot, onto)? {
            Some(parent) => self.layers(parent)?,
            None => Vec::new(),
        };
        let applied = self.repo.layers(snapshot.layer.as_slice())?;
        let base = [&below[..], &applied].concat();
        if snapshot.parent.is_none() && onto.is_some() {
            self.root_as_put_onto(snapshot, &applied, &base)?;
        }
        let tree = self.repo.tree(&base)?;
        let ingest = store.ingest()?;
        let scanned = self.repo.heads().read(snapshot, &tree, &ingest)?;
        Ok(match self.with_applied(snapshot, scanned)? {
            Committed::Applied(layer) => (layer, Vec::new(), ingest),
            Committed::Written(scanned) => (scanned.layer, scanned.entries, ingest),
            Committed::Both(scanned) => {
                let (layer, ingest) = self.squashed(&below, tree, &scanned, ingest)?;
                (layer, Vec::new(), ingest)
            }
        })
    }

    /// One layer of what was applied to a snapshot and what was written over it; `below` is what both are over, and
    /// `tree` what was applied.
    fn squashed(
        &self,
        below: &[Layer],
        mut tree: Tree,
        written: &Scanned,
        ingest: Ingest,
    ) -> Result<(Layer, Ingest)> {
        let below = self.repo.tree(below)?;
        tree.apply(&written.entries)?;
        let (store, limits) = (&self.repo.store, self.repo.options.limits);
        // Its lease keeps what the first one brings, which is read for the new layer.
        let both = store.ingest()?;
        store.publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
        let scanned = cairn_layer::layer_between(store, &below, &tree, both.feeder(), limits)?;
        Ok((scanned.layer, both))
    }
}
