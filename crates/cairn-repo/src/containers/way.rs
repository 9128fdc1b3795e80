//! The part of a tree that some paths lead through, read from a mount of its view: what that costs does not grow with the tree.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cairn_layer::{Met, Tree, split};
use cairn_model::{Kind, Meta};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{At, Result};

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
            cairn_layer::resolve(path, |clean| way.read(clean))?;
        }
        Ok(way.tree)
    }

    /// Reads what has this clean path, whose parents were read, as far as it matters to a path that leads there.
    fn read(&mut self, path: &[u8]) -> Result<Met> {
        let Some((above, name)) = split(path) else {
            return Ok(Met::Way);
        };
        let shown = Path::new(OsStr::from_bytes(path));
        let parent = match self.open(above) {
            Err(Errno::NOENT) => return Ok(Met::Way),
            done => done.at("look at", shown)?,
        };
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Met::Way),
            done => done.at("look at", shown)?,
        };
        let (meta, kind, met) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (self.meta(path)?, Kind::Directory, Met::Way),
            FileType::Symlink => {
                let target = readlinkat(&parent, name, Vec::new()).at("look at", shown)?;
                let target = target.into_bytes();
                let kind = Kind::Symlink(target.clone());
                (Meta::root(0o777), kind, Met::Link(target))
            }
            // Only that it is no directory counts.
            _ => (Meta::root(0), Kind::Fifo, Met::File),
        };
        if self.tree.get(path).is_none() {
            self.tree.insert(path, meta, kind)?;
        }
        Ok(met)
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
