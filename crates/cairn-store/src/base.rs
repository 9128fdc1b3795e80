//! Another repository below this one: its packs and index are read, and nothing is ever written there.
//!
//! A blob that this repository does not hold is looked for in the base, so content that both have is stored
//! once, there. The base may be on a read-only mount: no lock is taken there, no lease held, its
//! database not opened. So its owner's collection knows nothing of who reads it: what it deletes is
//! damage here, which `check` names as the base's.
//!
//! `ROOT/base` holds the base's directory and a line end; `format` requires the feature `base`, so that a
//! program that does not know bases does not take blobs of the base for lost, or collect around them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use cairn_model::{BlobId, PackId};

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::format::{self, Format};
use crate::index::{Index, Location};
use crate::layout::Layout;
use crate::pack::{OpenPacks, PackDirectory, PackReader};
use crate::place::read_format;

/// The base of an open repository.
#[derive(Debug)]
pub struct Base {
    root: PathBuf,
    index: RwLock<Arc<Index>>,
    packs: OpenPacks,
}

impl Base {
    /// Opens the repository in `root` to read from it.
    pub fn open(root: &Path) -> Result<Self> {
        if read_format(root)?.requires.contains(format::BASE) {
            return Err(Error::Io {
                action: "use as a base",
                path: root.into(),
                source: std::io::Error::other("it has a base itself"),
            });
        }
        let layout = Layout::of(root);
        Ok(Self {
            root: root.into(),
            index: RwLock::new(Arc::new(Index::open(&layout.index(), None)?)),
            packs: OpenPacks::new(Arc::new(PackDirectory::new(&layout.packs()))),
        })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its index as last loaded.
    pub fn index(&self) -> Arc<Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.clone()
    }

    /// Its index as it is now.
    pub fn reload(&self) -> Result<Arc<Index>> {
        let before = self.index();
        let fresh = Index::open(&Layout::of(&self.root).index(), Some(&before));
        let fresh = Arc::new(fresh.map_err(|e| self.wrap(e))?);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    /// Where a blob is, as far as the index is loaded.
    pub fn find(&self, id: &BlobId) -> Result<Option<Location>> {
        self.index().find(id).map_err(|e| self.wrap(e))
    }

    /// One of its packs.
    pub fn pack(&self, id: &PackId) -> Result<Arc<PackReader>> {
        self.packs.get(id).map_err(|e| self.wrap(e))
    }

    /// Content of one of its blobs that others are differences from.
    pub fn content(&self, id: &BlobId) -> Result<Vec<u8>> {
        let found = self.find(id)?.ok_or(Error::MissingBlob(*id))?;
        self.pack(&found.pack)?.reference_blob(&found.slot)
    }

    /// Its packs that are found.
    pub fn pack_ids(&self) -> Vec<PackId> {
        let index = self.index();
        let mut ids: Vec<PackId> = index.packs().collect();
        ids.retain(|id| !index.hidden().contains(id));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// An error that says whose it is.
    pub fn wrap(&self, source: Error) -> Error {
        Error::InBase {
            base: self.root.clone(),
            source: Box::new(source),
        }
    }
}

/// Opens the base that the repository in `root` requires, if it does: in `instead`, or where it is
/// remembered to be.
pub fn open(root: &Path, format: &Format, instead: Option<&Path>) -> Result<Option<Arc<Base>>> {
    if !format.requires.contains(format::BASE) {
        return Ok(None);
    }
    let place = instead.map_or_else(|| remembered(root), |base| Ok(base.to_owned()))?;
    let opened = Base::open(&place).map_err(|source| Error::NoBase {
        root: root.into(),
        base: place,
        source: Box::new(source),
    });
    Ok(Some(Arc::new(opened?)))
}

/// Where the base of the repository in `root` was last.
pub fn remembered(root: &Path) -> Result<PathBuf> {
    let path = Layout::of(root).base();
    let mut bytes = std::fs::read(&path).at("read", &path)?;
    if bytes.pop() != Some(b'\n') || bytes.first() != Some(&b'/') {
        return Err(Error::corrupt(
            format!("the file {}", path.display()),
            "it is not the path of a directory",
        ));
    }
    Ok(OsString::from_vec(bytes).into())
}

/// Puts the repository in `root`, of `format` so far, above `base`. The caller holds the repository lock.
///
/// # Errors
/// Where `base` is not a repository, or one of the two is in the other; and where the repository stands above
/// another base that is there: nobody knows what it needs of that one.
pub fn adopt(root: &Path, disk: &Disk, format: &mut Format, base: &Path) -> Result<()> {
    let place = base.canonicalize().at("find the base", base)?;
    let here = root.canonicalize().at("find", root)?;
    let refused = |why: &str| {
        Err(Error::Io {
            action: "use as a base",
            path: place.clone(),
            source: std::io::Error::other(why.to_owned()),
        })
    };
    if place.starts_with(&here) || here.starts_with(&place) {
        return refused("one of the two repositories is inside the other");
    }
    if format.requires.contains(format::BASE)
        && let Ok(old) = remembered(root)
    {
        if old == place {
            return Ok(());
        }
        if Base::open(&old).is_ok() {
            let why = format!("the repository stands above {} already", old.display());
            return refused(&why);
        }
    }
    Base::open(&place)?;
    let words = [place.as_os_str().as_bytes(), b"\n"].concat();
    // The place comes before the requirement: a file that nothing requires does no harm.
    disk.replace(&Layout::of(root).base(), &words)?;
    format.requires.insert(format::BASE);
    Ok(())
}
