//! An open repository, and the services that borrow it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_layer::Limits;
use cairn_model::{Driver, Watch};
use cairn_store::gc::Policy as GcPolicy;
use cairn_store::{Disk, Layout, NewStore, Notice, OpenOptions, PackSource, Store};
use cairn_view::Verify;

use crate::error::Result;
use crate::retention::Retention;
use crate::room::Guard;

/// How a repository is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// What imported layers may have.
    pub limits: Limits,
    /// The driver for mounts; by default the best that works here.
    pub driver: Option<Driver>,
    /// When the objects of views are hashed.
    pub verify: Verify,
    /// When a collection rewrites packs, and how much at a time.
    pub gc: GcPolicy,
    /// What a collection cuts the cache down to; what is in use stays, whatever it takes. Without it, all
    /// that is of any use stays.
    pub cache_bytes_max: Option<u64>,
    /// Which images a collection removes of itself.
    pub retention: Retention,
    /// Told when the repository lock is waited for.
    pub notice: Option<Notice>,
    /// How long the repository lock is waited for; without it, as long as it takes.
    pub patience: Option<Duration>,
    /// Told of progress; what is done with the repository ends when it is cancelled.
    pub watch: Watch,
    /// Where file operations of the store go.
    pub disk: Disk,
    /// Where packs are read from, instead of the repository's directory.
    pub packs: Option<Arc<dyn PackSource>>,
    /// The repository below this one: what it holds is read from there and not stored again. A repository
    /// that is made is put above it; in one that has a base, this is where that is now.
    pub base: Option<PathBuf>,
    /// A repository that is made has the feature `frames`: the kernel can read its packs, and older versions of Cairn
    /// cannot work on it.
    pub frames: bool,
}

/// A repository: a store, the rows that give it meaning, heads, views and containers beside it. What can
/// be done with it is in the services that borrow it.
pub struct Repo {
    pub(crate) store: Store,
    pub(crate) options: Options,
    /// Keeps the limits while content is written.
    pub(crate) room: Arc<Guard>,
}

impl Repo {
    /// Makes a repository in `root` if there is none, and opens it.
    pub fn open_or_create(root: &Path, options: Options) -> Result<Self> {
        let wanted = NewStore {
            base: options.base.as_deref(),
            frames: options.frames,
        };
        Store::create_as(root, options.disk.clone(), wanted)?;
        let layout = Layout::of(root);
        let places = [layout.heads(), layout.containers(), layout.cache()];
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
        let (watch, limits) = (options.watch.clone(), options.retention.clone());
        let room = Arc::new(Guard::new(root, watch, limits));
        let open = OpenOptions {
            disk: options.disk.clone(),
            notice: options.notice.clone(),
            watch: options.watch.clone(),
            patience: options.patience,
            packs: options.packs.clone(),
            base: options.base.clone(),
            room: Some(room.clone()),
        };
        let store = Store::open_with(root, open)?;
        Ok(Self {
            store,
            options,
            room,
        })
    }

    /// The same repository for work that somebody else waits for: a server has one of these for each request.
    #[must_use]
    pub fn watched(&self, watch: Watch) -> Self {
        Self {
            store: self.store.watched(watch.clone()),
            options: Options {
                watch,
                ..self.options.clone()
            },
            room: self.room.clone(),
        }
    }

    /// Fails where `root` holds no repository of this program.
    pub fn require(root: &Path) -> Result<()> {
        Ok(cairn_store::require(root)?)
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Where its files and directories are.
    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::of(self.root())
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who waits for what is done with it, and may end it.
    pub fn watch(&self) -> &Watch {
        &self.options.watch
    }

    /// Directory for temporary files: the repository's own, where that can be written.
    pub(crate) fn spool(&self) -> PathBuf {
        let own = self.layout().tmp();
        if cairn_store::can_write(&own) {
            own
        } else {
            std::env::temp_dir()
        }
    }
}
