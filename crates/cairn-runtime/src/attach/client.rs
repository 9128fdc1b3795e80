//! The caller's side: its standard streams, in place of the container's.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::frame::Frame;
use super::keys::{DetachKeys, Watcher};
use crate::control;
use crate::error::{Error, Result, Step};
use crate::monitor::ends::write_all;
use crate::monitor::relay::pass_on;
use crate::monitor::signals::Signals;
use crate::monitor::streams::copy_input;
use crate::monitor::terminal::Raw;
use crate::state::State;

/// How to attach.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// What is typed goes to the container.
    pub input: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// What leaves the container.
    pub keys: DetachKeys,
    /// Signals to this process go to the container's.
    pub pass_signals: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The container ended with this code.
    Ended(u8),
    /// The caller left; the container goes on.
    Left,
    /// A signal ended this process, and not the container.
    Interrupted(i32),
}

/// Connects this process's standard streams to the container in `directory` until one of both is done.
pub fn attach(directory: &Path, options: &AttachOptions) -> Result<Attached> {
    let gone = || Error::Invalid("the container is not running".into());
    let state = State::load(directory);
    let pid = state.live_pid().and_then(Pid::from_raw).ok_or_else(gone)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    // Nobody took its number meanwhile.
    state.live_pid().ok_or_else(gone)?;
    cairn_sys::ignore_broken_pipe();
    let signals = Signals::watch()?;
    let connection = control::attach(directory)?;
    connected(connection, &signals, Some(&process), options)
}

/// The same over a connection that the monitor has had from the beginning; the container may have ended since.
pub fn attach_over(
    connection: UnixStream,
    directory: &Path,
    options: &AttachOptions,
) -> Result<Attached> {
    cairn_sys::ignore_broken_pipe();
    let signals = Signals::watch()?;
    let state = State::load(directory);
    let pid = state.live_pid().and_then(Pid::from_raw);
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let process = process.filter(|_| state.live_pid().is_some());
    connected(connection, &signals, process.as_ref(), options)
}

fn connected(
    connection: UnixStream,
    signals: &Signals,
    process: Option<&OwnedFd>,
    options: &AttachOptions,
) -> Result<Attached> {
    let connection = Arc::new(connection);
    let left = Arc::new(AtomicBool::new(false));
    let stdin_is_terminal = rustix::termios::isatty(rustix::stdio::stdin());
    let _raw = (options.terminal && options.input)
        .then(Raw::enter)
        .flatten();
    if options.terminal {
        show_size(&connection, true);
    }
    if options.input {
        let keys = match stdin_is_terminal {
            true => options.keys.clone(),
            // Bytes of a file mean nothing.
            false => DetachKeys::parse("")?,
        };
        type_into(connection.clone(), keys, left.clone())?;
    }
    loop {
        let mut fds = [
            PollFd::new(connection.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            done => done.step("wait for the container")?,
        };
        let (readable, signalled) = (fds[0].any(), fds[1].any());
        if signalled == Some(true) {
            while let Some(signal) = signals.next()? {
                match Signal::try_from(signal) {
                    Ok(Signal::SIGWINCH) if options.terminal => show_size(&connection, false),
                    Ok(Signal::SIGWINCH | Signal::SIGCHLD | Signal::SIGURG | Signal::SIGCONT) => {}
                    _ if options.pass_signals => {
                        if let Some(process) = process {
                            pass_on(signal, process, None);
                        }
                    }
                    _ => return Ok(Attached::Interrupted(signal)),
                }
            }
        }
        if readable != Some(true) {
            continue;
        }
        let frame = Frame::read(&mut &*connection);
        let shown = match frame {
            Ok(Some(Frame::Stdout(bytes))) => write_all(rustix::stdio::stdout(), &bytes),
            Ok(Some(Frame::Stderr(bytes))) => write_all(rustix::stdio::stderr(), &bytes),
            Ok(Some(Frame::End(code))) => return Ok(Attached::Ended(code)),
            _ if left.load(Ordering::Acquire) => return Ok(Attached::Left),
            _ => {
                return Err(Error::Invalid(
                    "the connection to the container was cut off: its monitor was killed, or its output was not taken in time".into(),
                ));
            }
        };
        if !shown {
            // Nobody looks any more.
            return Ok(Attached::Left);
        }
    }
}

/// Copies what is typed until the detach keys.
fn type_into(connection: Arc<UnixStream>, keys: DetachKeys, left: Arc<AtomicBool>) -> Result<()> {
    let mut watcher = Watcher::new(keys);
    let copy = move || {
        copy_input(|typed| {
            let (bytes, leave) = watcher.pass(typed);
            let frame = Frame::Input(bytes).encode();
            let sent = (&*connection).write_all(&frame).is_ok();
            if leave {
                left.store(true, Ordering::Release);
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
            sent && !leave
        });
    };
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(copy)
        .step("start a thread")
        .map(drop)
}

/// Gives the container's terminal the size of the caller's. A program draws its screen again only where that
/// changes, which `again` sees to.
fn show_size(mut connection: &UnixStream, again: bool) {
    let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdin()) else {
        return;
    };
    let (rows, columns) = (size.ws_row, size.ws_col);
    let other = rows.saturating_add(1);
    for rows in [again.then_some(other), Some(rows)].into_iter().flatten() {
        // Where the connection is gone, that is found out by reading.
        let _ = connection.write_all(&Frame::Size { rows, columns }.encode());
    }
}
