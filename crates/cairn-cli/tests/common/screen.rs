//! A terminal that a test looks at and types on.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal, and what a program wrote to it.
pub struct Screen {
    master: File,
    seen: Arc<Mutex<String>>,
}

impl Screen {
    /// A terminal of 33 rows and 77 columns, and its other end.
    pub fn open() -> (Self, OwnedFd) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(&*name, flags, Mode::empty()).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 33,
            ws_col: 77,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                to.lock().unwrap().push_str(&text);
            }
        });
        (Self { master, seen }, slave)
    }

    /// True once the words were written.
    pub fn shows(&self, words: &str) -> bool {
        self.seen.lock().unwrap().contains(words)
    }

    /// Types on its keyboard.
    pub fn types(&self, bytes: &[u8]) {
        (&self.master).write_all(bytes).unwrap();
    }

    /// Starts a program on a terminal of its own.
    pub fn with(command: &mut Command) -> (Self, Child) {
        let (screen, slave) = Self::open();
        let streams = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(streams()).stdout(streams()).stderr(streams());
        let child = command.spawn().unwrap();
        (screen, child)
    }
}
