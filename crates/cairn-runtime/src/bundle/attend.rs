//! Staying with a process of a bundle in the foreground: its streams and signals, until its end.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use nix::unistd::Pid;
use rustix::termios::tcgetwinsize;

use super::{BundleProcess, Streams};
use crate::error::{Result, Step};
use crate::exec::relay;
use crate::monitor::ends::Terminal;
use crate::monitor::signals::Signals;
use crate::monitor::streams::{Pumps, Streams as Held, pipes};
use crate::monitor::terminal::{Raw, copy_size};

/// This process's side of what is attended.
pub struct Attendance {
    signals: Signals,
    held: Held,
    terminal: bool,
}

impl Attendance {
    /// Prepares for a process; also the end of its streams. A terminal of its own is as large as this one's from the
    /// start. From here on signals to this process wait, and what is orphaned below it becomes its child.
    pub fn new(process: &mut BundleProcess) -> Result<(Self, Streams)> {
        let terminal = process.terminal;
        if let Ok(size) = tcgetwinsize(std::io::stdin()) {
            process.size = Some((size.ws_row, size.ws_col));
        }
        cairn_sys::ignore_broken_pipe();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .step("become the reaper of what is started")?;
        let signals = Signals::watch()?;
        let (held, ends) = pipes(!terminal)?;
        let attendance = Self {
            signals,
            held,
            terminal,
        };
        Ok((attendance, Streams::Piped(ends)))
    }

    /// Stays until the process ends; its exit code.
    pub fn stay(self, pid: i32, process: &OwnedFd, terminal: Option<OwnedFd>) -> Result<u8> {
        // It may have changed meanwhile.
        if let Some(master) = &terminal {
            copy_size(std::io::stdin(), master);
        }
        let terminal: Option<Terminal> = terminal.map(|master| Arc::new(Mutex::new(Some(master))));
        let raw = self.terminal.then(Raw::enter).flatten();
        let pumps = Pumps::copying(true, true, None, self.held, terminal.as_ref())?;
        let code = relay(
            Pid::from_raw(pid),
            &self.signals,
            process,
            terminal.as_ref(),
        );
        drop(raw);
        pumps.finish();
        code
    }
}
