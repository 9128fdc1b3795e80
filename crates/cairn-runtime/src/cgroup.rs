//! A cgroup of version 2 for each container, for the freezer (Documentation/admin-guide/cgroup-v2.rst).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Step};

const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where version 2 is mounted, also on a host that has both.
fn mountpoint() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    places
        .iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists())
}

fn path(id: &str) -> Option<PathBuf> {
    mountpoint().map(|root| root.join(format!("cairn-{id}")))
}

/// Makes the container's cgroup and puts a process into it. A host that does not let us is no reason
/// not to run; only freezing needs it, and says so then.
pub fn place(id: &str, pid: i32) -> bool {
    let Some(path) = path(id) else { return false };
    std::fs::create_dir_all(&path).is_ok()
        && std::fs::write(path.join("cgroup.procs"), pid.to_string()).is_ok()
}

/// Removes the container's cgroup.
pub fn remove(id: &str) {
    if let Some(path) = path(id) {
        // Busy for a moment after the last process; an empty cgroup costs nothing if it stays.
        for _ in 0..10 {
            if std::fs::remove_dir(&path).is_ok() || !path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn frozen(path: &Path) -> bool {
    std::fs::read_to_string(path.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}

/// All processes of a container held still, until dropped.
#[derive(Debug)]
#[must_use = "the container runs on as soon as this is dropped"]
pub struct Frozen(PathBuf);

impl Frozen {
    /// Freezes the container, whose process 1 is `pid`; fails where it cannot be sure that it stands
    /// still.
    pub fn freeze(id: &str, pid: i32) -> Result<Self> {
        let cannot = || {
            Error::Invalid(
                "the container cannot be frozen (it has no cgroup of version 2); stop it first"
                    .into(),
            )
        };
        let path = path(id).ok_or_else(cannot)?;
        let members = std::fs::read_to_string(path.join("cgroup.procs")).map_err(|_| cannot())?;
        if !members.lines().any(|line| line.parse() == Ok(pid)) {
            return Err(cannot());
        }
        std::fs::write(path.join("cgroup.freeze"), "1").step("freeze the container")?;
        let guard = Self(path);
        let start = Instant::now();
        while !frozen(&guard.0) {
            if start.elapsed() > FREEZE_TIMEOUT {
                return Err(Error::Invalid(
                    "the container did not freeze within 5 seconds; stop it first".into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(guard)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // There is no better moment to thaw it, and nobody to tell.
        let _ = std::fs::write(self.0.join("cgroup.freeze"), "0");
    }
}
