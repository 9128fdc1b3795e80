//! Places in the container: where a path leads inside the root, and the making of what is missing there.
//!
//! A path is walked component by component from the root's descriptor. A link is read and walked in the same
//! way, `..` goes back to the directory the walk came from and never above the root, and links of procfs that
//! lead to objects instead of names are refused. Nothing is opened but directories on the way, by O_PATH.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat, readlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result, Step};

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINKS_MAX: usize = 40;
const COMPONENTS_MAX: usize = 1024;

/// A place in the root: names from the root down, none of them a link when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed(Vec<Vec<u8>>);

impl Placed {
    /// A place by names that were looked up.
    pub fn of(names: &[Vec<u8>]) -> Self {
        Self(names.to_vec())
    }

    /// The names, from the root down.
    pub fn components(&self) -> &[Vec<u8>] {
        &self.0
    }
}

/// Where `path` leads now. What is missing at its end is taken as written.
pub fn resolve(root: &OwnedFd, path: &[u8]) -> Result<Placed> {
    Walk::new(root)?.go(path).map(|walk| Placed(walk.names))
}

/// Opens the place, and makes what is missing of it: directories, and a directory or an empty file at its
/// end. Nothing is made in the root file system itself, whose mount points are there beforehand.
pub fn make(root: &OwnedFd, placed: &Placed, is_directory: bool) -> Result<OwnedFd> {
    made(root, placed, is_directory, Some(mount_of(root)?))
}

/// The same for a root that is the container's own: what is missing is made wherever it is.
pub fn make_anywhere(root: &OwnedFd, placed: &Placed, is_directory: bool) -> Result<OwnedFd> {
    made(root, placed, is_directory, None)
}

/// Opens the place; nothing is made in the mount `closed`.
fn made(
    root: &OwnedFd,
    placed: &Placed,
    is_directory: bool,
    closed: Option<u64>,
) -> Result<OwnedFd> {
    let path = placed.0.join(&b'/');
    let mut walk = Walk::new(root)?.go(&path)?;
    let text = || String::from_utf8_lossy(&path).into_owned();
    let missing = std::mem::take(&mut walk.missing);
    let count = missing.len();
    for (i, name) in missing.into_iter().enumerate() {
        let here = walk.here();
        if closed.is_some() && Some(mount_of(here)?) == closed {
            return Err(Error::Invalid(format!(
                "/{} is not in the container",
                text()
            )));
        }
        let name = name.as_slice();
        let last = i + 1 == count;
        if is_directory || !last {
            mkdirat(here, name, Mode::from_raw_mode(0o755))
        } else {
            mknodat(
                here,
                name,
                FileType::RegularFile,
                Mode::from_raw_mode(0o644),
                0,
            )
        }
        .step(format!("make /{}", text()))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(here, name, flags, Mode::empty()).step(format!("open /{}", text()))?;
        walk.stack.push(made);
    }
    let found = walk.last()?;
    let mode = fstat(&found).step(format!("read /{}", text()))?.st_mode;
    if FileType::from_raw_mode(mode).is_dir() != is_directory {
        let (is, wants) = if is_directory {
            ("a file", "a directory")
        } else {
            ("a directory", "a file")
        };
        return Err(Error::Invalid(format!(
            "/{} is {is} in the container; {wants} cannot be mounted on it",
            text()
        )));
    }
    Ok(found)
}

/// Opens the place; `None` where it is not there.
pub fn open(root: &OwnedFd, placed: &Placed) -> Result<Option<OwnedFd>> {
    let walk = Walk::new(root)?.go(&placed.0.join(&b'/'))?;
    match walk.missing.is_empty() {
        true => walk.last().map(Some),
        false => Ok(None),
    }
}

/// The number of the mount that an open file or directory is on (statx(2)): two mounts of one file system are
/// not the same place.
fn mount_of(fd: &OwnedFd) -> Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).step("read a mount")?;
    Ok(stat.stx_mnt_id)
}

struct Walk {
    /// Directories from the root down.
    stack: Vec<OwnedFd>,
    names: Vec<Vec<u8>>,
    /// What the last directory does not have, as far as the path goes on.
    missing: Vec<Vec<u8>>,
    /// The end of the path, where it is not a directory.
    file: Option<OwnedFd>,
}

impl Walk {
    fn new(root: &OwnedFd) -> Result<Self> {
        Ok(Self {
            stack: vec![root.try_clone().step("walk the root")?],
            names: Vec::new(),
            missing: Vec::new(),
            file: None,
        })
    }

    fn here(&self) -> &OwnedFd {
        self.stack
            .last()
            .unwrap_or_else(|| unreachable!("BUG: a walk without its root"))
    }

    fn last(self) -> Result<OwnedFd> {
        match self.file {
            Some(file) => Ok(file),
            None => self.here().try_clone().step("open a place"),
        }
    }

    fn go(mut self, path: &[u8]) -> Result<Self> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|b| *b == b'/');
            let real = parts.filter(|part| !part.is_empty() && part != b".");
            real.map(<[u8]>::to_vec).rev().collect()
        };
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut ahead = parts(path);
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if ahead.len() + self.names.len() > COMPONENTS_MAX {
                return Err(Error::Invalid(format!("{} is too long", shown())));
            }
            if part == b".." {
                if self.missing.pop().is_none()
                    && self.file.take().is_none()
                    && self.stack.len() > 1
                {
                    self.stack.pop();
                }
                self.names.pop();
                continue;
            }
            if self.file.is_some() {
                return Err(Error::Invalid(format!(
                    "{} leads through a file in the container",
                    shown()
                )));
            }
            if !self.missing.is_empty() {
                self.names.push(part.clone());
                self.missing.push(part);
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match openat(self.here(), part.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    self.names.push(part.clone());
                    self.missing.push(part);
                    continue;
                }
                done => done.step(format!("look up {} in the container", shown()))?,
            };
            let stat = fstat(&fd).step(format!("look up {} in the container", shown()))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX || self.is_procfs()? {
                        return Err(Error::Invalid(format!(
                            "{} leads through too many symbolic links, or a magic link of /proc",
                            shown()
                        )));
                    }
                    let to = readlinkat(&fd, "", Vec::new())
                        .step(format!("look up {} in the container", shown()))?;
                    if to.as_bytes().starts_with(b"/") {
                        self.stack.truncate(1);
                        self.names.clear();
                    }
                    ahead.extend(parts(to.as_bytes()));
                }
                kind => {
                    self.names.push(part);
                    if kind.is_dir() {
                        self.stack.push(fd);
                    } else {
                        self.file = Some(fd);
                    }
                }
            }
        }
        Ok(self)
    }

    fn is_procfs(&self) -> Result<bool> {
        let found = rustix::fs::fstatfs(self.here()).step("look up a path")?;
        Ok(found.f_type == rustix::fs::PROC_SUPER_MAGIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/file"), "").unwrap();
        symlink("/a/b", at("absolute")).unwrap();
        symlink("../../../../../a", at("a/up")).unwrap();
        symlink("missing/deep", at("a/dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink(dir.path(), at("host")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn paths_lead_where_they_would_if_the_root_were_the_root() {
        let (_dir, root) = root();
        let to = |path: &str| {
            resolve(&root, path.as_bytes())
                .ok()
                .map(|placed| String::from_utf8(placed.0.join(&b'/')).unwrap())
        };
        for (path, place) in [
            ("/a/b", "a/b"),
            ("/absolute/x", "a/b/x"),
            ("/a/up/file", "a/file"),
            ("/a/dangling/x", "a/missing/deep/x"),
            ("/../../a/./b//", "a/b"),
            ("/a/b/../none/../up/b", "a/b"),
            ("/new/../a", "a"),
        ] {
            assert_eq!(to(path).as_deref(), Some(place), "{path}");
        }
        assert_eq!((to("/loop"), to("/a/file/x")), (None, None));
        assert!(
            to("/host/a").unwrap().contains("tmp"),
            "a host path is looked up inside"
        );
        assert!(to(&"/x".repeat(2000)).is_none());
    }

    #[test]
    fn nothing_is_made_in_the_root_file_system() {
        let (dir, root) = root();
        let placed = resolve(&root, b"/a/new").unwrap();
        assert!(make(&root, &placed, true).is_err() && !dir.path().join("a/new").exists());
        let placed = resolve(&root, b"/a/file").unwrap();
        assert!(make(&root, &placed, false).is_ok() && make(&root, &placed, true).is_err());
    }
}
