//! Where a path leads: in a container inside its root only, on the host as everywhere.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result, Step};
use crate::mounts::normal;

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// The kernel gives up a resolution when something is renamed meanwhile; a container can do that all the time.
const TRIES_MAX: usize = 1000;

/// A root directory that paths are resolved in.
pub struct Root {
    fd: OwnedFd,
    resolve: ResolveFlags,
    /// Of a container, with the colon.
    before: String,
}

/// What is at the end of a path.
pub struct Spot {
    /// The directory it is in, where the path has a last name.
    pub parent: Option<OwnedFd>,
    /// Its name there, where all links have been followed.
    pub last: Vec<u8>,
    /// Its name as the path has it.
    pub name: Vec<u8>,
    /// The thing itself, opened by O_PATH.
    pub fd: Option<OwnedFd>,
    /// The path ends in a slash.
    pub must_be_directory: bool,
    /// The path ends in `/.`, or is the root: not the directory, but what is in it.
    pub content_only: bool,
}

/// True for a directory.
pub fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = fstat(fd)
        .map_err(std::io::Error::from)
        .step("read a file")?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

impl Root {
    /// That of a container.
    pub fn of_container(fd: OwnedFd, name: &str) -> Self {
        Self {
            fd,
            resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            before: format!("{name}:"),
        }
    }

    /// The host's own.
    pub fn host() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, "/", flags, Mode::empty()).map_err(std::io::Error::from);
        Ok(Self {
            fd: fd.step("open /")?,
            resolve: ResolveFlags::empty(),
            before: String::new(),
        })
    }

    /// The path as the user knows it.
    pub fn shown(&self, path: &[u8]) -> String {
        format!("{}{}", self.before, String::from_utf8_lossy(path))
    }

    /// The error for a path that leads nowhere.
    pub fn missing(&self, path: &[u8]) -> Error {
        Error::Refused(format!("{}: no such file or directory", self.shown(path)))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            match openat2(&self.fd, path, flags, Mode::empty(), self.resolve) {
                Err(Errno::AGAIN) if tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    /// Where `path` leads. With `follow` a link at its end is followed; a trailing slash follows one, too.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Spot> {
        let failed = |e: Errno| Error::Step {
            step: format!("open {}", self.shown(path)),
            source: e.into(),
        };
        let mut at = [b"/", path].concat();
        let name = normal(&at).last().map_or(Vec::new(), |name| name.to_vec());
        let content_only = at.ends_with(b"/.") || name.is_empty();
        let must_be_directory = at.ends_with(b"/");
        if content_only || at.ends_with(b"/") || at.ends_with(b"/..") {
            match self.open(&at, OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    while at.ends_with(b"/") || at.ends_with(b"/.") {
                        at.pop();
                    }
                }
                done => {
                    return Ok(Spot {
                        parent: None,
                        last: Vec::new(),
                        name,
                        fd: Some(done.map_err(failed)?),
                        must_be_directory,
                        content_only,
                    });
                }
            }
        }
        for _ in 0..=LINKS_MAX {
            while at.len() > 1 && at.ends_with(b"/") {
                at.pop();
            }
            let slash = at.iter().rposition(|b| *b == b'/').unwrap_or(0);
            let (directory, last) = (at[..=slash].to_vec(), at[slash + 1..].to_vec());
            let parent = match self.open(&directory, OFlags::DIRECTORY) {
                Err(Errno::NOENT) => return Err(self.missing(path)),
                done => done.map_err(failed)?,
            };
            if matches!(&last[..], b"" | b"." | b"..") {
                let fd = self.open(&at, OFlags::DIRECTORY).map_err(failed)?;
                return Ok(Spot {
                    parent: None,
                    last: Vec::new(),
                    name,
                    fd: Some(fd),
                    must_be_directory,
                    content_only,
                });
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match openat(&parent, &last[..], flags, Mode::empty()) {
                Err(Errno::NOENT) => None,
                done => Some(done.map_err(failed)?),
            };
            if let (Some(fd), true) = (&fd, follow || must_be_directory) {
                let stat = fstat(fd).map_err(failed)?;
                if FileType::from_raw_mode(stat.st_mode).is_symlink() {
                    let to = readlinkat(fd, "", Vec::new()).map_err(failed)?.into_bytes();
                    at = if to.starts_with(b"/") {
                        to
                    } else {
                        [&directory[..], &to].concat()
                    };
                    continue;
                }
            }
            return Ok(Spot {
                parent: Some(parent),
                last,
                name,
                fd,
                must_be_directory,
                content_only,
            });
        }
        Err(failed(Errno::LOOP))
    }
}
