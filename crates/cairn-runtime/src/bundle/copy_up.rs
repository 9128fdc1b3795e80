//! Fills a new file system in memory with what the root has at its place (the option `tmpcopyup`).

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown, fstat,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};

use crate::error::{Error, Result, Step};

const DEPTH_MAX: usize = 128;
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Copies what the directory `from` holds into the root of `to`; nothing where it is no directory.
pub fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let step = "copy what the root has to a tmpfs";
    let from = openat(from, ".", DIRECTORY, Mode::empty()).step(step)?;
    let to = openat(to, ".", DIRECTORY, Mode::empty()).step(step)?;
    directory(&from, &to, 0)
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::Invalid("directories are nested too deeply".into()));
    }
    let stat = fstat(from).step("read a directory")?;
    for entry in Dir::read_from(from).step("read a directory")? {
        let entry = entry.step("read a directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth).map_err(|e| {
                Error::Invalid(format!(
                    "copy {}: {}",
                    name.to_string_lossy(),
                    cairn_model::one_line(&e)
                ))
            })?;
        }
    }
    fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
    .step("set an owner")?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).step("set a mode")
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, depth: usize) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).step("look at it")?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700)).step("make it")?;
            let from = openat(from, name, DIRECTORY, Mode::empty()).step("open it")?;
            let to = openat(to, name, DIRECTORY, Mode::empty()).step("open it")?;
            return directory(&from, &to, depth + 1);
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty());
            let mut source = std::fs::File::from(source.step("open it")?);
            let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let target = openat(to, name, flags, Mode::from_raw_mode(0o600));
            let mut target = std::fs::File::from(target.step("make it")?);
            std::io::copy(&mut source, &mut target).step("copy it")?;
        }
        FileType::Symlink => {
            let link = readlinkat(from, name, Vec::new()).step("read it")?;
            symlinkat(link, to, name).step("make it")?;
            return own(to, name, &stat);
        }
        kind => mknodat(to, name, kind, mode, stat.st_rdev).step("make it")?,
    }
    // Giving a file away takes its set-user-id bits.
    own(to, name, &stat)?;
    chmodat(to, name, mode, AtFlags::empty()).step("set its mode")
}

fn own(to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).step("set its owner")
}
