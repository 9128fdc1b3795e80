//! Holding all processes of a container still (cgroup.freeze, version 2).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::hierarchies;
use crate::error::{Error, Result, Step};

const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

fn frozen(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}

/// All processes of a container held still, until dropped.
#[derive(Debug)]
#[must_use = "the container runs on as soon as this is dropped"]
pub struct Frozen(PathBuf);

impl Frozen {
    /// Freezes the container, whose process 1 is `pid`; fails where it cannot be sure that it stands
    /// still.
    pub fn freeze(group: &str, pid: i32) -> Result<Self> {
        let cannot = || {
            Error::Invalid(
                "the container cannot be paused (it has no version 2 control group); stop it first"
                    .into(),
            )
        };
        let unified = hierarchies().into_iter().find(|h| h.unified);
        let path = unified.ok_or_else(cannot)?.root.join(group);
        // The process may have made groups of its own below its group, never beside it.
        let member = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| cannot())?;
        let mut places = member.lines().filter_map(|line| line.strip_prefix("0::/"));
        let inside = |place: &str| {
            place
                .strip_prefix(group)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !places.any(inside) {
            return Err(cannot());
        }
        fs::write(path.join("cgroup.freeze"), "1").step("freeze the container")?;
        let guard = Self(path);
        let start = Instant::now();
        while !frozen(&guard.0) {
            if start.elapsed() > FREEZE_TIMEOUT {
                return Err(Error::Invalid(
                    "the container could not be paused within 5 seconds; stop it first".into(),
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
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
    }
}
