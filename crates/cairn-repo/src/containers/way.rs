//! The part of a tree that some paths lead through, read from a mount of its view: what that costs does not grow with the tree.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cairn_layer::{Tree, split};
use cairn_model::{Kind, Meta};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{At, Result};

/// Symbolic links on the way of one path.
const SYMLINKS_MAX: usize = 40;

/// What was read so far of the view that is mounted at `root`.
pub(super) struct Way {
    root: OwnedFd,
    tree: Tree,
}

impl Way {
    /// The part of the tree of the view that is mounted at `root` which these paths lead through. A path that leads
    /// nowhere is there as far as it leads.
    pub fn along<'p>(root: OwnedFd, paths: impl Iterator<Item = &'p Vec<u8>>) -> Result<Tree> {
        let mut way = Self {
            root,
            tree: Tree::new(),
        };
        let top = way.tree.root();
        *way.tree.meta_mut(top) = way.meta(b"")?;
        for path in paths {
            way.read(path)?;
        }
        Ok(way.tree)
    }

    /// Reads what is on the way to `path`, and what is there.
    fn read(&mut self, path: &[u8]) -> Result<()> {
        let mut todo: Vec<Vec<u8>> = parts(path);
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            let Some(target) = self.read_one(&done.join(&b'/'))? else {
                continue;
            };
            links += 1;
            if links > SYMLINKS_MAX {
                break;
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            todo.extend(parts(&target));
        }
        Ok(())
    }

    /// Reads what has this clean path, whose parents were read. Returns where it leads, if it is a symbolic link.
    fn read_one(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some((above, name)) = split(path) else {
            return Ok(None);
        };
        let shown = Path::new(OsStr::from_bytes(path));
        let parent = match self.open(above) {
            // It is not there, or not a directory.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            done => done.at("look at", shown)?,
        };
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            done => done.at("look at", shown)?,
        };
        let (meta, kind, target) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (self.meta(path)?, Kind::Directory, None),
            FileType::Symlink => {
                let target = readlinkat(&parent, name, Vec::new()).at("look at", shown)?;
                let target = target.into_bytes();
                (
                    Meta::root(0o777),
                    Kind::Symlink(target.clone()),
                    Some(target),
                )
            }
            // Only that it is no directory counts.
            _ => (Meta::root(0), Kind::Fifo, None),
        };
        if self.tree.get(path).is_none() {
            self.tree.insert(path, meta, kind)?;
        }
        Ok(target)
    }

    fn open(&self, directory: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = if directory.is_empty() {
            b"."
        } else {
            directory
        };
        openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Attributes of a directory.
    fn meta(&self, directory: &[u8]) -> Result<Meta> {
        let shown = Path::new(OsStr::from_bytes(directory));
        let opened = self.open(directory).at("look at", shown)?;
        Ok(cairn_layer::directory_meta(&opened, directory)?)
    }
}

/// The parts of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').rev();
    let counts = |part: &&[u8]| !part.is_empty() && *part != b".";
    parts.filter(counts).map(<[u8]>::to_vec).collect()
}
