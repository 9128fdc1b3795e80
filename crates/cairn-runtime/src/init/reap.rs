//! Process 1 of `--init`: passes signals on and reaps whoever ends, until its child has. It holds no
//! descriptor but the standard streams.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Result, Step};

/// Blocks all signals that are passed on: before there is a child to pass them to.
pub fn block_signals() -> Result<()> {
    let mut signals = SigSet::all();
    signals.remove(Signal::SIGTTIN);
    signals.remove(Signal::SIGTTOU);
    signals.thread_block().step("block signals")
}

/// Where this is not process 1 of its namespace: those whose parent ends become its children all the same.
pub fn adopt() -> Result<()> {
    let myself = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(myself)).step("adopt orphans")
}

/// Waits for the end of `child`; its exit code.
pub fn reap(child: i32) -> u8 {
    loop {
        if let Some(code) = ended(Pid::from_raw(child)) {
            return code;
        }
        // Something else than a signal ended the wait: the next round looks again.
        let Ok(signal) = cairn_sys::wait_for_blocked_signal() else {
            continue;
        };
        if signal != Signal::SIGCHLD as i32 {
            // It may have ended just now.
            let _ = cairn_sys::signal_child(child, signal);
        }
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
