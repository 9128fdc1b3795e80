//! How a container's process is doing: written by its monitor, read by anybody.
//!
//! Whoever starts a container holds the lock of its directory from before the container can be seen until
//! its end: `run`, then the monitor that `run` becomes. A lock that nobody holds therefore means that the
//! monitor is gone, and what it did not write down is lost.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};

/// What a container's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not started yet.
    Created,
    /// It runs.
    Running,
    /// It has ended with this code (128 and the signal's number where one ended it).
    Exited(u8),
    /// Its monitor is gone and so is it; how it ended is not known.
    Lost,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Process 1 of the container, as the host numbers it.
    pub pid: i32,
    /// When that process started, in clock ticks since boot: tells it from a later one of its number.
    pub start_ticks: u64,
    /// What it does.
    pub status: Status,
    /// When it was started, seconds since 1970.
    pub started: u64,
    /// When it ended.
    pub finished: u64,
    /// The process that watches over it.
    #[serde(default)]
    pub monitor: i32,
    /// When the monitor started, in clock ticks since boot.
    #[serde(default)]
    pub monitor_ticks: u64,
    /// The kernel killed a process of it because its memory was used up.
    #[serde(default)]
    pub out_of_memory: bool,
    /// It is held still until somebody lets it go on.
    #[serde(default)]
    pub paused: bool,
    /// Somebody holds the container's lock: it is being started, runs, or is about to be recorded.
    #[serde(skip)]
    pub watched: bool,
}

/// Start time of a process (proc_pid_stat(5), field 22); `None` where it is gone or a zombie.
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// The lock of a container, held until its end. It is inherited by the monitor and closed by everything
/// else.
#[derive(Debug)]
#[must_use = "the container counts as abandoned as soon as this is dropped"]
pub struct ContainerLock(OwnedFd);

impl ContainerLock {
    /// Locks the container in `directory`, which nobody runs.
    pub fn take(directory: &Path) -> Result<Self> {
        let path = directory.join("lock");
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(
            options.read(true).write(true).create(true).truncate(false),
            0o600,
        );
        let file = options
            .open(&path)
            .step(format!("open {}", path.display()))?;
        // Whoever reads the state has the lock for an instant.
        for _ in 0..50 {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file.into())),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
        Err(Error::Invalid(
            "another process is starting or running the container".into(),
        ))
    }

    pub(crate) fn from_inherited(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor that holds the lock, to be passed on.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// True while somebody holds the lock of the container in `directory`.
fn is_watched(directory: &Path) -> bool {
    // A shared lock, for an instant: readers do not get into each other's way.
    File::open(directory.join("lock")).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared)
            .is_err_and(|e| e == rustix::io::Errno::WOULDBLOCK)
    })
}

impl State {
    /// That of a container whose monitor (this process) has begun.
    pub fn created() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            pid: 0,
            start_ticks: 0,
            status: Status::Created,
            started: 0,
            finished: 0,
            monitor: pid,
            monitor_ticks: start_ticks(pid).unwrap_or(0),
            out_of_memory: false,
            paused: false,
            watched: true,
        }
    }

    /// The state of the container in `directory`, with what the kernel says now.
    pub fn load(directory: &Path) -> Self {
        // First the lock: a monitor writes the last state before it lets go.
        let watched = is_watched(directory);
        let read = std::fs::read(directory.join("state.json")).ok();
        let nothing = |status| Self {
            pid: 0,
            start_ticks: 0,
            status,
            started: 0,
            finished: 0,
            monitor: 0,
            monitor_ticks: 0,
            out_of_memory: false,
            paused: false,
            watched,
        };
        let mut state = match read {
            None => nothing(Status::Created),
            // It did begin; a state that cannot be read says no more.
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or(nothing(Status::Lost)),
        };
        state.watched = watched;
        state.paused &= watched;
        if state.status == Status::Running && !watched {
            state.status = Status::Lost;
        }
        state
    }

    /// True while the process runs.
    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    /// True while the container's directory is in use: it is being started, runs, or its end is being
    /// written down.
    pub fn is_busy(&self) -> bool {
        self.watched
    }

    /// The pid of the container's process 1, where that very process still exists.
    pub fn live_pid(&self) -> Option<i32> {
        (self.pid > 0 && start_ticks(self.pid) == Some(self.start_ticks)).then_some(self.pid)
    }

    /// The pid of the monitor, where that very process still exists.
    pub fn live_monitor(&self) -> Option<i32> {
        (self.monitor > 0 && start_ticks(self.monitor) == Some(self.monitor_ticks))
            .then_some(self.monitor)
    }

    /// Writes the state down.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join("state.json");
        let temporary = directory.join("state.json.new");
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other);
        let bytes = bytes.step("encode the state")?;
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .step(format!("write {}", path.display()))
    }
}
