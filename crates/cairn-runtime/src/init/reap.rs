//! Process 1 of `--init`: passes signals on and reaps whoever ends, until its child has.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::error::{Error, Result, Step};

/// All signals that are passed on, blocked so that they can be read: before there is a child to pass them to.
pub fn signals() -> Result<SignalFd> {
    let mut signals = SigSet::all();
    signals.remove(Signal::SIGTTIN);
    signals.remove(Signal::SIGTTOU);
    signals.thread_block().step("block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).step("watch signals")
}

/// Waits for the end of `child`; its exit code.
pub fn reap(child: i32, signals: &SignalFd) -> Result<u8> {
    let gone = || Error::Invalid("the process has no number".into());
    let process = rustix::process::Pid::from_raw(child).ok_or_else(gone)?;
    let process = pidfd_open(process, PidfdFlags::empty()).step("open the process")?;
    loop {
        if let Some(code) = ended(Pid::from_raw(child)) {
            return Ok(code);
        }
        pass_on(signals, &process)?;
    }
}

/// Reaps whoever has ended; the code of `child` if it was among them.
fn ended(child: Pid) -> Option<u8> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(code as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some(128 + signal as u8);
            }
            Ok(WaitStatus::StillAlive) => return None,
            Err(nix::errno::Errno::ECHILD) => return Some(125),
            _ => {}
        }
    }
}

/// Waits for a signal.
fn pass_on(signals: &SignalFd, process: &OwnedFd) -> Result<()> {
    if let Some(info) = signals.read_signal().step("read a signal")? {
        let signal = info.ssi_signo as i32;
        if signal != Signal::SIGCHLD as i32 {
            // It may have ended just now.
            let _ = cairn_sys::send_signal(process, signal);
        }
    }
    Ok(())
}
