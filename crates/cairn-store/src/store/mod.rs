//! The store: blobs in, blobs out, and the moment at which they become part of the repository.
//!
//! `open` makes and opens it, `read` finds blobs, `publish` makes new ones part of the repository,
//! `reconcile` brings index, rows and pack files together, `compact` merges the index.

mod compact;
mod open;
mod publish;
mod read;
mod reconcile;

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use cairn_model::{PackId, Watch};

use crate::base::Base;
use crate::disk::Disk;
use crate::error::Result;
use crate::index::Index;
use crate::layout::Layout;
use crate::lease::Lease;
use crate::meta::Db;
use crate::pack::{OpenPacks, PackSource, file_name};
use crate::place::read_format;
use crate::reserve;
use crate::room::Room;
use crate::rows::{PackInfo, pack_rows};

pub use open::{NewStore, OpenOptions, private_directory};
pub(crate) use publish::Edit;
pub(crate) use reconcile::reconcile;

/// A repository's store; clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>, Watch);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    disk: Disk,
    db: Db,
    index: RwLock<Arc<Index>>,
    packs: OpenPacks,
    base: Option<Arc<Base>>,
    room: Option<Arc<dyn Room>>,
    framed: bool,
}

impl Store {
    /// Lets this process spend the room that is kept for a full disk: for what removes things.
    pub fn may_spend_reserve(&self) {
        self.0.disk.may_spend_reserve(&self.0.root);
    }

    /// Puts the room for a full disk aside again where it is gone.
    pub fn fill_reserve(&self) {
        reserve::fill(&self.0.root);
    }

    /// Directory of the repository.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Who waits for what is done with it, and may end it.
    pub fn watch(&self) -> &Watch {
        &self.1
    }

    /// The same store for work that somebody else waits for. Both share the database, so that threads of one
    /// process queue for it instead of asking the lock again and again.
    #[must_use]
    pub fn watched(&self, watch: Watch) -> Self {
        Self(Arc::clone(&self.0), watch)
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(crate) fn index_dir(&self) -> PathBuf {
        Layout::of(&self.0.root).index()
    }

    /// Where published packs are read from.
    pub fn packs(&self) -> &dyn PackSource {
        self.0.packs.source()
    }

    /// True where new blobs are stored as frames with checksums, which the kernel can read in place.
    pub fn has_frames(&self) -> bool {
        self.0.framed
    }

    /// True where the repository has a feature of its format.
    pub fn requires(&self, feature: &str) -> Result<bool> {
        Ok(read_format(self.root())?.requires.contains(feature))
    }

    /// Gives the repository a feature, which programs have to know to open it from now on.
    pub fn require(&self, feature: &'static str) -> Result<()> {
        if self.requires(feature)? {
            return Ok(());
        }
        self.db().locked(|| {
            let mut format = read_format(self.root())?;
            if format.requires.insert(feature) {
                let path = Layout::of(self.root()).format();
                self.disk().replace(&path, format.text().as_bytes())?;
            }
            Ok(())
        })
    }

    /// The repository below this one.
    pub fn base(&self) -> Option<&Arc<Base>> {
        self.0.base.as_ref()
    }

    /// Where the file of a published pack is, for what moves, links or unlinks it.
    pub fn pack_path(&self, id: &PackId) -> PathBuf {
        Layout::of(&self.0.root).packs().join(file_name(id))
    }

    /// Begins a lease: what is found from now on stays until it ends.
    pub fn lease(&self) -> Result<Lease> {
        self.0.db.locked(|| {
            let index = self.reload_index()?;
            Lease::begin(&self.0.root, &self.0.disk, index.generation())
        })
    }

    /// All packs and their rows.
    pub fn pack_rows(&self) -> Result<Vec<(PackId, PackInfo)>> {
        self.0.db.read(|rows| pack_rows(rows))
    }
}
