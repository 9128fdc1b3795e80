//! What a directory looks like from outside, so that one that did not change need not be read again.
//!
//! As backup programs do, this trusts the kernel to move a file's change time (ctime, which no program
//! can set) with every change of its content or metadata. Two cases where the kernel does not are ruled
//! out: a change within the clock tick of the reading, and a write through a memory map into a page that
//! is dirty already, which keeps the time of the first until the page is written back. So nothing is
//! trusted that changed within [`SETTLED_SECS`] of the reading, twice as long as Linux leaves pages
//! dirty (`vm.dirty_expire_centisecs`), nor any file system that never writes back (tmpfs) or has its
//! clock elsewhere (network).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, fstatfs, openat};
use rustix::io::Errno;

use super::inode;
use cairn_model::clock;

use crate::error::{Error, Result};
use crate::path::join;

/// Seconds without a change after which a file is taken to be at rest.
const SETTLED_SECS: i64 = 60;
/// `f_type` of ext2/3/4, XFS, btrfs and F2FS (statfs(2)).
const TRUSTED: [i64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

/// State of a directory tree at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Which directory: device and inode of its root.
    pub root: (u64, u64),
    /// BLAKE3 over names, inodes, sizes, modes, owners and times of all that is in it.
    pub state: [u8; 32],
}

/// What a walk over the metadata of a directory says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Bytes of its files.
    pub bytes: u64,
    /// Its state; `None` where it cannot be trusted to change with the content.
    pub fingerprint: Option<Fingerprint>,
}

/// Walks over the metadata of all that is in `root`.
pub fn survey(root: &Path) -> Result<Survey> {
    let settled = clock::timestamp().secs - SETTLED_SECS;
    survey_before(root, settled, &TRUSTED)
}

/// The device and inode of a directory, by which its [`Fingerprint`] goes.
pub fn root_of(root: &Path) -> Result<(u64, u64)> {
    let stat = rustix::fs::stat(root)
        .map_err(|e| Error::file("stat", root.as_os_str().as_encoded_bytes(), e))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// As [`survey`]; what changed at `settled` or later, in seconds since 1970, is not at rest.
fn survey_before(root: &Path, settled: i64, trusted: &[i64]) -> Result<Survey> {
    let fail = |what, e| Error::file(what, root.as_os_str().as_encoded_bytes(), e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(rustix::fs::CWD, root, flags, Mode::empty()).map_err(|e| fail("open", e))?;
    let stat = fstat(&dir).map_err(|e| fail("stat", e))?;
    let mut walk = Walk {
        look: Look::before(&dir, &stat, settled, trusted).map_err(|e| fail("stat", e))?,
        bytes: 0,
    };
    walk.directory(&dir, b"")?;
    Ok(Survey {
        bytes: walk.bytes,
        fingerprint: walk.look.fingerprint(),
    })
}

struct Walk {
    look: Look,
    bytes: u64,
}

impl Walk {
    fn directory(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<()> {
        for name in inode::names(dir, path)? {
            let path = join(path, &name);
            let stat = inode::stat(dir, &name, &path)?;
            self.look.entry(&name, &stat);
            match inode::file_type(&stat) {
                FileType::Directory if self.look.is_inside(&stat) => {
                    self.directory(&inode::open(dir, &name, &path)?, &path)?;
                    self.look.end();
                }
                FileType::RegularFile => self.bytes += stat.st_size as u64,
                _ => {}
            }
        }
        Ok(())
    }
}

/// A fingerprint in the making, by whoever walks over a directory: names in their order, what is in a directory after it.
pub struct Look {
    root: (u64, u64),
    settled: i64,
    hasher: blake3::Hasher,
    /// Nothing changed lately, and nothing would be left out of a layer.
    at_rest: bool,
}

impl Look {
    /// At this directory, which is open.
    pub fn at(root: &OwnedFd, stat: &Stat) -> Result<Self, Errno> {
        let settled = clock::timestamp().secs - SETTLED_SECS;
        Self::before(root, stat, settled, &TRUSTED)
    }

    fn before(root: &OwnedFd, stat: &Stat, settled: i64, trusted: &[i64]) -> Result<Self, Errno> {
        let kind = fstatfs(root)?.f_type as i64;
        let mut look = Self {
            root: (stat.st_dev, stat.st_ino),
            settled,
            hasher: blake3::Hasher::new(),
            at_rest: trusted.contains(&kind),
        };
        look.entry(b"", stat);
        Ok(look)
    }

    /// True for what is on the file system of the directory.
    pub fn is_inside(&self, stat: &Stat) -> bool {
        stat.st_dev == self.root.0
    }

    /// What is there under a name.
    pub fn entry(&mut self, name: &[u8], stat: &Stat) {
        let words = [
            stat.st_ino,
            u64::from(stat.st_mode),
            u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid),
            stat.st_nlink,
            stat.st_rdev,
            stat.st_size as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            stat.st_ctime as u64,
            stat.st_ctime_nsec,
        ];
        self.hasher.update(&(name.len() as u32 + 1).to_le_bytes());
        self.hasher.update(name);
        self.hasher
            .update(words.map(u64::to_le_bytes).as_flattened());
        self.at_rest &= self.is_inside(stat)
            && stat.st_ctime < self.settled
            && inode::file_type(stat) != FileType::Socket;
    }

    /// The end of a directory, so that no two trees come to the same bytes.
    pub fn end(&mut self) {
        self.hasher.update(&[0; 4]);
    }

    /// Once all was looked at; `None` where it cannot be trusted to change with the content.
    pub fn fingerprint(self) -> Option<Fingerprint> {
        let fingerprint = Fingerprint {
            root: self.root,
            state: *self.hasher.finalize().as_bytes(),
        };
        self.at_rest.then_some(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_change_shows_and_fresh_files_are_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let file = root.join("a/b/file");
        std::fs::write(&file, "one").unwrap();
        let here = rustix::fs::statfs(&root).unwrap().f_type as i64;
        let tomorrow = std::fs::metadata(&file).unwrap().ctime() + 86_400;
        let look = || survey_before(&root, tomorrow, &[here]).unwrap();
        let first = look();
        assert_eq!(first.bytes, 3);
        assert!(first.fingerprint.is_some());
        assert_eq!(look(), first);
        // The same length and the same mtime: the change time still tells.
        let mtime = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&file, "two").unwrap();
        let open = std::fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(mtime).unwrap();
        let second = look();
        assert_ne!(second.fingerprint, first.fingerprint);
        std::fs::rename(root.join("a/b"), root.join("b")).unwrap();
        assert_ne!(look().fingerprint, second.fingerprint);
        // Changed a moment ago, or on a file system that is not known: nothing is remembered.
        assert_eq!(survey(&root).unwrap().fingerprint, None);
        assert_eq!(
            survey_before(&root, tomorrow, &[]).unwrap().fingerprint,
            None
        );
    }
}
