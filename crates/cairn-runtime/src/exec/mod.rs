//! Another process in a container that runs.
//!
//! The command becomes this stage, which holds the container's process 1 by a descriptor, connects streams as
//! the monitor does, and starts the [joining stage](join): a program image that nothing can change, which enters
//! the container's groups and namespaces and forks there. What becomes the user's program never executed
//! anything where the container could look at it, and had nothing of the host's open. It ends with the
//! container, for its PID namespace does.

pub(crate) mod join;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};
use crate::monitor::ends::Terminal;
use crate::monitor::relay::pass_on;
use crate::monitor::signals::{Signals, Started};
use crate::monitor::streams::{Pumps, pipes};
use crate::monitor::terminal::Raw;
use crate::monitor::{leave_the_caller, wait_for};
use crate::spec::LaunchSpec;
use crate::state::State;

/// What this stage is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The container's own launch, with what this process has instead.
    pub spec: LaunchSpec,
    /// The container's state when somebody looked.
    pub state: State,
    /// Number of the descriptor where it says how the start went, for a process in the background.
    pub started: Option<i32>,
}

/// Runs the process; its exit code.
pub fn main(order: Order) -> Result<u8> {
    cairn_sys::ignore_broken_pipe();
    let mut started = order.started.and_then(|fd| cairn_sys::inherited(fd).ok());
    if order.spec.detach {
        let kept: Vec<i32> = started.iter().map(|fd| fd.as_raw_fd()).collect();
        leave_the_caller(&kept);
    }
    // Before anything else is started.
    let _ = cairn_sys::close_on_exec_from(3);
    let done = run(&order, &mut started);
    match (done, started) {
        (Err(e), Some(fd)) => {
            let words = cairn_model::one_line(&e);
            // The one who waits has gone; then nobody does.
            let _ = rustix::io::write(fd, &[&[e.exit_code()], words.as_bytes()].concat());
            Ok(e.exit_code())
        }
        (done, _) => done,
    }
}

/// The container's process 1: looked at again once it is held, so that it is no later one of its number.
fn hold(state: &State) -> Result<OwnedFd> {
    let gone = || Error::Invalid("the container is not running".into());
    let pid = rustix::process::Pid::from_raw(state.pid).ok_or_else(gone)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    state.live_pid().ok_or_else(gone)?;
    Ok(process)
}

fn run(order: &Order, started: &mut Option<OwnedFd>) -> Result<u8> {
    let spec = &order.spec;
    let signals = Signals::watch()?;
    let first = hold(&order.state)?;
    let (streams, ends) = pipes(spec.interactive && !spec.terminal && !spec.detach)?;
    let (child, socket) = join::start(spec, &first, ends)?;
    let process = match signals.converse(&socket, |_| Ok(()), || Ok(())) {
        Ok(process) => process,
        Err(e) => {
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
            return Err(e);
        }
    };
    drop((socket, first));
    if let Some(fd) = started.take() {
        // The one who waits has gone; the process runs all the same.
        let _ = rustix::io::write(fd, &[0]);
    }
    if spec.detach {
        return Ok(0);
    }
    let Started {
        process, terminal, ..
    } = process;
    let terminal: Option<Terminal> = terminal.map(|master| Arc::new(Mutex::new(Some(master))));
    let raw = (terminal.is_some() && spec.interactive)
        .then(Raw::enter)
        .flatten();
    let pumps = Pumps::start(spec, Path::new("/"), streams, terminal.as_ref(), None)?;
    let code = relay(child, &signals, &process, terminal.as_ref());
    drop(raw);
    pumps.finish();
    code
}

/// Passes on signals until the process has ended.
pub(crate) fn relay(
    child: Pid,
    signals: &Signals,
    process: &OwnedFd,
    terminal: Option<&Terminal>,
) -> Result<u8> {
    loop {
        if let Some(code) = wait_for(child) {
            return Ok(code);
        }
        let mut fds = [PollFd::new(signals.fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            done => done.step("wait for the process")?,
        };
        while let Some(signal) = signals.next()? {
            pass_on(signal, process, terminal);
        }
    }
}
