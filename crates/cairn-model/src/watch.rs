//! One value that goes with long work: how far it is, and whether it is still wanted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::id::Digest;

/// How far a blob is on its way to or from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The blob.
    pub digest: Digest,
    /// Bytes that have come, or gone.
    pub bytes: u64,
    /// Bytes that it has.
    pub total: u64,
    /// What is being done with it.
    pub state: TransferState,
}

/// What is being done with a blob of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferState {
    /// It is on its way.
    Moving,
    /// It arrived.
    Done,
    /// It was there before.
    Present,
}

/// What is told while long work goes on.
pub trait Progress: Send + Sync {
    /// True where somebody looks at how many bytes will be read, so that they are worth counting.
    fn wants_total(&self) -> bool {
        true
    }
    /// Bytes that will be read, as far as known.
    fn total(&self, _bytes: u64) {}
    /// Bytes read.
    fn read(&self, _bytes: u64) {}
    /// A blob of a registry is so far.
    fn transfer(&self, _transfer: &Transfer) {}
    /// Something in an archive that is not an image, and why it is skipped.
    fn passed_over(&self, _what: &str, _why: &str) {}
}

/// Somebody ended the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Cancelled {}

impl From<Cancelled> for io::Error {
    // Not `Interrupted`: loops over reads take that for "try again".
    fn from(cancelled: Cancelled) -> Self {
        Self::other(cancelled)
    }
}

/// Progress and cancellation of long work; clones share it.
///
/// Whoever works calls [`Watch::check`] at every step that takes less than a moment, and tells of bytes.
/// Whoever waits calls [`Watch::cancel`] from any thread, once and for good.
///
/// ```
/// use cairn_model::{Cancelled, Watch};
///
/// let watch = Watch::default();
/// let other = watch.clone();
/// assert_eq!(other.check(), Ok(()));
/// watch.cancel();
/// assert_eq!(other.check(), Err(Cancelled));
/// ```
#[derive(Clone, Default)]
pub struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    progress: OnceLock<Box<dyn Progress>>,
    unfinished: Mutex<Vec<PathBuf>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.is_cancelled()).finish()
    }
}

impl Watch {
    /// Whom to tell of progress; only the first one is.
    pub fn report_to(&self, progress: impl Progress + 'static) {
        // A second one would split what belongs together.
        let _ = self.0.progress.set(Box::new(progress));
    }

    /// Ends the work: what is under way fails with [`Cancelled`] at its next step.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// True once the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Fails once the work is to end.
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            true => Err(Cancelled),
            false => Ok(()),
        }
    }

    /// True where somebody looks at the bytes that will be read.
    pub fn wants_total(&self) -> bool {
        let progress = self.0.progress.get();
        progress.is_some_and(|progress| progress.wants_total())
    }

    /// More bytes will be read.
    pub fn total(&self, bytes: u64) {
        if let Some(progress) = self.0.progress.get() {
            progress.total(bytes);
        }
    }

    /// Bytes were read.
    pub fn read(&self, bytes: u64) {
        if let Some(progress) = self.0.progress.get() {
            progress.read(bytes);
        }
    }

    /// A blob of a registry is so far.
    pub fn transfer(&self, transfer: &Transfer) {
        if let Some(progress) = self.0.progress.get() {
            progress.transfer(transfer);
        }
    }

    /// Something was skipped.
    pub fn passed_over(&self, what: &str, why: &str) {
        if let Some(progress) = self.0.progress.get() {
            progress.passed_over(what, why);
        }
    }

    /// Notes a file or directory outside of the repository that is not complete until the guard goes, for
    /// whoever ends the process without waiting for the work to unwind.
    pub fn unfinished(&self, path: &Path) -> Unfinished {
        self.paths().push(path.to_owned());
        Unfinished {
            watch: self.clone(),
            path: path.to_owned(),
        }
    }

    /// What is not complete now.
    pub fn left_unfinished(&self) -> Vec<PathBuf> {
        self.paths().clone()
    }

    fn paths(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        let paths = self.0.unfinished.lock();
        paths.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file or directory is incomplete as long as this lives.
#[must_use = "the path counts as complete when this is dropped"]
#[derive(Debug)]
pub struct Unfinished {
    watch: Watch,
    path: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut paths = self.watch.paths();
        if let Some(at) = paths.iter().position(|path| *path == self.path) {
            paths.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complete_or_gone_is_not_unfinished() {
        let watch = Watch::default();
        let (a, b) = (
            watch.unfinished(Path::new("a")),
            watch.unfinished(Path::new("b")),
        );
        drop(a);
        assert_eq!(watch.left_unfinished(), [Path::new("b")]);
        drop(b);
        assert!(watch.left_unfinished().is_empty());
    }

    #[test]
    fn a_cancelled_read_is_known_by_its_class_and_not_tried_again() {
        let error = io::Error::from(Cancelled);
        assert_ne!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(crate::Class::of_io(&error), crate::Class::Cancelled);
    }
}
