//! The monitor's waiting, from the beginning of the process to its end.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::PoisonError;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::ends::Terminal;
use super::signals::Signals;
use super::streams::Pumps;
use super::terminal::{Raw, copy_size};
use super::wait_for;
use crate::cgroup::Frozen;
use crate::control::{Asked, Client};
use crate::error::{Error, Result, Step};
use crate::notify::Heard;

/// A container whose process has begun.
pub struct Watched {
    /// The process around it, this process's child.
    pub outer: Pid,
    /// Its process 1.
    pub process: OwnedFd,
    /// As the host numbers it.
    pub pid: i32,
    /// Its control groups.
    pub group: String,
    /// Where others ask for something.
    pub listener: UnixListener,
    /// Where it tells the service manager something.
    pub heard: Option<Heard>,
    /// Its terminal, where this process shows it.
    pub terminal: Option<Terminal>,
    /// What copies its streams.
    pub pumps: Option<Pumps>,
    /// The caller's terminal, in raw mode.
    pub raw: Option<Raw>,
    /// It is held still until somebody lets it go on.
    pub paused: Option<Rc<Frozen>>,
}

impl Watched {
    /// Ends it at once.
    pub fn kill(&self) {
        let _ = nix::sys::signal::kill(self.outer, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.outer, None);
    }

    /// Passes on signals and answers requests until the process has ended; its exit code. `note` writes down
    /// whether it is paused.
    pub fn relay(
        &mut self,
        signals: &Signals,
        note: &mut dyn FnMut(bool) -> Result<()>,
    ) -> Result<u8> {
        let mut clients: Vec<Client> = Vec::new();
        loop {
            // It may have ended before the first look: a signal says that something changed, no more.
            if let Some(code) = wait_for(self.outer) {
                self.raw = None;
                return Ok(code);
            }
            let mut fds = vec![
                PollFd::new(signals.fd(), PollFlags::POLLIN),
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            ];
            for client in &clients {
                fds.push(PollFd::new(client.stream.as_fd(), PollFlags::POLLIN));
            }
            let heard_at = fds.len();
            fds.extend(
                self.heard
                    .iter()
                    .map(|heard| PollFd::new(heard.fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                done => done.step("wait for the container")?,
            };
            let events: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if events[0] {
                while let Some(signal) = signals.next()? {
                    pass_on(signal, &self.process, self.terminal.as_ref());
                }
            }
            if let (Some(heard), Some(true)) = (&self.heard, events.get(heard_at)) {
                heard.pass_on();
            }
            // From the last to the first, so that numbers stay right while clients go.
            for i in (0..clients.len()).rev().filter(|i| events[i + 2]) {
                let mut client = clients.swap_remove(i);
                let asked = Asked {
                    group: &self.group,
                    pid: self.pid,
                    others: &clients,
                    paused: &mut self.paused,
                    note,
                    attach: &|client, greeting| match &self.pumps {
                        Some(pumps) => pumps.attach(client, greeting),
                        None => Err(Error::Invalid("the container has no streams".into())),
                    },
                };
                if client.serve(asked) {
                    clients.push(client);
                }
            }
            if events[1] {
                clients.extend(Client::accept(&self.listener));
            }
        }
    }
}

/// Passes a signal on to a process; a change of the caller's terminal goes to the process's.
pub fn pass_on(signal: i32, process: &OwnedFd, terminal: Option<&Terminal>) {
    if signal == Signal::SIGCHLD as i32 || signal == Signal::SIGURG as i32 {
        return;
    }
    if signal == Signal::SIGWINCH as i32
        && let Some(terminal) = terminal
    {
        let shared = terminal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(master) = shared.as_ref() {
            copy_size(std::io::stdin(), master);
        }
        return;
    }
    // It may have ended just now.
    let _ = cairn_sys::send_signal(process, signal);
}
