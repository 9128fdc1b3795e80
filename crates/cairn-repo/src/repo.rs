//! An open repository.

use std::path::{Path, PathBuf};

use cairn_layer::{Layer, Limits, Tree};
use cairn_model::{Driver, LayerId, SnapshotKey, TreeId};
use cairn_snapshot::graph;
use cairn_store::{Disk, Notice, Store};
use cairn_view::{Verify, Views};

use crate::error::{Error, Result};
use crate::rows;

/// Directories that every repository has.
pub(crate) const PLACES: [&str; 7] = [
    "packs",
    "index",
    "leases",
    "tmp",
    "heads",
    "containers",
    "cache",
];

/// How a repository is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// What imported layers may have.
    pub limits: Limits,
    /// The driver for mounts; by default the best that works here.
    pub driver: Option<Driver>,
    /// When the objects of views are hashed.
    pub verify: Verify,
    /// Told when the repository lock is waited for.
    pub notice: Option<Notice>,
    /// Where file operations of the store go.
    pub disk: Disk,
}

/// A repository: a store, the rows that give it meaning, heads, views and containers beside it.
pub struct Repo {
    pub(crate) store: Store,
    pub(crate) options: Options,
}

impl Repo {
    /// Makes a repository in `root` if there is none, and opens it.
    pub fn open_or_create(root: &Path, options: Options) -> Result<Self> {
        Store::create(root, options.disk.clone())?;
        let places = ["heads", "containers", "cache"].map(|name| root.join(name));
        if !places.iter().all(|place| place.is_dir()) {
            for place in &places {
                cairn_store::private_directory(place, &options.disk)?;
            }
            options.disk.sync_dir(root)?;
        }
        Self::open(root, options)
    }

    /// Opens the repository in `root`; makes nothing where there is none.
    pub fn open(root: &Path, options: Options) -> Result<Self> {
        let store = Store::open(root, options.disk.clone(), options.notice.clone())?;
        Ok(Self { store, options })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Directory for temporary files: the repository's own, where that can be written.
    pub(crate) fn spool(&self) -> PathBuf {
        let own = self.root().join("tmp");
        if cairn_store::can_write(&own) {
            own
        } else {
            std::env::temp_dir()
        }
    }

    /// Where views are kept.
    pub fn views(&self) -> Views {
        Views::new(&self.root().join("cache")).verified(self.options.verify)
    }

    /// The driver that is forced or, by trying, the best that works here.
    pub fn driver(&self) -> Result<Driver> {
        match self.options.driver {
            Some(driver) => Ok(driver),
            None => Ok(self.views().detect(&self.root().join("heads"))?),
        }
    }

    /// Records of these layers, in one look at the database.
    pub(crate) fn layers(&self, ids: &[LayerId]) -> Result<Vec<Layer>> {
        self.store
            .db()
            .read(|rows| ids.iter().map(|id| rows::layer(rows, id)).collect())
    }

    /// Layers of a snapshot, lowest first.
    pub fn layers_of(&self, key: &SnapshotKey) -> Result<Vec<Layer>> {
        let ids = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok(graph::layers(rows, key)?))?;
        self.layers(&ids)
    }

    /// The tree a chain of layers merges to.
    pub fn tree(&self, layers: &[Layer]) -> Result<Tree> {
        // This takes long; nobody should wait for it.
        self.store.db().release();
        let mut tree = Tree::new();
        for layer in layers {
            tree.apply(&layer.read_entries(&self.store)?)?;
        }
        Ok(tree)
    }

    /// The tree that a process in this snapshot would see, without what an active one changed.
    pub fn tree_of(&self, key: &SnapshotKey) -> Result<Tree> {
        self.tree(&self.layers_of(key)?)
    }
}

/// Name of the tree that a chain of layers merges to.
pub(crate) fn tree_id(layers: &[Layer]) -> TreeId {
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 tree of layers v1");
    for layer in layers {
        hasher.update(layer.id.as_bytes());
    }
    TreeId::from_bytes(*hasher.finalize().as_bytes())
}
