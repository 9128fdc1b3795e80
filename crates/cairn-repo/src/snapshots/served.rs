//! What a server of snapshots needs beside the contract: whose snapshots they are, removals that do not wait for the
//! files, and layers that are here already.

use std::path::PathBuf;

use cairn_layer::Layer;
use cairn_model::{Digest, Entry, SnapshotKey};
use cairn_snapshot::{Kind, Labels, Snapshot, Snapshotter, graph};
use cairn_store::Rows;
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

/// A committed snapshot that somebody is about to unpack.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is to be called.
    pub name: SnapshotKey,
    /// What it is to stand on.
    pub parent: Option<SnapshotKey>,
    /// The chain id of its layers: with one layer its diff id, with more the SHA-256 of the chain id below, a
    /// space and the diff id (OCI image specification, config.md).
    pub chain: Digest,
    /// The chain id of its parent.
    pub below: Option<Digest>,
    /// Labels.
    pub labels: Labels,
}

impl Target {
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
        if self.below.is_none()
            && let Some(layer) = rows::layer_of_diff(rows, &self.chain)?
        {
            return Ok(Some(layer));
        }
        let is_it = |layer: &Layer| layer.diff_id.is_some_and(|id| self.is_made_of(&id));
        if let Some(layer) = rows::layers(rows)?.into_iter().find(is_it) {
            return Ok(Some(layer));
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

    /// As a commit, of a head that nobody has open any more: its files are moved to the cache where that lacks
    /// them, so that views of the snapshot need not write them again.
    pub fn commit_taking(
        &self,
        name: &SnapshotKey,
        key: &SnapshotKey,
        labels: Labels,
    ) -> Result<()> {
        self.commit_and(name, key, labels, true)
    }

    pub(super) fn take_files(&self, gone: &Snapshot, entries: &[Entry]) {
        let Some(head) = &gone.head else { return };
        let wait = || self.repo.store.db().release();
        let directory = self.repo.heads().dir(head);
        let cache = self.repo.views().cache();
        // It only saves work.
        match cache.take_files(&directory, entries, &wait) {
            Ok(count) => tracing::debug!(count, "files of the head are in the cache"),
            Err(e) => tracing::debug!(error = %e, "files of the head are not taken"),
        }
    }

    /// Makes a committed snapshot of a layer that is here already; false where it is not, or is not whole.
    pub fn commit_known(&self, target: &Target) -> Result<bool> {
        // What is found from here on stays until it is referred to.
        let _lease = self.repo.store.lease()?;
        let db = self.repo.store.db();
        let Some(layer) = db.read(|rows| target.layer(rows))? else {
            return Ok(false);
        };
        if !self.repo.is_whole(&layer) {
            return Ok(false);
        }
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
