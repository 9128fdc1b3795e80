//! Walks over a tree that may be changing, and may be another's.
//!
//! A directory is read by its descriptor and each name in it is opened once, without following it; what was
//! opened is what is looked at and read. A file is read as far as it went when it was opened.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cairn_layer::join;
use cairn_model::{Content as Pieces, Entry, Kind, Meta, Timestamp};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::tree::Content;
use crate::error::{Error, Result, Step};

/// As long as the kernel has a list of attributes, and a value (xattr(7)), bytes.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Directories in each other: each is held open, on both sides.
pub const DEPTH_MAX: usize = 256;

/// Files with several names that were met, and the name that each was met under first.
type Links = HashMap<(u64, u64), Vec<u8>>;

/// Told of an entry, its content and the bytes of that.
pub type Visit<'a> = dyn FnMut(Entry, Content<'_>, u64) -> Result<()> + 'a;
/// Told of what is left out.
pub type Say<'a> = dyn FnMut(&[u8], &str) + 'a;

/// Tells `visit` of `root`, opened by O_PATH, as `name`, and of all that is below it.
pub fn walk(root: &OwnedFd, name: &[u8], visit: &mut Visit<'_>, say: &mut Say<'_>) -> Result<()> {
    let mut open: Vec<Directory> = Vec::new();
    let mut links = Links::new();
    let top = root.try_clone().step("open the source")?;
    if is_of_the_kernel(&top)? {
        return Err(Error::Refused(
            "files of the kernel are not copied; read them with \"cairn exec CONTAINER cat FILE\""
                .into(),
        ));
    }
    open.extend(one(top, name.to_vec(), None, &mut links, visit, say)?);
    while let Some(Directory {
        dir,
        fd,
        path,
        device,
    }) = open.last_mut()
    {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let Some(next) = dir.read() else {
            open.pop();
            continue;
        };
        let next = next.map_err(std::io::Error::from);
        let next = next.step(format!("read the directory {}", shown()))?;
        let name = next.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = match openat(&*fd, name, flags, Mode::empty()) {
            // It has gone since.
            Err(Errno::NOENT) => continue,
            done => done.map_err(std::io::Error::from),
        };
        let path = join(path, name);
        let child = child.step(format!("open {}", String::from_utf8_lossy(&path)))?;
        if let Some(deeper) = one(child, path, Some(*device), &mut links, visit, say)? {
            if open.len() >= DEPTH_MAX {
                return Err(Error::Refused(format!(
                    "{} is nested deeper than {DEPTH_MAX} directories",
                    String::from_utf8_lossy(&deeper.path[..100])
                )));
            }
            open.push(deeper);
        }
    }
    Ok(())
}

/// A directory that is being read.
struct Directory {
    dir: Dir,
    fd: OwnedFd,
    path: Vec<u8>,
    device: u64,
}

/// True for what the kernel makes up: such files have no size, and some have no end.
fn is_of_the_kernel(fd: &OwnedFd) -> Result<bool> {
    /// `SYSFS_MAGIC` of linux/magic.h.
    const SYSFS: u64 = 0x6265_6572;
    let found = rustix::fs::fstatfs(fd).map_err(std::io::Error::from);
    let kind = found.step("look at a file system")?.f_type as u64;
    Ok(kind == rustix::fs::PROC_SUPER_MAGIC as u64 || kind == SYSFS)
}

/// Tells of one file, found on this device; a directory to go on with.
fn one(
    fd: OwnedFd,
    path: Vec<u8>,
    device: Option<u64>,
    links: &mut Links,
    visit: &mut Visit<'_>,
    say: &mut Say<'_>,
) -> Result<Option<Directory>> {
    let step = || format!("read {}", String::from_utf8_lossy(&path));
    let stat = fstat(&fd).map_err(std::io::Error::from).step(step())?;
    if device.is_some_and(|device| device != stat.st_dev) && is_of_the_kernel(&fd)? {
        say(&path, "files of the kernel are not copied");
        return Ok(None);
    }
    let entry = |kind, xattrs| Entry {
        path: path.clone(),
        meta: Meta {
            xattrs,
            ..meta(&stat)
        },
        kind,
    };
    let left_out = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let list = openat(&fd, ".", flags, Mode::empty()).map_err(std::io::Error::from);
            let list = list.step(step())?;
            let dir = Dir::read_from(&list).map_err(std::io::Error::from);
            let dir = dir.step(step())?;
            visit(entry(Kind::Directory, attributes(&list)), Content::None, 0)?;
            return Ok(Some(Directory {
                dir,
                fd: list,
                path,
                device: stat.st_dev,
            }));
        }
        FileType::RegularFile => {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = links.get(&key) {
                visit(
                    entry(Kind::Hardlink(first.clone()), Vec::new()),
                    Content::None,
                    0,
                )?;
                return Ok(None);
            }
            if stat.st_nlink > 1 {
                links.insert(key, path.clone());
            }
            // The very file that was looked at, whatever has its name now.
            let file = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).step(step())?;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let pieces = Vec::new();
            let kind = Kind::File(Pieces { size, pieces });
            let xattrs = attributes(&file);
            visit(entry(kind, xattrs), Content::File(file), size)?;
            return Ok(None);
        }
        FileType::Symlink => {
            let target = readlinkat(&fd, "", Vec::new()).map_err(std::io::Error::from);
            let target = target.step(step())?.into_bytes();
            visit(entry(Kind::Symlink(target), Vec::new()), Content::None, 0)?;
            return Ok(None);
        }
        FileType::Socket => "sockets are not copied",
        FileType::Fifo => "named pipes are not copied",
        _ => "devices are not copied",
    };
    say(&path, left_out);
    Ok(None)
}

/// True for extended attributes that are copied: those of users, capabilities of programs, access lists. All
/// others belong to the system that the file is on.
pub fn is_copied(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        )
}

/// Extended attributes that are copied; without one that changes while it is read.
fn attributes(file: impl AsFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let length = rustix::fs::flistxattr(&file, &mut names[..]).unwrap_or(0);
    let mut value = vec![0; if length > 0 { ATTRIBUTE_BYTES_MAX } else { 0 }];
    let mut all = Vec::new();
    for name in names[..length]
        .split(|b| *b == 0)
        .filter(|name| is_copied(name))
    {
        if let Ok(length) = rustix::fs::fgetxattr(&file, name, &mut value[..]) {
            all.push((name.to_vec(), value[..length].to_vec()));
        }
    }
    all.sort_unstable();
    all
}

fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp {
            secs: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: Vec::new(),
    }
}
