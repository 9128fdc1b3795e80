//! The snapshot contract over this repository.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cairn_layer::{Change, Layer, NodeKind, Scanned, Tree, diff};
use cairn_model::{Meta, MountPlan, PackId, SnapshotKey, TreeId};
use cairn_snapshot::{FieldPath, Filter, Kind, Labels, Snapshot, Snapshotter, Usage, graph};
use cairn_store::{Ingest, Lease, Rows, Txn};

use crate::error::{At, Error, Result};
use crate::repo::{Repo, tree_id};
use crate::rows;

/// Largest record of a root directory's attributes in the cache, bytes.
pub(crate) const ROOT_BYTES_MAX: u64 = 8 << 20;
const HEAD_ID_BYTES: usize = 16;

impl Repo {
    pub(crate) fn head_dir(&self, head: &PackId) -> PathBuf {
        self.root().join("heads").join(head.hex())
    }

    /// Makes a snapshot, and what `also` writes with it, in one transaction.
    pub(crate) fn create_snapshot(
        &self,
        key: &SnapshotKey,
        kind: Kind,
        parent: Option<&SnapshotKey>,
        labels: Labels,
        also: &dyn Fn(&mut Txn<'_>) -> Result<()>,
    ) -> Result<MountPlan> {
        let layers = match parent {
            Some(parent) => self.layers_of(parent)?,
            None => Vec::new(),
        };
        let root = self.root_meta(&layers)?;
        let head = match kind {
            Kind::Active => Some(PackId::from_bytes(cairn_store::random::<HEAD_ID_BYTES>()?)),
            _ => None,
        };
        // Made under a lease, where no collection takes it away; it gets its place in the transaction.
        let made = head.map(|_| self.make_head(&root)).transpose()?;
        self.store.db().write_after::<_, Error>(
            |txn| {
                graph::create(txn, key, kind, parent, labels, head)?;
                also(txn)
            },
            |_| match (&head, &made) {
                (Some(head), Some((_, path))) => {
                    let disk = self.store.disk();
                    disk.rename(path, &self.head_dir(head))?;
                    Ok(disk.sync_dir(&self.root().join("heads"))?)
                }
                _ => Ok(()),
            },
        )?;
        drop(made);
        match self.plan(&layers, head.as_ref()) {
            Ok(plan) => Ok(plan),
            Err(e) => {
                // A snapshot that cannot be mounted is not left behind; its first error counts.
                let _ = self.remove(key);
                Err(e)
            }
        }
    }

    /// Attributes of the root directory that the layers merge to.
    pub(crate) fn root_meta(&self, layers: &[Layer]) -> Result<Meta> {
        let path = self
            .root()
            .join("cache")
            .join("roots")
            .join(tree_id(layers).hex());
        if let Some(bytes) = cairn_view::read_checked(&path, ROOT_BYTES_MAX)
            && let Some(meta) = cairn_store::codec::decode_bare(&mut &bytes[..])
        {
            return Ok(meta);
        }
        let tree = self.tree(layers)?;
        let meta = tree.node(tree.root()).meta.clone();
        cairn_view::write_checked(&path, &cairn_store::codec::encode_bare(&meta))?;
        Ok(meta)
    }

    /// Files of the cache that hold attributes of root directories.
    pub(crate) fn root_records(&self) -> Vec<(TreeId, PathBuf)> {
        let directory = self.root().join("cache").join("roots");
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let record = |entry: std::fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, entry.path()))
        };
        entries.filter_map(record).collect()
    }

    /// An empty upper whose root has the attributes that the tree's root has, durable, in the directory of
    /// a lease.
    fn make_head(&self, root: &Meta) -> Result<(Lease, PathBuf)> {
        let lease = self.store.lease()?;
        let directory = lease.directory().join("head");
        let upper = directory.join("upper");
        let disk = self.store.disk();
        for path in [&directory, &upper, &directory.join("work")] {
            disk.mkdir(path)?;
        }
        cairn_view::start_head(&self.store, self.driver()?, &directory, root)?;
        for path in [&upper, &directory] {
            disk.sync_dir(path)?;
        }
        Ok((lease, directory))
    }

    fn plan(&self, layers: &[Layer], head: Option<&PackId>) -> Result<MountPlan> {
        let driver = self.driver()?;
        let head = head.map(|head| self.head_dir(head));
        self.views().plan(
            &self.store,
            driver,
            &tree_id(layers),
            head.as_deref(),
            &|| self.store.db().release(),
            || self.tree(layers),
        )
    }

    /// Reads what the active snapshot changed, into `ingest`.
    pub(crate) fn read_head(
        &self,
        snapshot: &Snapshot,
        parent: &Tree,
        ingest: &Ingest,
    ) -> Result<Scanned> {
        let not_active = || cairn_snapshot::Error::NotActive {
            key: snapshot.key.to_string(),
            kind: snapshot.kind.as_str(),
            action: "committed",
        };
        let directory = self.head_dir(snapshot.head.as_ref().ok_or_else(not_active)?);
        Ok(cairn_view::read_head(
            &self.store,
            &directory,
            parent,
            ingest.feeder(),
            self.options.limits,
        )?)
    }

    /// The tree a process in this snapshot sees, with what an active one changed so far.
    fn tree_now(&self, key: &SnapshotKey) -> Result<Tree> {
        let snapshot = self.stat(key)?;
        let mut tree = self.tree_of(key)?;
        if snapshot.kind == Kind::Active {
            // Stored for the comparison only; it is gone when the ingest is dropped.
            let ingest = self.store.ingest()?;
            let scanned = self.read_head(&snapshot, &tree, &ingest)?;
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
            Some(parent) => self.tree_of(&parent)?,
            None => Tree::new(),
        };
        Ok(diff(&before, &self.tree_now(key)?))
    }
}

impl Snapshotter for Repo {
    type Error = Error;

    fn prepare(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan> {
        self.create_snapshot(key, Kind::Active, parent, labels, &|_| Ok(()))
    }

    fn view(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan> {
        self.create_snapshot(key, Kind::View, parent, labels, &|_| Ok(()))
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<MountPlan> {
        let snapshot = self.stat(key)?;
        if snapshot.kind == Kind::Committed {
            return Err(cairn_snapshot::Error::NotActive {
                key: key.to_string(),
                kind: "committed",
                action: "mounted; create a view of it first",
            }
            .into());
        }
        self.plan(&self.layers_of(key)?, snapshot.head.as_ref())
    }

    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey, labels: Labels) -> Result<()> {
        let snapshot = self.stat(key)?;
        self.refuse_if_mounted(&snapshot)?;
        // Also asked before anything is read: a container's head may change under the reader.
        self.store.db().read::<_, Error>(|rows| {
            refuse_if_container(rows, key)?;
            match graph::find(rows, name)? {
                Some(_) => Err(cairn_snapshot::Error::Exists(name.to_string()).into()),
                None => Ok(()),
            }
        })?;
        let parent = self.tree_of(key)?;
        let ingest = self.store.ingest()?;
        let scanned = self.read_head(&snapshot, &parent, &ingest)?;
        let usage = Usage {
            bytes: scanned.layer.content_bytes,
            inodes: scanned.layer.entries,
        };
        let gone = self.store.publish::<_, Error>(ingest.finish()?, |txn| {
            refuse_if_container(txn, key)?;
            rows::put_layer(txn, &scanned.layer)?;
            Ok(graph::commit(
                txn,
                name,
                key,
                scanned.layer.id,
                usage,
                labels,
            )?)
        })?;
        self.drop_head(&gone)
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.store.may_spend_reserve();
        let snapshot = self.stat(key)?;
        self.refuse_if_mounted(&snapshot)?;
        let gone = self.store.db().write::<_, Error>(|txn| {
            refuse_if_container(txn, key)?;
            if let Some(image) = rows::images(txn)?
                .into_iter()
                .find(|image| image.top.as_ref() == Some(key))
            {
                return Err(cairn_snapshot::Error::InUse {
                    key: key.to_string(),
                    by: format!("image {}; \"cairn rmi\" removes both", image.id.short()),
                }
                .into());
            }
            Ok(graph::remove(txn, key)?)
        })?;
        self.drop_head(&gone)
    }

    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot> {
        self.store.db().read(|rows| Ok(graph::stat(rows, key)?))
    }

    fn update(&self, key: &SnapshotKey, labels: Labels, fields: &[FieldPath]) -> Result<Snapshot> {
        self.store
            .db()
            .write(|txn| Ok(graph::update(txn, key, labels, fields)?))
    }

    fn walk(&self, filters: &[Filter]) -> Result<Vec<Snapshot>> {
        let mut all = self
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
        let directory = self.head_dir(&head);
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
        disk_usage(&cairn_view::upper(&directory))
    }

    fn cleanup(&self) -> Result<()> {
        self.gc(&crate::GcOptions::default()).map(drop)
    }
}

impl Repo {
    pub(crate) fn drop_head(&self, snapshot: &Snapshot) -> Result<()> {
        let Some(head) = &snapshot.head else {
            return Ok(());
        };
        let directory = self.head_dir(head);
        match std::fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &directory),
            _ => Ok(()),
        }
    }
}

/// A container's snapshot goes with the container, which may be writing to it.
fn refuse_if_container(rows: &dyn Rows, key: &SnapshotKey) -> Result<()> {
    match crate::containers::all(rows)?
        .into_iter()
        .find(|container| container.snapshot == *key)
    {
        Some(container) => Err(cairn_snapshot::Error::InUse {
            key: key.to_string(),
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
pub(crate) fn disk_usage(root: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = std::collections::HashSet::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
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

/// Bytes of files that a tree shows, each once.
pub fn tree_bytes(tree: &Tree) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let files = tree.walk().into_iter().filter(|(_, id)| seen.insert(*id));
    files
        .map(|(_, id)| {
            if let NodeKind::File(content) = &tree.node(id).kind {
                content.size
            } else {
                0
            }
        })
        .sum()
}
