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
        let unified = hierarchies().iter().find(|h| h.unified);
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

/// Files of version 1.
const FREEZER: &str = "freezer.state";

/// The file that freezes a group and answers whether it is frozen, of version 2 where there is one.
fn switch(group: &str) -> Option<(PathBuf, bool)> {
    let mut found: Vec<(PathBuf, bool)> = super::places(group)
        .into_iter()
        .filter(|place| place.unified || place.path.join(FREEZER).exists())
        .map(|place| (place.path, place.unified))
        .collect();
    found.sort_by_key(|(_, unified)| !unified);
    found.into_iter().next()
}

fn is_held(path: &Path, unified: bool) -> bool {
    let state = || fs::read_to_string(path.join(FREEZER)).unwrap_or_default();
    match unified {
        true => frozen(path),
        false => state().trim() == "FROZEN",
    }
}

/// True while all processes of a group are held still.
pub fn is_frozen(group: &str) -> bool {
    switch(group).is_some_and(|(path, unified)| is_held(&path, unified))
}

/// Holds all processes of a group still until [`thaw`]; fails where it cannot be sure that they stand still.
pub fn freeze(group: &str) -> Result<()> {
    let step = "freeze the container";
    let (path, unified) = switch(group).ok_or_else(|| {
        Error::Invalid("the container has no control group that can be frozen".into())
    })?;
    let (file, value) = match unified {
        true => ("cgroup.freeze", "1"),
        false => (FREEZER, "FROZEN"),
    };
    fs::write(path.join(file), value).step(step)?;
    let start = Instant::now();
    while !is_held(&path, unified) {
        if start.elapsed() > FREEZE_TIMEOUT {
            let _ = thaw(group);
            return Err(Error::Invalid(
                "the container could not be paused within 5 seconds".into(),
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
        // Version 1 may be stuck half way, and goes on when it is asked again.
        if !unified {
            fs::write(path.join(file), value).step(step)?;
        }
    }
    Ok(())
}

/// Lets the processes of a group go on.
pub fn thaw(group: &str) -> Result<()> {
    match switch(group) {
        Some((path, true)) => fs::write(path.join("cgroup.freeze"), "0"),
        Some((path, false)) => fs::write(path.join(FREEZER), "THAWED"),
        None => Ok(()),
    }
    .step("thaw the container")
}
