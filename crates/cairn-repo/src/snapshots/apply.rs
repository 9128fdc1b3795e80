//! A layer that goes into an active snapshot without being written out: from then on it lies below the head.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_layer::{Layer, Scanned, import_tar};
use cairn_model::{Digest, Meta, SnapshotKey, Timestamp};
use cairn_snapshot::{Kind, Snapshot, Snapshotter, Usage, graph};

use super::Snapshots;
use crate::error::{At, Error, Result};
use crate::rows;

/// What an application gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// SHA-256 of the layer's tar.
    pub diff_id: Digest,
    /// Length of the tar, bytes.
    pub bytes: u64,
}

impl Snapshots<'_> {
    /// The active snapshot that writes to the directory `upper`.
    pub fn of_upper(&self, upper: &Path) -> Result<Option<SnapshotKey>> {
        let head = upper.parent().and_then(Path::file_name);
        let Some(head) = head.and_then(|name| name.to_str()?.parse().ok()) else {
            return Ok(None);
        };
        let directory = self.repo.heads().dir(&head);
        if cairn_view::upper(&directory) != upper {
            return Ok(None);
        }
        let all = self.walk(&[])?;
        let found = all.into_iter().find(|s| s.head == Some(head));
        Ok(found.map(|snapshot| snapshot.key))
    }

    /// Reads a layer's tar into the active snapshot `key`, which was not written to yet. Its content goes straight
    /// into packs; mounts that are asked for from now on show it.
    ///
    /// # Errors
    /// Where something was written to the snapshot, or applied to it, before.
    pub fn apply(&self, key: &SnapshotKey, tar: &mut dyn Read) -> Result<Applied> {
        let snapshot = self.stat(key)?;
        self.repo.views().refuse_if_mounted(&snapshot)?;
        self.refuse_if_written(&snapshot)?;
        let ingest = self.repo.store.ingest()?;
        let read = import_tar(tar, ingest.feeder(), self.repo.options.limits)?;
        let layer = read.layer;
        let store = &self.repo.store;
        store.publish::<_, Error>(ingest.finish()?, |txn| {
            rows::put_layer(txn, &layer)?;
            Ok(graph::apply(txn, key, layer.id, usage_of(&layer))?)
        })?;
        self.root_as_applied(key)?;
        Ok(Applied {
            diff_id: read.diff_id,
            bytes: layer.tar_bytes.unwrap_or_default(),
        })
    }

    /// The root directory of a head hides that of what is below it, so it gets the attributes of the new one.
    pub(super) fn root_as_applied(&self, key: &SnapshotKey) -> Result<()> {
        let Some(head) = self.stat(key)?.head else {
            return Ok(());
        };
        let root = self.root(key)?;
        self.set_root(&self.repo.heads().dir(&head), &root)
    }

    fn set_root(&self, head: &Path, root: &Meta) -> Result<()> {
        let driver = self.repo.views().driver()?;
        Ok(cairn_view::start_head(
            &self.repo.store,
            driver,
            head,
            root,
        )?)
    }

    /// A snapshot that was begun over nothing is put onto others: its root directory becomes theirs, unless what was
    /// written to it has brought another.
    pub(super) fn root_as_put_onto(
        &self,
        snapshot: &Snapshot,
        begun: &[Layer],
        base: &[Layer],
    ) -> Result<()> {
        let Some(head) = &snapshot.head else {
            return Ok(());
        };
        let directory = self.repo.heads().dir(head);
        if cairn_view::is_full_copy(&directory) {
            // It says what is there, not what was taken away: all that it is put onto would be.
            return Err(Error::Invalid(format!(
                "snapshot {} was written with the driver copy and cannot be put onto another",
                snapshot.key
            )));
        }
        let upper = cairn_view::upper(&directory);
        let views = self.repo.views();
        let now = upper.metadata().at("look at", &upper)?;
        if !has_owner_and_mode(&now, &views.root_meta(begun)?) {
            return Ok(());
        }
        let root = Meta {
            mtime: mtime(&now),
            ..views.root_meta(base)?
        };
        self.set_root(&directory, &root)
    }

    /// The layer that was applied to a snapshot, where nothing was written over it: then nothing need be read.
    pub(super) fn only_applied(&self, snapshot: &Snapshot) -> Result<Option<Layer>> {
        let (Some(applied), Some(head)) = (snapshot.layer, &snapshot.head) else {
            return Ok(None);
        };
        let directory = self.repo.heads().dir(head);
        let root = self.root(&snapshot.key)?;
        if cairn_view::is_full_copy(&directory)
            || !is_untouched(&cairn_view::upper(&directory), &root)?
        {
            return Ok(None);
        }
        Ok(self.repo.layers(&[applied])?.into_iter().next())
    }

    fn refuse_if_written(&self, snapshot: &Snapshot) -> Result<()> {
        let refuse = |action| {
            let (key, kind) = (snapshot.key.clone(), snapshot.kind.as_str());
            Err(cairn_snapshot::Error::NotActive { key, kind, action }.into())
        };
        let Some(head) = snapshot.head.filter(|_| snapshot.kind == Kind::Active) else {
            return refuse("written");
        };
        let directory = self.repo.heads().dir(&head);
        let upper = cairn_view::upper(&directory);
        let mut entries = std::fs::read_dir(&upper).at("list", &upper)?;
        let is_fresh = entries.next().is_none() && !cairn_view::is_full_copy(&directory);
        if snapshot.layer.is_some() || !is_fresh {
            return Err(Error::Invalid(format!(
                "snapshot {} was written to; a layer can only be applied to a fresh one",
                snapshot.key
            )));
        }
        Ok(())
    }

    /// The layer of a commit: what was applied, what was written over it, or both in one.
    pub(super) fn with_applied(&self, snapshot: &Snapshot, scanned: Scanned) -> Result<Committed> {
        let Some(applied) = snapshot.layer else {
            return Ok(Committed::Written(scanned));
        };
        if scanned.entries.is_empty() {
            let layers = self.repo.layers(&[applied])?;
            let layer = layers.into_iter().next().ok_or(Error::LayerGone)?;
            return Ok(Committed::Applied(layer));
        }
        Ok(Committed::Both(scanned))
    }
}

/// Where the layer of a commit comes from.
pub(super) enum Committed {
    /// The head.
    Written(Scanned),
    /// An application.
    Applied(Layer),
    /// An application, and the head over it.
    Both(Scanned),
}

/// What a layer takes by itself.
pub(super) fn usage_of(layer: &Layer) -> Usage {
    Usage {
        bytes: layer.content_bytes,
        inodes: layer.entries,
    }
}

fn mtime(of: &std::fs::Metadata) -> Timestamp {
    Timestamp {
        secs: of.mtime(),
        nanos: u32::try_from(of.mtime_nsec()).unwrap_or_default(),
    }
}

fn has_owner_and_mode(found: &std::fs::Metadata, meta: &Meta) -> bool {
    (found.mode() & 0o7777, found.uid(), found.gid()) == (meta.mode, meta.uid, meta.gid)
}

/// True for an upper directory in which nothing is, and whose root directory is still as it was made.
fn is_untouched(upper: &Path, root: &Meta) -> Result<bool> {
    let found = upper.metadata().at("look at", upper)?;
    if !has_owner_and_mode(&found, root) || mtime(&found) != root.mtime || !root.xattrs.is_empty() {
        return Ok(false);
    }
    let mut names = [0; 4096];
    let own = |name: &[u8]| {
        name.is_empty() || name.starts_with(b"trusted.overlay.") || name == b"security.selinux"
    };
    let has_none = match rustix::fs::llistxattr(upper, &mut names) {
        Ok(length) => names[..length].split(|byte| *byte == 0).all(own),
        Err(e) => e == rustix::io::Errno::OPNOTSUPP,
    };
    let mut entries = std::fs::read_dir(upper).at("list", upper)?;
    Ok(has_none && entries.next().is_none())
}
