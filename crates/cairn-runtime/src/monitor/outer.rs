//! The process between monitor and container: process 1 of a PID namespace around the container's own.
//!
//! The kernel kills it when the monitor dies, and kills everything in its namespace when it dies, the
//! container's namespace included. The container's processes cannot see it, so the tie to the monitor is not
//! in their hands: what process 1 of the container asks of prctl(2) changes nothing.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::streams::Ends;
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
    let program = sealed::program()?;
    let order = sealed::order(&Stage::Init(order))?;
    match cairn_sys::fork_alone(true).step("start the container")? {
        Some(pid) => Ok((Pid::from_raw(pid), mine)),
        None => {
            drop(mine);
            let Err(e) = live(&program, &order, &theirs, ends, group);
            // Where the monitor is gone there is nobody left to tell.
            let _ = wire::fail(&theirs, e.exit_code(), &cairn_model::one_line(&e));
            std::process::exit(i32::from(e.exit_code()));
        }
    }
}

fn live(
    program: &OwnedFd,
    order: &OwnedFd,
    socket: &OwnedFd,
    ends: Ends,
    group: Option<&OwnedFd>,
) -> Result<std::convert::Infallible> {
    let gone = || Error::Invalid("the monitor exited".into());
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("tie the container to its monitor")?;
    // It may have died before that was said; then its end of the socket is closed.
    let mut there = [PollFd::new(
        std::os::fd::AsFd::as_fd(socket),
        PollFlags::POLLIN,
    )];
    if poll(&mut there, PollTimeout::ZERO).step("check the monitor")? != 0 {
        return Err(gone());
    }
    nix::sched::unshare(CloneFlags::CLONE_NEWPID).step("create a PID namespace")?;
    let started = ends.start("cairn-init", program, order, &[socket], group);
    let child = started.step("start the container's init")?;
    // The caller's streams, the container's lock, both ends of pipes: nothing of it is needed here, and
    // nothing in this process uses a descriptor from here on.
    cairn_sys::close_all_from(0).step("close unneeded descriptors")?;
    loop {
        let code = match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
            Err(nix::errno::Errno::ECHILD) => 125,
            _ => continue,
        };
        std::process::exit(code);
    }
}
