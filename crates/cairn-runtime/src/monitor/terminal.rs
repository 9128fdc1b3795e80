//! Terminals: the process's own, and the user's in raw mode.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::{Result, Step};

/// Both ends of a new terminal of the devpts instance that is mounted as `pts`.
pub fn open_pair(pts: &OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(pts, "ptmx", flags, Mode::empty()).step("open /dev/pts/ptmx")?;
    unlockpt(&master).step("unlock the terminal")?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .step("open the terminal")?;
    Ok((master, slave))
}

/// Gives a terminal the size of another.
pub fn copy_size(from: impl AsFd, to: impl AsFd) {
    // A user without a terminal has no size to copy.
    if let Ok(size) = tcgetwinsize(from) {
        let _ = tcsetwinsize(to, size);
    }
}

/// The user's terminal in raw mode, as it was when dropped.
pub struct Raw(Termios);

impl Raw {
    /// Makes standard input raw; `None` where it is no terminal.
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If this fails the user runs reset(1); there is nothing better to do here.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
