//! A directory as one layer.

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::{Kind, Meta, path_display};
use cairn_store::{Feeder, Store};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat};

use super::emit::Emitter;
use super::fingerprint::Look;
use super::inode::Regular;
use super::read_ahead::ReadAhead;
use super::{Fingerprint, Scanned, inode};
use crate::error::{Error, Result};
use crate::layer::Limits;
use crate::path::join;

/// Reads everything below `root` on its own file system. What is mounted inside is taken as an empty
/// directory; sockets are left out; both are reported. `progress` is told of bytes read. Of a directory at rest its state
/// is returned, too, each file as it was before it was read.
pub fn scan(
    store: &Store,
    root: &Path,
    feeder: Feeder,
    limits: Limits,
    progress: &dyn Fn(u64),
) -> Result<(Scanned, Option<Fingerprint>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = || root.as_os_str().as_encoded_bytes();
    let dir = openat(rustix::fs::CWD, root, flags, Mode::empty())
        .map_err(|e| Error::file("open", name(), e))?;
    let stat = fstat(&dir).map_err(|e| Error::file("stat", name(), e))?;
    let mut walk = Walk {
        emitter: Emitter::new(store, feeder, limits),
        look: Look::at(&dir, &stat).map_err(|e| Error::file("stat", name(), e))?,
    };
    let ahead = ReadAhead::start(root);
    let read = |bytes| {
        ahead.advance(bytes);
        progress(bytes);
    };
    walk.emitter.progress = &read;
    walk.directory(dir, b"", &stat)?;
    let Walk { emitter, look } = walk;
    Ok((emitter.finish()?, look.fingerprint()))
}

struct Walk<'a> {
    emitter: Emitter<'a>,
    look: Look,
}

impl Walk<'_> {
    fn directory(&mut self, dir: OwnedFd, path: &[u8], stat: &Stat) -> Result<()> {
        let mut meta = inode::meta(stat);
        meta.xattrs = inode::xattrs_of(&dir, path)?;
        self.emitter.known(path, meta, Kind::Directory)?;
        if !self.look.is_inside(stat) {
            self.emitter.report.mounts.push(path.to_vec());
            return Ok(());
        }
        for (name, kind) in inode::typed_names(&dir, path)? {
            self.child(&dir, &name, &join(path, &name), kind)?;
        }
        Ok(())
    }

    fn child(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8], kind: FileType) -> Result<()> {
        refuse_marker(name, path)?;
        // Most are files: one that is open is looked at without finding it once more.
        if kind == FileType::RegularFile
            && let Some(regular) = Regular::open(dir, name, path)?
        {
            self.look.entry(name, &regular.stat);
            return match self.emitter.link_target(&regular.stat, path) {
                Some(target) => {
                    let meta = inode::meta(&regular.stat);
                    self.emitter.known(path, meta, Kind::Hardlink(target))
                }
                None => emit_file(&mut self.emitter, regular, path, Ok),
            };
        }
        let stat = inode::stat(dir, name, path)?;
        self.look.entry(name, &stat);
        match inode::file_type(&stat) {
            FileType::Directory => {
                self.directory(inode::open(dir, name, path)?, path, &stat)?;
                if self.look.is_inside(&stat) {
                    self.look.end();
                }
                return Ok(());
            }
            FileType::Socket => {
                self.emitter.report.dropped.push(path.to_vec());
                return Ok(());
            }
            _ => {}
        }
        if let Some(target) = self.emitter.link_target(&stat, path) {
            return self
                .emitter
                .known(path, inode::meta(&stat), Kind::Hardlink(target));
        }
        emit_leaf(&mut self.emitter, dir, name, path, &stat, Ok)
    }
}

/// Refuses a name that would be a deletion in the layer's tar.
pub fn refuse_marker(name: &[u8], path: &[u8]) -> Result<()> {
    if name.starts_with(b".wh.") {
        return Err(Error::entry(
            path,
            "a name that starts with .wh. means a deletion inside a layer; rename it first",
        ));
    }
    Ok(())
}

/// Emits a file; `finish` may change or refuse its metadata.
fn emit_file(
    emitter: &mut Emitter<'_>,
    regular: Regular,
    path: &[u8],
    finish: impl FnOnce(Meta) -> Result<Meta>,
) -> Result<()> {
    let Regular { file, stat } = regular;
    let mut meta = inode::meta(&stat);
    meta.xattrs = inode::xattrs_of(&file, path)?;
    emitter.file(path, finish(meta)?, file, &stat)
}

/// Emits anything but a directory; `finish` may change or refuse its metadata.
pub fn emit_leaf(
    emitter: &mut Emitter<'_>,
    dir: &OwnedFd,
    name: &[u8],
    path: &[u8],
    stat: &Stat,
    finish: impl FnOnce(Meta) -> Result<Meta>,
) -> Result<()> {
    let mut meta = inode::meta(stat);
    let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
    let kind = match inode::file_type(stat) {
        FileType::RegularFile => {
            let changed = || Error::entry(path, "it was replaced while it was read; try again");
            let regular = Regular::open(dir, name, path)?.ok_or_else(changed)?;
            return emit_file(emitter, regular, path, finish);
        }
        FileType::Symlink => {
            let target =
                readlinkat(dir, name, Vec::new()).map_err(|e| Error::file("read link", path, e))?;
            Kind::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        other => {
            return Err(Error::entry(
                path,
                format!("{} has the unknown type {other:?}", path_display(path)),
            ));
        }
    };
    meta.xattrs = inode::xattrs_at(dir, name, path)?;
    emitter.known(path, finish(meta)?, kind)
}
