//! Process 1 of `--init`: passes signals on and reaps whoever ends, until its child has.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Signals as [`reap`] waits for them, to be blocked before the child exists.
pub fn signals() -> SigSet {
    let mut signals = SigSet::all();
    signals.remove(Signal::SIGTTIN);
    signals.remove(Signal::SIGTTOU);
    signals
}

/// Waits for the end of `child`; its exit code.
pub fn reap(child: Pid, signals: &SigSet) -> u8 {
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == child => return code as u8,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    return 128 + signal as u8;
                }
                Ok(WaitStatus::StillAlive) => break,
                Err(nix::errno::Errno::ECHILD) => return 125,
                _ => {}
            }
        }
        let signal = signals.wait();
        if let Ok(signal) = signal
            && signal != Signal::SIGCHLD
        {
            // It may have ended just now.
            let _ = nix::sys::signal::kill(child, signal);
        }
    }
}
