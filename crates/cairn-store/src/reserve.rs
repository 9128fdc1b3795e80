//! A little room that is kept for the way out of a full disk.
//!
//! What frees space needs some first: a transaction in the journal, a new list of the index, a lease. Where
//! not a byte or not an inode is free, these are given up: `ROOT/reserve/` holds a few files, one of them
//! with blocks. Only what removes things may spend it.
//!
//! It does not go through [`crate::Disk`]: whether it is there after a crash makes no difference.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FallocateFlags;

use crate::layout::Layout;

/// Inodes that are kept, the directory among them.
const FILES: usize = 12;
/// Bytes that are kept.
const BYTES: u64 = 256 << 10;

/// The reserve of one repository, while it may be spent.
#[derive(Debug, Default)]
pub struct Reserve(Mutex<Option<PathBuf>>);

fn path_of(root: &Path) -> PathBuf {
    Layout::of(root).reserve()
}

impl Reserve {
    /// From now on the reserve of the repository in `root` may be spent.
    pub fn arm(&self, root: &Path) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(path_of(root));
    }

    /// Gives it up; true where there was one.
    pub fn spend(&self) -> bool {
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        path.is_some_and(|path| std::fs::remove_dir_all(path).is_ok())
    }
}

/// Puts the reserve aside if it is not there; where there is no room for it, things go on without.
pub fn fill(root: &Path) {
    let path = path_of(root);
    if path.is_dir() {
        return;
    }
    if try_fill(&path).is_err() {
        let _ = std::fs::remove_dir_all(&path);
    }
}

fn try_fill(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    for i in 0..FILES {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path.join(i.to_string()))?;
        if i == 0 {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES)?;
        }
    }
    Ok(())
}
