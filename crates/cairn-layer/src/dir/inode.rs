//! Reads one file of a directory that is open.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cairn_model::{Meta, Timestamp};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat, fstat, openat, seek, statat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Bytes of a directory that are asked for at once.
const LIST_BYTES: usize = 16 * 1024;

/// Type of a file, as `stat` has it.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Names in a directory, sorted, without `.` and `..`.
pub fn names(dir: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let names = typed_names(dir, path)?.into_iter();
    Ok(names.map(|(name, _)| name).collect())
}

/// The same, with the type that the directory has noted; not every file system does.
pub fn typed_names(dir: &OwnedFd, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>> {
    let fail = |e: Errno| Error::file("list", path, e);
    let mut buffer = [MaybeUninit::uninit(); LIST_BYTES];
    let mut names = Vec::new();
    seek(dir, SeekFrom::Start(0)).map_err(fail)?;
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(names)
}

/// `stat` of a name, following nothing.
pub fn stat(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Stat> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::file("stat", path, e))
}

/// A regular file that is open, and its `stat`.
pub struct Regular {
    pub file: OwnedFd,
    pub stat: Stat,
}

impl Regular {
    /// What is under a name now, if it still is a regular file.
    pub fn open(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Self>> {
        let file = match try_open(dir, name) {
            // A symbolic link or a socket has taken its place.
            Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
            file => file.map_err(|e| Error::file("open", path, e))?,
        };
        let stat = fstat(&file).map_err(|e| Error::file("stat", path, e))?;
        Ok((file_type(&stat) == FileType::RegularFile).then_some(Self { file, stat }))
    }
}

/// Opens a file or directory to read it, never through a symbolic link and never blocking on a pipe.
pub fn open(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    try_open(dir, name).map_err(|e| Error::file("open", path, e))
}

fn try_open(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // O_NOATIME is only for the owner; reading a tree should not dirty it where that can be had.
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        done => done,
    }
}

/// Mode, owner and time of a `stat`, without xattrs.
pub fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        },
        xattrs: Vec::new(),
    }
}

/// Extended attributes of an open file.
pub fn xattrs_of(file: &OwnedFd, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read_xattrs(
        path,
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// All that a file system keeps of an open directory: mode, owner, time and extended attributes.
pub fn directory_meta(directory: &OwnedFd, path: &[u8]) -> Result<Meta> {
    let stat = rustix::fs::fstat(directory).map_err(|e| Error::file("stat", path, e))?;
    Ok(Meta {
        xattrs: xattrs_of(directory, path)?,
        ..meta(&stat)
    })
}

/// Extended attributes of a name, which may be a symbolic link or a device.
pub fn xattrs_at(dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let place = proc_path(dir, name);
    read_xattrs(
        path,
        |buffer| rustix::fs::llistxattr(&place[..], buffer),
        |name, buffer| rustix::fs::lgetxattr(&place[..], name, buffer),
    )
}

/// A path by which the kernel finds `name` in an open directory, whatever the directory's own path.
pub fn proc_path(dir: &OwnedFd, name: &[u8]) -> Vec<u8> {
    [
        format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).as_bytes(),
        name,
    ]
    .concat()
}

fn read_xattrs(
    path: &[u8],
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let fail = |e| Error::file("read extended attributes of", path, e);
    let mut buffer = [0; 1024];
    let names = match list(&mut buffer) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => buffer[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut long = vec![0; 65536];
            let length = list(&mut long).map_err(fail)?;
            long.truncate(length);
            long
        }
        Err(e) => return Err(fail(e)),
    };
    let mut out = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        match get(name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                out.push((name.to_vec(), value));
            }
            // Gone between the two calls, or not for us to read (security.* of another namespace).
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
            Err(e) => return Err(fail(e)),
        }
    }
    out.sort_unstable();
    Ok(out)
}
