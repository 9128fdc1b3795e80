//! Files of a head that become objects of the cache: what is committed need not be written a second time.
//!
//! Only for a head that nobody writes to any more: whoever still has a file of it open for writing would write
//! into all views that have the object. What was taken is held against its pieces when it is first used, as
//! every object, and one that is not as it should be is made again from the store.

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::{Content, Entry, Kind};
use rustix::fs::{
    Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, flistxattr, fremovexattr, fstat, openat,
    openat2, renameat,
};
use rustix::io::Errno;

use crate::cache::Views;
use crate::driver::{is_full_copy, upper};
use crate::erofs::INLINE_BYTES_MAX;
use crate::error::{At, Result};
use crate::objects::ObjectCache;

/// Attributes of one file, bytes, that are looked at; one with more is not taken.
const NAMES_BYTES_MAX: usize = 4096;

struct Taker<'a> {
    upper: OwnedFd,
    objects: &'a ObjectCache,
    /// The directory that the last file was in.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Views {
    /// Moves the files of the head directory `head`, which `entries` were read from, into the cache where it
    /// lacks them. Returns how many. The head is of no use afterwards.
    pub fn take_files(&self, head: &Path, entries: &[Entry], wait: &dyn Fn()) -> Result<u64> {
        if is_full_copy(head) {
            return Ok(0);
        }
        let _guard = self.hold_shared(wait)?;
        let directory = upper(head);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(rustix::fs::CWD, &directory, flags, Mode::empty());
        let objects = self.objects();
        let mut taker = Taker {
            upper: opened.at("open", &directory)?,
            objects: &objects,
            last: None,
        };
        let mut count = 0;
        for entry in entries {
            if let Kind::File(content) = &entry.kind
                && content.size > INLINE_BYTES_MAX
            {
                // One that cannot be taken is made from the store when it is needed.
                count += u64::from(taker.take(&entry.path, content).unwrap_or(false));
            }
        }
        Ok(count)
    }
}

impl Taker<'_> {
    fn take(&mut self, path: &[u8], content: &Content) -> Result<bool, Errno> {
        let object = self.objects.path(&content.object());
        if object.symlink_metadata().is_ok() {
            return Ok(false);
        }
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match at {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b"."[..], path),
        };
        let parent = self.parent(above)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if !is_file || stat.st_size as u64 != content.size || !strip(&file)? {
            return Ok(false);
        }
        fchown(&file, Some(Uid::ROOT), Some(Gid::ROOT))?;
        fchmod(&file, Mode::from_raw_mode(0o444))?;
        if let Some(directory) = object.parent() {
            // Where it cannot be made the rename says so.
            let _ = std::fs::create_dir_all(directory);
        }
        renameat(parent, name, rustix::fs::CWD, &object)?;
        Ok(true)
    }

    fn parent(&mut self, path: &[u8]) -> Result<&OwnedFd, Errno> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let opened = openat2(&self.upper, path, flags, Mode::empty(), resolve)?;
            self.last = Some((path.to_vec(), opened));
        }
        let (_, opened) = self.last.as_ref().ok_or(Errno::NOENT)?;
        Ok(opened)
    }
}

/// Takes a file's attributes away; false for one whose data is not its own.
fn strip(file: &OwnedFd) -> Result<bool, Errno> {
    let mut names = [0; NAMES_BYTES_MAX];
    let length = flistxattr(file, &mut names)?;
    let names = names[..length].split(|byte| *byte == 0);
    let names: Vec<&[u8]> = names.filter(|name| !name.is_empty()).collect();
    if names.contains(&&b"trusted.overlay.metacopy"[..]) {
        return Ok(false);
    }
    // What a security module sets for every file stays.
    let mut own = names.iter().filter(|name| **name != b"security.selinux");
    own.try_for_each(|name| fremovexattr(file, *name))?;
    Ok(true)
}
