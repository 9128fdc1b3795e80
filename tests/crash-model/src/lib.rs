//! Disks that fail and disks that lose power, for the tests of every floor.
//!
//! [`Failing`] lets one operation fail. [`Recording`] writes all of them down; [`images`] then builds
//! what a disk may hold when power is cut behind the last: what was synced is there; of what was not,
//! any subset of names made, moved and removed, and of each file's data nothing, half or all.

mod image;

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_store::{Op, Probe};

pub use image::{Image, images};

/// Lets the operation with number `at` fail, once; half of a write that fails arrives.
#[derive(Debug)]
pub struct Failing {
    at: usize,
    count: AtomicUsize,
    errno: i32,
    failed: Mutex<Option<Op>>,
}

impl Failing {
    /// The operation `at` fails, by turns with EIO and ENOSPC.
    pub fn at(at: usize) -> Self {
        let (eio, enospc) = (5, 28);
        Self {
            at,
            count: AtomicUsize::new(0),
            errno: if at.is_multiple_of(2) { eio } else { enospc },
            failed: Mutex::default(),
        }
    }

    /// True where it was one of those that merging segments of the index may fail at: then a publication
    /// stands, and nobody needs to be told.
    pub fn may_be_a_merge(&self) -> bool {
        let failed = self.failed.lock().ok().and_then(|op| op.clone());
        let merges = |path: &Path| {
            let name = path.to_string_lossy();
            name.ends_with(".idx") || name.contains("/index")
        };
        match failed {
            Some(
                Op::Create(path)
                | Op::Append(path, _)
                | Op::Sync(path)
                | Op::Rename(path, _)
                | Op::Unlink(path)
                | Op::SyncDir(path),
            ) => merges(&path),
            _ => false,
        }
    }

    /// True once it has failed.
    pub fn is_reached(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.at
    }
}

impl Probe for Failing {
    fn before(&self, op: &Op) -> io::Result<()> {
        if self.count.fetch_add(1, Ordering::Relaxed) == self.at {
            if let Ok(mut failed) = self.failed.lock() {
                *failed = Some(op.clone());
            }
            Err(io::Error::from_raw_os_error(self.errno))
        } else {
            Ok(())
        }
    }

    fn short_write(&self, len: usize) -> usize {
        len / 2
    }
}

/// Writes every operation down.
#[derive(Debug, Default)]
pub struct Recording(Mutex<Vec<Op>>);

impl Recording {
    /// Number of operations so far.
    pub fn count(&self) -> usize {
        self.0.lock().map_or(0, |ops| ops.len())
    }

    /// All operations so far.
    pub fn ops(&self) -> Vec<Op> {
        self.0.lock().map(|ops| ops.clone()).unwrap_or_default()
    }
}

impl Probe for Recording {
    fn before(&self, op: &Op) -> io::Result<()> {
        if let Ok(mut ops) = self.0.lock() {
            ops.push(op.clone());
        }
        Ok(())
    }
}
