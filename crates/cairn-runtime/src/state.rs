//! How a container's process is doing: written by its monitor, read by anybody.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Result, Step};

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
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Start time of a process (proc_pid_stat(5), field 22); `None` where it is gone or a zombie.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

impl State {
    /// The state of the container in `directory`, with what the kernel says now.
    pub fn load(directory: &Path) -> Self {
        let none = Self {
            pid: 0,
            start_ticks: 0,
            status: Status::Created,
            started: 0,
            finished: 0,
        };
        let read = std::fs::read(directory.join("state.json")).ok();
        let Some(mut state) = read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
        else {
            return none;
        };
        if state.status == Status::Running && start_ticks(state.pid) != Some(state.start_ticks) {
            state.status = Status::Lost;
        }
        state
    }

    /// True while the process runs.
    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        let path = directory.join("state.json");
        let temporary = directory.join("state.json.new");
        let bytes = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .step("encode the state")?;
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .step(format!("write {}", path.display()))
    }
}
