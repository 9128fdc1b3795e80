//! Waits for the end of containers.

use std::fs::File;

use cairn_repo::Repo;
use cairn_runtime::{State, Status};
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result, Step};

/// A container whose end somebody waits for.
#[derive(Debug)]
pub struct Waiting {
    name: String,
    directory: std::path::PathBuf,
    /// Whoever runs it holds the lock until everything about the end is written down.
    lock: Option<File>,
}

impl Waiting {
    /// Finds the container. Needs the repository no longer than this.
    pub fn find(repo: &Repo, name: &str) -> Result<Self> {
        let directory = repo.containers().dir(&repo.containers().find(name)?.id);
        Ok(Self {
            name: name.to_owned(),
            lock: File::open(directory.join("lock")).ok(),
            directory,
        })
    }

    /// Waits until the container has ended; its exit code.
    pub fn end(self) -> Result<u8> {
        let name = self.name;
        if let Some(lock) = &self.lock {
            while let Err(e) = flock(lock, FlockOperation::LockShared) {
                if e != rustix::io::Errno::INTR {
                    return Err(e.into()).step(format!("wait for container {name}"));
                }
            }
        }
        // Not from its directory, which may be removed right now: what is read is whole or not there.
        match State::load(&self.directory).status {
            Status::Exited(code) => Ok(code),
            Status::Created if self.directory.exists() => Err(Error::Refused(format!(
                "container {name} was never started; start it with \"cairn start {name}\""
            ))),
            Status::Created => Err(Error::Refused(format!(
                "container {name} was removed before its exit code could be read"
            ))),
            Status::Lost | Status::Running => Err(Error::Refused(format!(
                "container {name} has no exit code: its monitor was killed"
            ))),
        }
    }
}
