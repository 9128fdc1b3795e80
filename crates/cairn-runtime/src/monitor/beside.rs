//! The process between a monitor and a container that shares a PID namespace.
//!
//! No namespace ends such a container with its monitor. This process outlives the monitor instead, and kills the
//! container's control groups as soon as the monitor is gone, or process 1 of the container has ended; nothing of
//! the container is outside of them. Whoever kills both of them at once leaves process 1 its death signal, and the
//! rest to the next start or removal of the container, or the next collection.

use std::convert::Infallible;

use nix::sched::CloneFlags;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::outer::code_of;
use crate::cgroup;
use crate::error::{Error, Result, Step};
use crate::init::namespaces::join_of;
use crate::spec::{LaunchSpec, Space};

/// What it has to know of monitor and container.
pub struct Tie {
    monitor: rustix::process::Pid,
    group: String,
    space: Space,
}

impl Tie {
    /// For the monitor, which this process is.
    pub fn new(spec: &LaunchSpec) -> Self {
        Self {
            monitor: getpid(),
            group: spec.group.clone(),
            space: spec.pid.clone(),
        }
    }

    /// In the forked process: starts the container's process 1, and ends with its code.
    pub fn live(&self, start: impl FnOnce() -> Result<Pid>) -> Result<Infallible> {
        self.enter()?;
        let child = start()?;
        cairn_sys::close_all_from(0).step("close unneeded descriptors")?;
        let code = self.wait(child);
        cgroup::kill_and_remove(&self.group);
        std::process::exit(code);
    }

    /// Is woken up when the monitor is gone, and has its children in the namespace that is meant.
    fn enter(&self) -> Result<()> {
        // All signals are blocked here, so that this one does no more.
        let woken = set_parent_process_death_signal(Some(Signal::TERM));
        woken.step("tie the container to its monitor")?;
        match &self.space {
            _ if self.is_orphan() => Err(Error::Invalid("the monitor exited".into())),
            Space::Container { pid, ticks, .. } => {
                join_of(*pid, *ticks, "pid", CloneFlags::CLONE_NEWPID)
            }
            _ => Ok(()),
        }
    }

    fn is_orphan(&self) -> bool {
        getppid() != Some(self.monitor)
    }

    /// Waits for the end of the container's process 1, or of the monitor.
    fn wait(&self, child: Pid) -> i32 {
        loop {
            let code = code_of(waitpid(child, Some(WaitPidFlag::WNOHANG)));
            if let Some(code) = code.or_else(|| self.is_orphan().then_some(125)) {
                return code;
            }
            // Whatever wakes it up: the next round looks.
            let _ = cairn_sys::wait_for_blocked_signal();
        }
    }
}

/// Refuses a container that shares processes and has no control group by which they could be ended.
pub fn check(spec: &LaunchSpec, pid: i32) -> Result<()> {
    if !spec.shares_processes() || cgroup::members(&spec.group).contains(&pid) {
        return Ok(());
    }
    Err(Error::Invalid(
        "--pid host and --pid container:NAME need a control group of the container's own, by which its processes are ended; none can be made here".into(),
    ))
}
