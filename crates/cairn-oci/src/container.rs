//! Containers below a directory: one directory each with a state file, and what the kernel says now.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cairn_runtime::bundle::{BundleSpec, Hook, HookState, is_waiting};
use cairn_runtime::{is_frozen, start_ticks};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// Version of the state file.
const VERSION: u32 = 1;
const NAME_BYTES_MAX: usize = 200;

/// The directory of all containers.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

/// What a container is doing (runtime-spec, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its process 1 waits to be started.
    Created,
    /// Its process runs.
    Running,
    /// It is held still.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl Status {
    /// As the specification and callers call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub version: u32,
    /// What it was created from.
    pub spec: BundleSpec,
    /// When, RFC 3339.
    pub created: String,
    /// Process 1; 0 before there is one.
    pub pid: i32,
    /// When that started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Hooks for when its process has begun.
    pub started: Vec<Hook>,
    /// Hooks for when it was deleted.
    pub stopped: Vec<Hook>,
}

/// State of a container, as `state` prints it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeState {
    /// Version of the specification that its document follows.
    pub oci_version: String,
    /// Its name.
    pub id: String,
    /// Its process 1, 0 where that has ended.
    pub pid: i32,
    /// What it does.
    pub status: &'static str,
    /// Its bundle's directory.
    pub bundle: PathBuf,
    /// Its root directory.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    /// Notes of whoever made the bundle.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who created it, always empty for root.
    pub owner: String,
}

/// A container that is there.
#[derive(Debug)]
pub struct Container {
    pub(crate) directory: PathBuf,
    pub(crate) stored: Stored,
    /// Held while something is done to it.
    pub(crate) _lock: Option<OwnedFd>,
}

/// Refuses names that are no plain name of a directory.
fn check(id: &str) -> Result<()> {
    let plain = id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
    if id.is_empty() || id.len() > NAME_BYTES_MAX || !plain || id == "." || id == ".." {
        let shown: String = id.chars().take(40).collect();
        return Err(Error::Invalid(format!(
            "{shown:?} is not a container id; use letters, digits and _+-. only, at most {NAME_BYTES_MAX}"
        )));
    }
    Ok(())
}

impl Root {
    /// Containers below `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    pub(crate) fn directory(&self, id: &str) -> Result<PathBuf> {
        check(id)?;
        Ok(self.0.join(id))
    }

    /// Makes the directory of a container that is not there yet; only its owner can look into it.
    pub(crate) fn make(&self, id: &str) -> Result<PathBuf> {
        let directory = self.directory(id)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        let step = || format!("create {}", self.0.display());
        builder.create(&self.0).step(step())?;
        let meta = self.0.metadata().step(step())?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Err(Error::Invalid(format!(
                "{} can be written by others; use another --root, or correct its owner and mode",
                self.0.display()
            )));
        }
        match builder.recursive(false).create(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists(id.to_owned()))
            }
            done => done
                .step(format!("create {}", directory.display()))
                .map(|()| directory),
        }
    }

    /// The container with this name.
    pub fn get(&self, id: &str) -> Result<Container> {
        let directory = self.directory(id)?;
        let path = directory.join("state.json");
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound(id.to_owned()));
            }
            done => done.step(format!("read {}", path.display()))?,
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| {
            Error::Invalid(format!(
                "{} is not the state of a container: {e}",
                path.display()
            ))
        })?;
        if stored.version != VERSION {
            return Err(Error::Invalid(format!(
                "{} is of version {}, and this program knows version {VERSION} only",
                path.display(),
                stored.version
            )));
        }
        Ok(Container {
            directory,
            stored,
            _lock: None,
        })
    }

    /// The same, to be changed: nobody else changes it meanwhile.
    pub fn get_locked(&self, id: &str) -> Result<Container> {
        let directory = self.directory(id)?;
        let file = match File::open(&directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound(id.to_owned()));
            }
            done => done.step(format!("open {}", directory.display()))?,
        };
        flock(&file, FlockOperation::LockExclusive).step(format!("lock container {id}"))?;
        let mut container = self.get(id)?;
        container._lock = Some(file.into());
        Ok(container)
    }

    /// All containers, by name. Those whose state cannot be read are left out.
    pub fn list(&self) -> Result<Vec<Container>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            done => done.step(format!("list {}", self.0.display()))?,
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        Ok(names
            .iter()
            .filter_map(|name| self.get(name).ok())
            .collect())
    }
}

impl Stored {
    pub(crate) fn new(spec: BundleSpec, started: Vec<Hook>, stopped: Vec<Hook>) -> Self {
        let now = i64::try_from(cairn_model::clock::secs()).unwrap_or(i64::MAX);
        Self {
            version: VERSION,
            spec,
            created: cairn_model::clock::rfc3339(now),
            pid: 0,
            start_ticks: 0,
            started,
            stopped,
        }
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other);
        let bytes = bytes.step("encode the state of the container")?;
        // It holds environment values.
        crate::write_whole(&directory.join("state.json"), &bytes, 0o600)
    }
}

impl Container {
    /// Its name.
    pub fn id(&self) -> &str {
        &self.stored.spec.state.id
    }

    /// Name of its control groups.
    pub fn group(&self) -> &str {
        &self.stored.spec.group
    }

    /// Its process 1, where that very process still lives.
    pub fn live_pid(&self) -> Option<i32> {
        let (pid, ticks) = (self.stored.pid, self.stored.start_ticks);
        (pid > 0 && start_ticks(pid) == Some(ticks)).then_some(pid)
    }

    /// The same, held: its number is not given to another while the descriptor is open.
    pub(crate) fn hold(&self) -> Result<(OwnedFd, i32)> {
        let gone = || Error::Refused(format!("container not running: {}", self.id()));
        let pid = Pid::from_raw(self.stored.pid).ok_or_else(gone)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        let pid = self.live_pid().ok_or_else(gone)?;
        Ok((process, pid))
    }

    /// What it does now.
    pub fn status(&self) -> Status {
        if self.live_pid().is_none() {
            return Status::Stopped;
        }
        if is_waiting(&self.directory) {
            Status::Created
        } else if is_frozen(self.group()) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// All that `state` tells.
    pub fn state(&self) -> RuntimeState {
        let status = self.status();
        let told = &self.stored.spec.state;
        RuntimeState {
            oci_version: told.oci_version.clone(),
            id: told.id.clone(),
            pid: match status {
                Status::Stopped => 0,
                _ => self.stored.pid,
            },
            status: status.name(),
            bundle: told.bundle.clone(),
            rootfs: self.stored.spec.root.clone(),
            created: self.stored.created.clone(),
            annotations: told.annotations.clone(),
            owner: String::new(),
        }
    }

    /// What hooks are told.
    pub(crate) fn told(&self, status: &str, pid: Option<i32>) -> HookState {
        self.stored.spec.state.with(status, pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "web-1", "0f.x+y_z"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "x".repeat(201);
        for bad in ["", ".", "..", "a/b", "../a", "a b", "a\n", "é", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::new(place.path().join("state"));
        assert!(matches!(root.get("a"), Err(Error::NotFound(_))));
        let made = root.make("a").unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
        assert!(matches!(root.make("a"), Err(Error::Exists(_))));
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(place.path().join("state"), open).unwrap();
        assert!(matches!(root.make("b"), Err(Error::Invalid(_))));
    }
}
