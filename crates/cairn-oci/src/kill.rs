//! Signals to a container.

use std::time::{Duration, Instant};

use cairn_runtime::{freeze_groups, group_members, is_frozen, thaw_groups};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::{Container, Root, Status};
use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Sends a signal to the process of a container that lives. `SIGKILL` reaches one that is paused, too.
pub fn kill(container: &Container, signal: i32) -> Result<()> {
    self::signal(container, signal)
}

pub(crate) fn signal(container: &Container, signal: i32) -> Result<()> {
    let (process, _) = container.hold()?;
    cairn_runtime::send_signal(&process, signal).map_err(|e| {
        Error::step(
            format!("send signal {signal} to container {}", container.id()),
            e,
        )
    })?;
    if signal == SIGKILL && container.status() == Status::Paused {
        thaw_groups(container.group())?;
    }
    Ok(())
}

/// Sends a signal to every process in the container's control groups.
pub fn kill_all(container: &Container, signal: i32) -> Result<()> {
    let members = group_members(container.group());
    for pid in &members {
        let process = Pid::from_raw(*pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok());
        // It may have ended, and its number be another's: the groups tell again once it is held.
        if let Some(process) = process
            && group_members(container.group()).contains(pid)
        {
            let _ = cairn_runtime::send_signal(&process, signal);
        }
    }
    if signal == SIGKILL {
        thaw_groups(container.group())?;
    }
    Ok(())
}

/// Kills the container's process and waits until it has ended.
pub(crate) fn end(container: &Container) -> Result<()> {
    match signal(container, SIGKILL) {
        // It has ended already.
        Err(Error::Refused(_)) => return Ok(()),
        done => done?,
    }
    let start = Instant::now();
    while container.live_pid().is_some() {
        if start.elapsed() > PATIENCE {
            return Err(Error::Refused(format!(
                "container {} did not end within 10 seconds of SIGKILL",
                container.id()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Holds all processes of a container still.
pub fn pause(root: &Root, id: &str) -> Result<()> {
    let container = root.get_locked(id)?;
    match container.status() {
        Status::Running | Status::Created => Ok(freeze_groups(container.group())?),
        status => {
            let words = format!("container not running or created: {}", status.name());
            Err(Error::Refused(words))
        }
    }
}

/// Lets them go on.
pub fn resume(root: &Root, id: &str) -> Result<()> {
    let container = root.get_locked(id)?;
    match is_frozen(container.group()) {
        true => Ok(thaw_groups(container.group())?),
        false => Err(Error::Refused("container not paused".into())),
    }
}
