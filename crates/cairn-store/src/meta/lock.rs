//! One process at a time changes metadata; the others wait, and can say for whom.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::error::{IoContext, Result};

/// Told how the repository lock goes.
pub trait LockWatch: Send + Sync {
    /// The lock was not had within a second; `holder` is the pid and command of who has it.
    fn waits_for(&self, holder: &str);

    /// The lock was had after `waited`, and let go after `held`.
    fn let_go(&self, _waited: Duration, _held: Duration) {}

    /// Something the user should know, which stops nothing.
    fn says(&self, _words: &str) {}
}

/// A watch that is shared.
pub type Notice = Arc<dyn LockWatch>;

const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(1);

/// The repository lock, held until dropped. The kernel drops it with the process.
pub struct RepositoryLock {
    _file: File,
    notice: Option<Notice>,
    waited: Duration,
    since: Instant,
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        if let Some(notice) = &self.notice {
            notice.let_go(self.waited, self.since.elapsed());
        }
    }
}

impl RepositoryLock {
    /// Takes the lock at `path`, waiting as long as it takes.
    pub fn acquire(path: &Path, notice: Option<&Notice>) -> Result<Self> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        };
        let mut file = open().at("open lock", path)?;
        let start = Instant::now();
        while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK {
                return Err(e).at("lock", path);
            }
            if start.elapsed() > PATIENCE {
                if let Some(notice) = notice {
                    let mut holder = String::new();
                    // Reads what the holder wrote; a torn text is only a less helpful message.
                    let _ = file
                        .rewind()
                        .and_then(|()| file.read_to_string(&mut holder));
                    notice.waits_for(holder.trim());
                }
                flock(&file, FlockOperation::LockExclusive).at("lock", path)?;
                break;
            }
            std::thread::sleep(POLL);
        }
        let waited = start.elapsed();
        let words = format!("process {} ({})\n", std::process::id(), command());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(words.as_bytes()));
        // A full disk must not keep anybody from the lock that frees space.
        drop(written);
        Ok(Self {
            _file: file,
            notice: notice.cloned(),
            waited,
            since: Instant::now(),
        })
    }
}

/// Name and verb of this process, as a lock's holder gives them.
pub fn command() -> String {
    let name = std::env::args_os()
        .next()
        .map(PathBuf::from)
        .unwrap_or_default();
    let name = name
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let verb = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .find(|a| !a.starts_with(['-', '/']));
    format!("{name} {}", verb.unwrap_or_default())
        .trim()
        .to_owned()
}
