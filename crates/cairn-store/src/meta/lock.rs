//! One process at a time changes metadata; the others wait, and can say for whom.
//!
//! The file is made and written without [`crate::Disk`]: the lock is the kernel's and ends with a process,
//! and what the file says is only for people.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_model::Watch;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, IoContext, Result};

/// Length of the line in the lock file, bytes.
const HOLDER_BYTES: usize = 100;

/// Told how the repository lock goes, and asked who takes it.
pub trait LockWatch: Send + Sync {
    /// The lock was not had within a second; `holder` is the pid and command of who has it.
    fn waits_for(&self, holder: &str);

    /// The lock was had after `waited`, and let go after `held`.
    fn let_go(&self, _waited: Duration, _held: Duration) {}

    /// Something the user should know, which stops nothing.
    fn says(&self, _words: &str) {}

    /// What takes the lock, in a word or two, for those who wait for it.
    fn holder(&self) -> String {
        String::new()
    }
}

/// A watch that is shared.
pub type Notice = Arc<dyn LockWatch>;

const PATIENCE: Duration = Duration::from_secs(1);
/// How long a wait sleeps before it asks again: a moment at first, since the lock is held for milliseconds,
/// and longer each time, so that those who wait for long cost no processor.
const POLL: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// The repository lock, held until dropped. The kernel drops it with the process.
pub struct RepositoryLock {
    _file: Option<File>,
    read_only: bool,
    notice: Option<Notice>,
    waited: Duration,
    since: Instant,
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        if let Some(notice) = &self.notice {
            tracing::trace!(waited = ?self.waited, held = ?self.since.elapsed(), "repository lock");
            notice.let_go(self.waited, self.since.elapsed());
        }
    }
}

impl RepositoryLock {
    /// True where the repository can only be read.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn without(notice: Option<&Notice>) -> Self {
        Self {
            _file: None,
            read_only: true,
            notice: notice.cloned(),
            waited: Duration::ZERO,
            since: Instant::now(),
        }
    }

    /// Takes the lock at `path`, waiting as long as it takes, or as `patience` and `watch` have it.
    pub fn acquire(
        path: &Path,
        notice: Option<&Notice>,
        watch: &Watch,
        patience: Option<Duration>,
    ) -> Result<Self> {
        let (file, read_only) = match open(path) {
            Ok(file) => (file, false),
            // A repository that may only be read: flock works on what is open for reading, and where there
            // is no lock file at all, there is nobody who writes.
            Err(e) if is_read_only(&e) => match File::open(path) {
                Ok(file) => (file, true),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Self::without(notice));
                }
                Err(_) => return Err(e).at("open lock", path),
            },
            Err(e) => return Err(e).at("open lock", path),
        };
        let mut file = file;
        let start = Instant::now();
        let mut said = false;
        let [mut pause, longest] = POLL;
        while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK {
                return Err(e).at("lock", path);
            }
            watch.check()?;
            let waited = start.elapsed();
            if patience.is_some_and(|patience| waited > patience) {
                let holder = held_by(&mut file);
                return Err(Error::Locked { holder, waited });
            }
            if waited > PATIENCE && !said {
                said = true;
                if let Some(notice) = notice {
                    notice.waits_for(&held_by(&mut file));
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
        let waited = start.elapsed();
        let words = holder(notice);
        // Over what the last one wrote: cutting the file off would have the file system write it down each time.
        let written = file
            .rewind()
            .and_then(|()| file.write_all(words.as_bytes()));
        // A full disk must not keep anybody from the lock that frees space.
        drop(written);
        Ok(Self {
            _file: Some(file),
            read_only,
            notice: notice.cloned(),
            waited,
            since: Instant::now(),
        })
    }
}

/// Who has the lock, as far as the lock file tells; a torn text is only a less helpful message.
fn held_by(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file
        .rewind()
        .and_then(|()| file.read_to_string(&mut holder));
    holder.lines().next().unwrap_or_default().trim().to_owned()
}

/// The line in the lock file: this process, and what its caller calls it.
fn holder(notice: Option<&Notice>) -> String {
    let pid = std::process::id();
    let mut words = match notice.map(|notice| notice.holder()) {
        Some(name) if !name.is_empty() => format!("process {pid} ({name})"),
        _ => format!("process {pid}"),
    };
    // Of one length, so that nothing is left of a longer one.
    while words.len() >= HOLDER_BYTES {
        words.pop();
    }
    while words.len() < HOLDER_BYTES - 1 {
        words.push(' ');
    }
    words.push('\n');
    words
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn is_read_only(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied
    )
}
