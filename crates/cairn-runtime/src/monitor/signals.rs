//! Signals to the monitor: passed on to the container, or, before it has begun, the end of its start.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::pid_of;
use crate::error::{Error, Result, Step};
use crate::wire::{self, Message};

/// Signals that keep their effect on the monitor: faults of its own, job control of the caller's shell.
const OWN: [Signal; 11] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
    Signal::SIGABRT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGPIPE,
];
/// Signals that end a start.
const ENDING: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// The number of a signal, by name with or without SIG, or by number: `TERM`, `SIGKILL`, `15`, `RTMIN+3`.
pub fn named(text: &str) -> Option<i32> {
    let (first, last) = cairn_sys::realtime_signals();
    if let Ok(number) = text.parse::<i32>() {
        return (1..=last).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(first),
        (_, Some("")) => Some(last),
        // "+3" and "-3" are numbers.
        (Some(offset), _) if offset.starts_with('+') => {
            offset.parse::<i32>().ok()?.checked_add(first)
        }
        (_, Some(offset)) if offset.starts_with('-') => {
            offset.parse::<i32>().ok()?.checked_add(last)
        }
        _ => None,
    };
    match realtime {
        Some(number) => (first..=last).contains(&number).then_some(number),
        None => format!("SIG{name}")
            .parse::<Signal>()
            .ok()
            .map(|s| s as i32),
    }
}

/// Keeps the signals that end a start from ending this process; the monitor that it becomes finds them.
pub fn block() -> Result<()> {
    ENDING
        .into_iter()
        .collect::<SigSet>()
        .thread_block()
        .step("block signals")
}

/// A blocked signal that has come: its number.
pub fn pending() -> Option<i32> {
    let mut wanted = SigSet::empty();
    ENDING.into_iter().for_each(|signal| wanted.add(signal));
    let fd = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()?;
    fd.read_signal().ok()?.map(|info| info.ssi_signo as i32)
}

/// What a container has become by the time its process begins.
pub struct Started {
    /// Process 1 of the container.
    pub process: OwnedFd,
    /// As the host numbers it.
    pub pid: i32,
    /// The other end of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// All signals that the monitor handles itself.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them, so that they can be read.
    pub fn watch() -> Result<Self> {
        let mut wanted = SigSet::all();
        OWN.into_iter().for_each(|signal| wanted.remove(signal));
        wanted.thread_block().step("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(
            SignalFd::with_flags(&wanted, flags).step("watch signals")?,
        ))
    }

    /// Readable when a signal has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The number of the next signal that has come.
    pub fn next(&self) -> Result<Option<i32>> {
        let info = self.0.read_signal().step("read a signal")?;
        Ok(info.map(|info| info.ssi_signo as i32))
    }

    /// Talks to init until the process has begun. `place` is told its number as soon as it is known, `ready`
    /// is called when its root is built.
    pub fn converse(
        &self,
        socket: &OwnedFd,
        place: impl Fn(i32) -> Result<()>,
        ready: impl Fn() -> Result<()>,
    ) -> Result<Started> {
        let (mut process, mut terminal) = (None, None);
        loop {
            let mut fds = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                done => done.step("wait for init")?,
            };
            // What init says comes first: a signal to a process that has begun is passed on to it.
            let said = fds[0].any() == Some(true);
            if !said && fds[1].any() == Some(true) {
                while let Some(signal) = self.next()? {
                    if ENDING.iter().any(|ending| *ending as i32 == signal) {
                        return Err(Error::Interrupted(signal));
                    }
                }
            }
            if !said {
                continue;
            }
            match wire::receive(socket)? {
                Message::Process(fd) => {
                    // Where it has failed since, it said why; that comes next.
                    if let Ok(pid) = pid_of(&fd) {
                        place(pid)?;
                        process = Some((fd, pid));
                    }
                }
                Message::Terminal(fd) => {
                    super::terminal::copy_size(std::io::stdin(), &fd);
                    terminal = Some(fd);
                }
                Message::Ready => {
                    ready()?;
                    wire::go(socket)?;
                }
                Message::Failed(code, words) => return Err(Error::Init { code, words }),
                Message::Begun => {
                    let (process, pid) = process.ok_or_else(|| {
                        Error::Invalid("the container's process exited before it started".into())
                    })?;
                    return Ok(Started {
                        process,
                        pid,
                        terminal,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn signals_have_names_and_numbers() {
        let (first, last) = cairn_sys::realtime_signals();
        for (text, number) in [
            ("TERM", Some(15)),
            ("sigusr1", Some(10)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(first + 3)),
            ("RTMIN", Some(first)),
            ("rtmax-1", Some(last - 1)),
            ("RTMIN+99", None),
            ("RTMIN-1", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("SIGBOGUS", None),
            ("", None),
        ] {
            assert_eq!(named(text), number, "{text}");
        }
    }
}
