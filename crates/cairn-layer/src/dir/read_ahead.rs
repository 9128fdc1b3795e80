//! Asks the kernel for files before they are read.
//!
//! A tree that is not in the page cache is read file by file, and each costs the disk's latency. A second
//! walk in the same order goes ahead of the reading one, within a window of bytes, and asks for each file
//! with fadvise(2). Where the files turn out to be in memory already it gives up: then there is nothing to
//! gain.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Advice, FileType, Mode, OFlags, fadvise, openat};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::inode;
use crate::path::join;

/// Bytes asked for before they are read.
const WINDOW_BYTES: u64 = 64 << 20;
/// Files in a row that are in memory already after which it gives up.
const WARM_FILES_MAX: u32 = 24;
const PAUSE: Duration = Duration::from_micros(500);

/// A walk that goes ahead; ends when dropped.
pub struct ReadAhead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    read: AtomicU64,
    over: AtomicBool,
}

impl ReadAhead {
    /// Starts to walk `root`. Whatever goes wrong ahead is left for the reading walk to find.
    pub fn start(root: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        let (theirs, root) = (shared.clone(), root.to_owned());
        let run = move || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(dir) = openat(rustix::fs::CWD, &root, flags, Mode::empty()) {
                let mut walk = Walk {
                    shared: theirs,
                    asked: 0,
                    warm: 0,
                };
                let _ = walk.directory(&dir, b"");
            }
        };
        let thread = std::thread::Builder::new().spawn(run).ok();
        Self { shared, thread }
    }

    /// Bytes that were read behind it.
    pub fn advance(&self, bytes: u64) {
        self.shared.read.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has cost nothing but speed.
            let _ = thread.join();
        }
    }
}

struct Walk {
    shared: Arc<Shared>,
    asked: u64,
    warm: u32,
}

/// The walk is over, or no longer worth it.
struct Enough;

impl Walk {
    fn directory(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<(), Enough> {
        for name in inode::names(dir, path).unwrap_or_default() {
            if self.shared.over.load(Ordering::Relaxed) || self.warm >= WARM_FILES_MAX {
                return Err(Enough);
            }
            let path = join(path, &name);
            let Ok(stat) = inode::stat(dir, &name, &path) else {
                continue;
            };
            match inode::file_type(&stat) {
                FileType::Directory => {
                    if let Ok(inside) = inode::open(dir, &name, &path) {
                        self.directory(&inside, &path)?;
                    }
                }
                FileType::RegularFile if stat.st_size > 0 => {
                    if let Ok(file) = inode::open(dir, &name, &path) {
                        // Holes are not read.
                        let bytes = (stat.st_size as u64).min(stat.st_blocks as u64 * 512);
                        self.ask(&file, bytes)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, file: &OwnedFd, size: u64) -> Result<(), Enough> {
        while self
            .asked
            .saturating_sub(self.shared.read.load(Ordering::Relaxed))
            > WINDOW_BYTES
        {
            if self.shared.over.load(Ordering::Relaxed) {
                return Err(Enough);
            }
            std::thread::sleep(PAUSE);
        }
        self.asked += size;
        let mut byte = [0];
        let parts = &mut [std::io::IoSliceMut::new(&mut byte)];
        match preadv2(file, parts, 0, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN) => {
                self.warm = 0;
                let _ = fadvise(file, 0, None, Advice::WillNeed);
            }
            // In memory, or a file system that cannot tell.
            _ => self.warm += 1,
        }
        Ok(())
    }
}
