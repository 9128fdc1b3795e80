//! Leases keep what is being written, or relied upon, from being collected.
//!
//! A lease is a file in `leases/` that its process holds locked (flock), with the index generation at
//! which it began, and a directory of its own under `tmp/` for unfinished packs. The kernel drops the
//! lock with the process, so a lease is never mistaken for alive or dead by a clock. A pack that was
//! retired in generation *g* is unlinked only when every living lease began at *g* or later.
//!
//! None of this goes through [`crate::Disk`]: a lease is worth nothing after a crash, so nothing of it has
//! to be durable or in order. The packs in its directory are written through it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::disk::Disk;
use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::os::random;

/// A lease held by this process; ends when dropped.
#[derive(Debug)]
pub struct Lease {
    file: PathBuf,
    directory: PathBuf,
    generation: u64,
    _lock: File,
}

impl Lease {
    /// Begins a lease. The caller holds the repository lock, so that no collection runs between
    /// reading `generation` and this.
    pub(crate) fn begin(root: &Path, disk: &Disk, generation: u64) -> Result<Self> {
        let name = cairn_model::LeaseId::from_bytes(random()?).hex();
        let file = Layout::of(root).leases().join(&name);
        let directory = Layout::of(root).tmp().join(&name);
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let lock = disk
            .with_room(|| options.open(&file))
            .at("create lease", &file)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).at("lock lease", &file)?;
        let words = format!("{generation} {}\n", std::process::id());
        disk.with_room(|| std::fs::write(&file, &words))
            .at("write lease", &file)?;
        disk.with_room(|| std::fs::create_dir(&directory))
            .at("create directory", &directory)?;
        Ok(Self {
            file,
            directory,
            generation,
            _lock: lock,
        })
    }

    /// Where unfinished files of this lease go.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Index generation at which the lease began.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next collection: the lease is dead by then.
        if std::fs::remove_dir_all(&self.directory).is_ok() {
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// What the leases of a repository say.
#[derive(Debug, Default)]
pub struct Leases {
    /// Generation of the oldest living lease.
    pub oldest: Option<u64>,
    /// Number of living leases.
    pub living: usize,
    /// Names of dead ones.
    pub dead: Vec<String>,
}

/// Looks at all leases. The caller holds the repository lock.
pub fn survey(root: &Path) -> Result<Leases> {
    let mut leases = Leases::default();
    let directory = Layout::of(root).leases();
    for entry in std::fs::read_dir(&directory)
        .at("list", &directory)?
        .flatten()
    {
        let path = entry.path();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            leases
                .dead
                .push(entry.file_name().to_string_lossy().into_owned());
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A living lease that does not say when it began holds everything.
        let generation = text
            .split(' ')
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        leases.living += 1;
        leases.oldest = Some(leases.oldest.unwrap_or(u64::MAX).min(generation));
    }
    Ok(leases)
}

/// Bytes that dead leases left behind.
pub fn left_bytes(root: &Path, leases: &Leases) -> Result<u64> {
    let mut bytes = 0;
    for name in &leases.dead {
        let directory = Layout::of(root).tmp().join(name);
        if directory.is_dir() {
            for entry in std::fs::read_dir(&directory)
                .at("list", &directory)?
                .flatten()
            {
                bytes += entry.metadata().map(|m| m.len()).unwrap_or(0);
            }
        }
    }
    Ok(bytes)
}

/// Removes what dead leases left behind; returns the bytes freed.
pub fn bury(root: &Path, disk: &Disk, leases: &Leases) -> Result<u64> {
    let freed = left_bytes(root, leases)?;
    for name in &leases.dead {
        let directory = Layout::of(root).tmp().join(name);
        if directory.is_dir() {
            std::fs::remove_dir_all(&directory).at("remove", &directory)?;
        }
        disk.unlink(&Layout::of(root).leases().join(name))?;
    }
    Ok(freed)
}
