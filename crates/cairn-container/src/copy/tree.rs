//! Writes entries below a directory, and nowhere else, although somebody may be changing it.
//!
//! Directories on the way are opened by one name each, never through a link. Everything but a directory is made
//! under a name of its own and renamed into place: a file is there whole or not at all, and nothing is ever
//! written through what was there before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use cairn_layer::split;
use cairn_model::{Entry, Kind, Meta, Timestamp, clock};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, openat, renameat, seek, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::walk::{DEPTH_MAX, is_copied};
use crate::error::{Error, Result, Step};

const BUFFER: usize = 1 << 17;

/// Content of a file.
pub enum Content<'a> {
    /// No file.
    None,
    /// A file of this machine, which may have holes.
    File(File),
    /// A stream.
    Stream(&'a mut dyn Read),
}

/// Whom files are to belong to, and what of their modes is kept.
#[derive(Debug, Clone, Copy)]
pub struct Owners {
    keep: bool,
    /// Whom else; `None` for whoever makes them.
    other: Option<(u32, u32)>,
    mode: u32,
}

impl Owners {
    /// On the host: the caller, and programs that gain privileges only on request.
    pub fn of_host(keep: bool) -> Self {
        Self {
            keep,
            other: None,
            mode: if keep { 0o7777 } else { 0o1777 },
        }
    }

    /// In a container: its root.
    pub fn of_container(keep: bool) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self {
            keep,
            other: is_root.then_some((0, 0)),
            mode: 0o7777,
        }
    }

    fn of(&self, meta: &Meta) -> Option<(u32, u32)> {
        if self.keep {
            Some((meta.uid, meta.gid))
        } else {
            self.other
        }
    }

    /// What gives privileges is for whoever keeps owners, or for a container.
    fn takes(&self, attribute: &[u8]) -> bool {
        is_copied(attribute) && (self.mode == 0o7777 || attribute.starts_with(b"user."))
    }

    /// Owner first: a change of it takes bits of the mode away. The mode before access lists, which it is a part
    /// of. Tells `refused` of attributes that cannot be had here.
    fn apply(
        &self,
        fd: &OwnedFd,
        meta: &Meta,
        refused: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Errno> {
        if let Some((uid, gid)) = self.of(meta) {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        fchmod(fd, Mode::from_raw_mode(meta.mode & self.mode))?;
        for (name, value) in meta.xattrs.iter().filter(|(name, _)| self.takes(name)) {
            match fsetxattr(fd, &name[..], value, XattrFlags::empty()) {
                Err(
                    Errno::NOTSUP
                    | Errno::PERM
                    | Errno::NOSPC
                    | Errno::INVAL
                    | Errno::RANGE
                    | Errno::TOOBIG,
                ) => refused(name),
                done => done?,
            }
        }
        let Timestamp { secs, nanos } = meta.mtime;
        let time = Timespec {
            tv_sec: secs,
            tv_nsec: nanos.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        futimens(fd, &times)
    }
}

struct Level {
    name: Vec<u8>,
    fd: OwnedFd,
    /// What it gets when all below it is done, where it was made here.
    meta: Option<Meta>,
}

/// A directory that entries are written to.
pub struct Tree {
    base: OwnedFd,
    owners: Owners,
    /// Directories that are open, from the base down.
    levels: Vec<Level>,
    /// Extended attributes that were left out, and the first file that had one.
    refused: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn text(path: &[u8]) -> String {
    format!("write {}", String::from_utf8_lossy(path))
}

const BELOW: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Tree {
    /// Writes below `base`.
    pub fn new(base: OwnedFd, owners: Owners) -> Self {
        Self {
            base,
            owners,
            levels: Vec::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Writes one entry, over what is there of its kind.
    pub fn put(&mut self, entry: &Entry, content: Content<'_>) -> Result<()> {
        let Some((directory, name)) = split(&entry.path) else {
            // The base is there already, and stays as it is.
            return Ok(());
        };
        self.enter(directory)?;
        if let Kind::Directory = entry.kind {
            return self.directory(name, &entry.path, Some(&entry.meta));
        }
        let temporary = format!(".cairn-cp.{}", token()?);
        let at = self.here();
        let mut refused = Vec::new();
        let made = self.make(at, &temporary, entry, content, &mut refused);
        let done = made.and_then(|()| {
            let renamed = renameat(at, &temporary[..], at, name);
            renamed.map_err(|e| match e {
                Errno::ISDIR | Errno::NOTEMPTY => Error::Refused(format!(
                    "{} is a directory; a file cannot be copied over it",
                    String::from_utf8_lossy(&entry.path)
                )),
                e => Error::Step {
                    step: text(&entry.path),
                    source: e.into(),
                },
            })
        });
        if done.is_err() || matches!(entry.kind, Kind::Hardlink(_)) {
            // Renaming one name of a file over another of it does nothing.
            let _ = unlinkat(at, &temporary[..], AtFlags::empty());
        }
        for attribute in refused {
            let first = self.refused.entry(attribute);
            first.or_insert_with(|| entry.path.clone());
        }
        done
    }

    /// Ends it: directories get their modes and times. `say` is told of what could not be had.
    pub fn finish(mut self, say: &mut dyn FnMut(&[u8], &str)) -> Result<()> {
        self.leave(0)?;
        for (name, path) in &self.refused {
            let name = String::from_utf8_lossy(name);
            say(
                path,
                &format!("the attribute {name} cannot be set there; it and its like are left out"),
            );
        }
        Ok(())
    }

    fn here(&self) -> &OwnedFd {
        self.levels.last().map_or(&self.base, |level| &level.fd)
    }

    fn leave(&mut self, depth: usize) -> Result<()> {
        while self.levels.len() > depth {
            let Some(Level { name, fd, meta }) = self.levels.pop() else {
                break;
            };
            if let Some(meta) = meta {
                let mut refused = |attribute: &[u8]| {
                    let first = self.refused.entry(attribute.to_vec());
                    first.or_insert_with(|| name.clone());
                };
                let done = self.owners.apply(&fd, &meta, &mut refused);
                done.map_err(io::Error::from).step(text(&name))?;
            }
        }
        Ok(())
    }

    /// Opens the directories of a path, and makes what is missing.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        let parts = || path.split(|b| *b == b'/').filter(|part| !part.is_empty());
        let same = parts().zip(&self.levels);
        let same = same.take_while(|(part, level)| *part == level.name).count();
        self.leave(same)?;
        for part in parts().skip(same) {
            self.directory(part, path, None)?;
        }
        Ok(())
    }

    fn directory(&mut self, name: &[u8], path: &[u8], meta: Option<&Meta>) -> Result<()> {
        if self.levels.len() > DEPTH_MAX {
            return Err(Error::Refused(format!(
                "{} is nested deeper than {DEPTH_MAX} directories",
                String::from_utf8_lossy(&path[..path.len().min(100)])
            )));
        }
        let made = match mkdirat(self.here(), name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(io::Error::from(e)).step(text(path)),
        };
        let fd = match openat(self.here(), name, BELOW, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(Error::Refused(format!(
                    "{} leads through a file or a symbolic link, where a directory is needed",
                    String::from_utf8_lossy(path)
                )));
            }
            done => done.map_err(io::Error::from).step(text(path))?,
        };
        let missing = || Meta {
            mtime: clock::timestamp(),
            ..Meta::root(0o755)
        };
        self.levels.push(Level {
            name: name.to_vec(),
            fd,
            meta: made.then(|| meta.cloned().unwrap_or_else(missing)),
        });
        Ok(())
    }

    fn make(
        &self,
        at: &OwnedFd,
        name: &str,
        entry: &Entry,
        content: Content<'_>,
        refused: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let step = || text(&entry.path);
        let failed = |e: Errno| Error::Step {
            step: step(),
            source: e.into(),
        };
        match &entry.kind {
            Kind::File(pieces) => {
                let flags = OFlags::RDWR
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = openat(at, name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
                let mut file = File::from(fd);
                match content {
                    Content::File(from) => copy_data(&from, &file, pieces.size).step(step())?,
                    Content::Stream(stream) => copy_stream(stream, &mut file).step(step())?,
                    Content::None => {}
                }
                let mut note = |attribute: &[u8]| refused.push(attribute.to_vec());
                self.owners
                    .apply(&file.into(), &entry.meta, &mut note)
                    .map_err(failed)
            }
            Kind::Symlink(target) => {
                symlinkat(&target[..], at, name).map_err(failed)?;
                let Some((uid, gid)) = self.owners.of(&entry.meta) else {
                    return Ok(());
                };
                // The link that was just made, not what somebody may have put there.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let link = openat(at, name, flags, Mode::empty()).map_err(failed)?;
                let stat = fstat(&link).map_err(failed)?;
                if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
                    return Err(failed(Errno::AGAIN));
                }
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(&link, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)
            }
            Kind::Hardlink(target) => {
                let (directory, last) = split(target).ok_or_else(|| failed(Errno::INVAL))?;
                let mut fd = self.base.try_clone().step(step())?;
                for part in directory.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
                    fd = openat(&fd, part, BELOW, Mode::empty()).map_err(failed)?;
                }
                linkat(&fd, last, at, name, AtFlags::empty()).map_err(failed)
            }
            _ => Err(failed(Errno::INVAL)),
        }
    }
}

fn token() -> Result<String> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    let got = rustix::rand::getrandom(&mut bytes, flags).map_err(io::Error::from);
    got.step("make a temporary name")?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Blocks of zeros become holes.
fn copy_stream(from: &mut dyn Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if filled == 0 {
            return to.set_len(size);
        }
        size += filled as u64;
        if buffer[..filled].iter().any(|b| *b != 0) {
            to.write_all(&buffer[..filled])?;
        } else {
            to.seek(io::SeekFrom::Start(size))?;
        }
    }
}

/// The first `size` bytes, without the holes. A file that has become shorter gives what it has.
fn copy_data(from: &File, to: &File, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < size {
        let (mut start, mut end) = (at, size);
        match seek(from, SeekFrom::Data(at)) {
            Ok(data) => {
                start = data;
                end = seek(from, SeekFrom::Hole(data)).unwrap_or(size).min(size);
            }
            // Nothing but a hole up to its end.
            Err(Errno::NXIO) => break,
            // Not every file system knows.
            Err(_) => {}
        }
        while start < end {
            let want = (end - start).min(BUFFER as u64) as usize;
            let read = match from.read_at(&mut buffer[..want], start) {
                Ok(0) => return to.set_len(start),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => done?,
            };
            to.write_all_at(&buffer[..read], start)?;
            start += read as u64;
        }
        at = start.max(end);
    }
    let now = from.metadata()?.len();
    to.set_len(size.min(now))
}
