//! The process between monitor and container: process 1 of a PID namespace around the container's own.
//!
//! The kernel kills it when the monitor dies, and kills everything in its namespace when it dies, the
//! container's namespace included. The container's processes cannot see it, so the tie to the monitor is not
//! in their hands: what process 1 of the container asks of prctl(2) changes nothing.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::streams::Ends;
use super::{beside, foreign};
use crate::error::{Error, Result, Step};
use crate::{Stage, init, sealed, wire};

/// Starts it, and init below it, in the control group if that can be. The descriptor is the monitor's end of the
/// conversation with init.
pub fn start(
    mut order: init::Order,
    ends: Ends,
    group: Option<&OwnedFd>,
) -> Result<(Pid, OwnedFd)> {
    let (mine, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step("create a socket pair")?;
    order.socket = theirs.as_raw_fd();
    if order.spec.runtime.is_some() {
        return fork(true, mine, theirs, |socket| {
            foreign::live(&order, socket, ends)
        });
    }
    let shared = order.spec.shares_processes();
    let tie = shared.then(|| beside::Tie::new(&order.spec));
    let program = sealed::program()?;
    let order = sealed::order(&Stage::Init(order))?;
    fork(!shared, mine, theirs, |socket| {
        let socket = socket.as_ref().ok_or_else(gone)?;
        let start = || {
            let started = ends.start("cairn-init", &program, &order, &[socket], group);
            started.step("start the container's init")
        };
        match tie {
            Some(tie) => tie.live(start),
            None => live(socket, start),
        }
    })
}

/// Forks, and has the child do this with its end of the conversation; where it fails it says so.
fn fork(
    own_namespace: bool,
    mine: OwnedFd,
    theirs: OwnedFd,
    live: impl FnOnce(&mut Option<OwnedFd>) -> Result<Infallible>,
) -> Result<(Pid, OwnedFd)> {
    if let Some(pid) = cairn_sys::fork_alone(own_namespace).step("start the container")? {
        return Ok((Pid::from_raw(pid), mine));
    }
    drop(mine);
    let mut socket = Some(theirs);
    let Err(e) = live(&mut socket);
    if let Some(socket) = &socket {
        // Where the monitor is gone there is nobody left to tell.
        let _ = wire::fail(socket, e.exit_code(), &cairn_model::one_line(&e));
    }
    std::process::exit(i32::from(e.exit_code()));
}

/// Has the kernel kill this process when the monitor dies.
pub(super) fn die_with_monitor(socket: &OwnedFd) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("tie the container to its monitor")?;
    // It may have died before that was said; then its end of the socket is closed.
    let mut there = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut there, PollTimeout::ZERO).step("check the monitor")? {
        0 => Ok(()),
        _ => Err(gone()),
    }
}

fn gone() -> Error {
    Error::Invalid("the monitor exited".into())
}

/// Starts the container's process 1 in a PID namespace of its own, and ends with its code.
fn live(socket: &OwnedFd, start: impl FnOnce() -> Result<Pid>) -> Result<Infallible> {
    die_with_monitor(socket)?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID).step("create a PID namespace")?;
    let child = start()?;
    // The caller's streams, the container's lock, both ends of pipes: nothing of it is needed here, and
    // nothing in this process uses a descriptor from here on.
    cairn_sys::close_all_from(0).step("close unneeded descriptors")?;
    let ended = || code_of(waitpid(child, None));
    std::process::exit(
        std::iter::repeat_with(ended)
            .flatten()
            .next()
            .unwrap_or(125),
    )
}

/// The exit code that the answer about a child means, where it has ended.
pub(super) fn code_of(waited: nix::Result<WaitStatus>) -> Option<i32> {
    match waited {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
        Err(nix::errno::Errno::ECHILD) => Some(125),
        _ => None,
    }
}
