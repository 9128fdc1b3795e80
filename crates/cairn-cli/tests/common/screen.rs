//! A terminal that a test looks at and types on.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

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
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut bytes = Vec::new();
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..length]);
                *to.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        let screen = Self { master, seen };
        screen.resize(33, 77);
        (screen, slave)
    }

    /// Gives it another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// True once the words were written.
    pub fn shows(&self, words: &str) -> bool {
        self.seen.lock().unwrap().contains(words)
    }

    /// Types on its keyboard.
    pub fn types(&self, bytes: &[u8]) {
        (&self.master).write_all(bytes).unwrap();
    }

    /// How the terminal treats what is typed and written.
    pub fn attributes(&self) -> String {
        format!("{:?}", tcgetattr(&self.master).unwrap())
    }

    /// True while a program is on a screen of its own, which goes with it.
    pub fn is_elsewhere(&self) -> bool {
        self.last_of("\x1b[?1049h", "\x1b[?1049l")
    }

    /// True where the cursor can be seen.
    pub fn shows_cursor(&self) -> bool {
        !self.last_of("\x1b[?25l", "\x1b[?25h")
    }

    /// True where the first of two was written later than the second.
    fn last_of(&self, one: &str, other: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.rfind(one) > seen.rfind(other)
    }

    /// What stands on it now, as far as programs that place their text go.
    pub fn text(&self) -> String {
        let size = tcgetwinsize(&self.master).unwrap();
        let (rows, columns) = (usize::from(size.ws_row), usize::from(size.ws_col));
        let mut grid = vec![vec![' '; columns]; rows];
        let (mut row, mut column) = (0, 0);
        let seen = self.seen.lock().unwrap().clone();
        let mut chars = seen.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' if chars.next_if_eq(&'[').is_some() => {
                    let mut numbers = String::new();
                    let end = chars.by_ref().find(|c| {
                        let is_end = ('@'..='~').contains(c);
                        if !is_end {
                            numbers.push(*c);
                        }
                        is_end
                    });
                    let mut numbers = numbers.split(';').map(|n| n.parse().unwrap_or(1_usize));
                    match end {
                        Some('H') => {
                            row = numbers.next().unwrap_or(1) - 1;
                            column = numbers.next().unwrap_or(1) - 1;
                        }
                        Some('J') => grid = vec![vec![' '; columns]; rows],
                        _ => {}
                    }
                }
                '\r' => column = 0,
                '\n' => row += 1,
                c if !c.is_control() => {
                    if let Some(cell) = grid.get_mut(row).and_then(|line| line.get_mut(column)) {
                        *cell = c;
                    }
                    column += 1;
                }
                _ => {}
            }
        }
        let lines = grid.iter().map(|line| line.iter().collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
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
