//! The cache of views: images by tree, flattened trees for old kernels, and the objects.

use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_model::TreeId;
use rustix::fs::{FlockOperation, flock};

use crate::error::{At, Result};
use crate::objects::ObjectCache;
use crate::verify::Verify;

/// Attributes of root directories, which the floor above reads and writes.
pub(crate) const ROOTS: &str = "roots";
/// Images of contents, over which views lie.
pub(crate) const CONTENTS: &str = "contents";

/// The tree that a file of the cache is named after; what comes behind it says what of the tree it is.
pub(crate) fn tree_named(path: &Path) -> Option<TreeId> {
    let name = path.file_name()?.to_str()?;
    name.split('.').next()?.parse().ok()
}

/// Views of a repository.
#[derive(Debug, Clone)]
pub struct Views {
    directory: PathBuf,
    verify: Verify,
    sharing: Option<PathBuf>,
}

impl Views {
    /// The views in `directory`, made when first needed.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            verify: Verify::default(),
            sharing: None,
        }
    }

    /// The same views, verified as `verify` says.
    #[must_use]
    pub fn verified(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// The same views; images stay mounted in `place`, so that all views over them have one page cache.
    #[must_use]
    pub fn sharing_in(self, place: PathBuf) -> Self {
        Self {
            sharing: Some(place),
            ..self
        }
    }

    pub(crate) fn sharing(&self) -> Option<&Path> {
        self.sharing.as_deref()
    }

    pub(crate) fn verify(&self) -> Verify {
        self.verify
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The object cache.
    pub fn objects(&self) -> ObjectCache {
        ObjectCache::new(&self.directory.join("objects"))
    }

    /// Where attributes of root directories are remembered, a file for each tree.
    pub fn root_records(&self) -> PathBuf {
        self.directory.join(ROOTS)
    }

    /// An empty directory, which overlayfs wants as a second lower where there is no upper.
    pub(crate) fn empty(&self) -> Result<PathBuf> {
        let path = self.directory.join("empty");
        std::fs::create_dir_all(&path).at("create directory", &path)?;
        Ok(path)
    }

    /// Keeps an eviction away while the guard lives.
    pub(crate) fn hold(&self, operation: FlockOperation) -> Result<File> {
        std::fs::create_dir_all(&self.directory).at("create directory", &self.directory)?;
        let path = self.directory.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            // A repository that cannot be written to can still be read.
            .or_else(|e| File::open(&path).map_err(|_| e))
            .at("open", &path)?;
        flock(&file, operation).at("lock", &path)?;
        Ok(file)
    }

    /// Keeps an eviction away; where one is under way, calls `wait` before waiting for it, so that the
    /// caller holds nothing that the eviction needs.
    pub(crate) fn hold_shared(&self, wait: &dyn Fn()) -> Result<File> {
        self.hold(FlockOperation::NonBlockingLockShared)
            .or_else(|_| {
                wait();
                self.hold(FlockOperation::LockShared)
            })
    }
}
