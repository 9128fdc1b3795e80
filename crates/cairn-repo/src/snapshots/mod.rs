//! The snapshot contract over this repository.

mod apply;
mod changes;
mod commit;
mod differ;
mod served;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_layer::{Layer, Tree};
use cairn_model::{MountPlan, SnapshotKey, Watch};
use cairn_snapshot::{FieldPath, Filter, Kind, Labels, Snapshot, Snapshotter, Usage, graph};
use cairn_store::{Rows, Txn};

use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::rows;

pub use apply::Applied;
pub use commit::Committing;
pub use differ::PackedChanges;
pub use served::{CHAIN, Link, NAMESPACE, Released, Target};

/// The snapshots of a repository. What every snapshotter does is in its [`Snapshotter`].
#[derive(Clone, Copy)]
pub struct Snapshots<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Snapshots: the contract of [`cairn_snapshot::Snapshotter`], and what differs between them.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots { repo: self }
    }
}

impl Snapshots<'_> {
    /// Layers of a snapshot, lowest first.
    pub fn layers(&self, key: &SnapshotKey) -> Result<Vec<Layer>> {
        self.repo.layers_of(key)
    }

    /// The tree that a process in this snapshot would see, without what an active one changed.
    pub fn tree(&self, key: &SnapshotKey) -> Result<Tree> {
        self.repo.tree(&self.layers(key)?)
    }

    /// Makes a snapshot, and what `also` writes with it, in one transaction. One that is `passing` ends with this
    /// boot of the machine, at the latest, and costs no sync.
    pub(crate) fn create(
        &self,
        key: &SnapshotKey,
        kind: Kind,
        parent: Option<&SnapshotKey>,
        labels: Labels,
        passing: bool,
        also: &dyn Fn(&mut Txn<'_>) -> Result<()>,
    ) -> Result<MountPlan> {
        let layers = match parent {
            Some(parent) => self.layers(parent)?,
            None => Vec::new(),
        };
        let (views, heads) = (self.repo.views(), self.repo.heads());
        let (root, read) = views.root_meta_and_layer(&layers)?;
        // Made under a lease, where no collection takes it away; it gets its place in the transaction. One that
        // waits for no disk is made in its place.
        let new = match (kind, passing) {
            (Kind::Active, false) => Some(heads.make(&root)?),
            _ => None,
        };
        let head = match (&new, kind) {
            (Some(new), _) => Some(new.id),
            (None, Kind::Active) => Some(heads.new_id()?),
            (None, _) => None,
        };
        self.repo.store.db().write_after::<_, Error>(
            |txn| {
                txn.until_boot(passing);
                graph::create(txn, key, kind, parent, labels, head)?;
                also(txn)
            },
            |_| match (&new, &head) {
                (Some(new), _) => heads.install(new),
                (None, Some(head)) => heads.fill(&heads.dir(head), &root),
                (None, None) => Ok(()),
            },
        )?;
        drop(new);
        match views.plan_after(&layers, head.as_ref(), read) {
            Ok(plan) => Ok(plan),
            Err(e) => {
                // A snapshot that cannot be mounted is not left behind; its first error counts.
                let _ = self.remove(key);
                Err(e)
            }
        }
    }
}

impl Snapshots<'_> {
    /// Removes the record of a snapshot that no image or container needs.
    fn remove_record(&self, key: &SnapshotKey) -> Result<Snapshot> {
        self.repo.store.db().write::<_, Error>(|txn| {
            refuse_if_container(txn, key)?;
            let mut images = rows::images(txn)?.into_iter();
            if let Some(image) = images.find(|image| image.top.as_ref() == Some(key)) {
                let by = format!("image {}; \"cairn rmi\" removes both", image.id.short());
                let key = key.clone();
                return Err(cairn_snapshot::Error::InUse { key, by }.into());
            }
            Ok(graph::remove(txn, key)?)
        })
    }
}

impl Snapshotter for Snapshots<'_> {
    type Error = Error;

    fn prepare(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan> {
        self.create(key, Kind::Active, parent, labels, false, &|_| Ok(()))
    }

    fn view(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan> {
        self.create(key, Kind::View, parent, labels, false, &|_| Ok(()))
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<MountPlan> {
        let snapshot = self.stat(key)?;
        if snapshot.kind == Kind::Committed {
            return Err(cairn_snapshot::Error::NotMountable(key.clone()).into());
        }
        self.repo
            .views()
            .plan(&self.layers(key)?, snapshot.head.as_ref())
    }

    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey, labels: Labels) -> Result<()> {
        let how = Committing {
            labels,
            ..Committing::default()
        };
        self.commit_as(name, key, &how)
    }

    fn save(&self, name: &SnapshotKey, key: &SnapshotKey, labels: Labels) -> Result<()> {
        let snapshot = self.stat(key)?;
        let refuse = |rows: &dyn Rows| refuse_if_container(rows, key);
        self.repo.store.db().read::<_, Error>(refuse)?;
        let (layer, _, ingest) = self.read_active(&snapshot, None)?;
        self.repo.require_own_names(&layer)?;
        let store = &self.repo.store;
        store.publish::<_, Error>(ingest.finish()?, |txn| {
            refuse_if_container(txn, key)?;
            rows::put_layer(txn, &layer)?;
            let (usage, parent) = (apply::usage_of(&layer), snapshot.parent.as_ref());
            Ok(graph::create_committed(
                txn, name, parent, layer.id, usage, labels,
            )?)
        })
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        served::refuse_if_served(&self.stat(key)?)?;
        self.remove_any(key)
    }

    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot> {
        self.repo
            .store
            .db()
            .read(|rows| Ok(graph::stat(rows, key)?))
    }

    fn update(&self, key: &SnapshotKey, labels: Labels, fields: &[FieldPath]) -> Result<Snapshot> {
        self.repo
            .store
            .db()
            .write(|txn| Ok(graph::update(txn, key, labels, fields)?))
    }

    fn walk(&self, filters: &[Filter]) -> Result<Vec<Snapshot>> {
        let mut all = self
            .repo
            .store
            .db()
            .read::<_, Error>(|rows: &dyn Rows| Ok(graph::list(rows)?))?;
        all.retain(|snapshot| {
            filters.is_empty() || filters.iter().any(|filter| filter.accepts(snapshot))
        });
        Ok(all)
    }

    fn usage(&self, key: &SnapshotKey) -> Result<Usage> {
        let snapshot = self.stat(key)?;
        let Some(head) = snapshot.head else {
            return Ok(snapshot.usage);
        };
        let directory = self.repo.heads().dir(&head);
        let applied = snapshot.usage;
        if cairn_view::is_full_copy(&directory) {
            let mut usage = Usage::default();
            for change in self.changes(key)? {
                usage.bytes += if change.kind == cairn_layer::ChangeKind::Deleted {
                    0
                } else {
                    change.bytes
                };
                usage.inodes += 1;
            }
            return Ok(usage);
        }
        let written = disk_usage(&cairn_view::upper(&directory), self.repo.watch())?;
        Ok(Usage {
            bytes: applied.bytes + written.bytes,
            inodes: applied.inodes + written.inodes,
        })
    }

    fn cleanup(&self) -> Result<()> {
        // What removals left that were cut off. Content that nothing needs any more is a matter of `gc`.
        let collector = self.repo.only_collector()?;
        self.repo.views().drop_stale()?;
        self.repo.heads().drop_orphans(&collector).map(drop)
    }
}

/// A container's snapshot goes with the container, which may be writing to it.
fn refuse_if_container(rows: &dyn Rows, key: &SnapshotKey) -> Result<()> {
    let own = crate::containers::all(rows)?
        .into_iter()
        .find(|container| container.snapshot == *key);
    let shown = crate::containers::showing(rows, key)?;
    match own.or(shown) {
        Some(container) => Err(cairn_snapshot::Error::InUse {
            key: key.clone(),
            by: format!(
                "container {0}; \"cairn rm {0}\" removes both",
                container.name
            ),
        }
        .into()),
        None => Ok(()),
    }
}

/// Bytes on disk and inodes below a directory, the directory itself not counted.
pub(crate) fn disk_usage(root: &Path, watch: &Watch) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = std::collections::HashSet::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        watch.check()?;
        for entry in std::fs::read_dir(&directory)
            .at("list", &directory)?
            .flatten()
        {
            let Ok(meta) = entry.path().symlink_metadata() else {
                continue;
            };
            if seen.insert((meta.dev(), meta.ino())) {
                usage.inodes += 1;
                usage.bytes += meta.blocks() * 512;
            }
            if meta.is_dir() {
                stack.push(entry.path());
            }
        }
    }
    Ok(usage)
}
