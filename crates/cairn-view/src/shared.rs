//! Images that stay mounted, so that whoever reads a file or lists a directory finds it in the page cache of the others.
//!
//! A mount of the same image makes a superblock of its own, with a page cache of its own. Overlays made over one mount
//! share its superblock, and keep it when the mount goes. So an image is mounted once, in the mount
//! namespace of whoever needs it first, and overlays stand on that. Where it cannot be, or is gone when an overlay is
//! made, the overlay gets a mount of its own: all that is lost is memory.
//!
//! The mounts are not in the repository, where they would be in the way of whoever counts or removes its files, but
//! below one directory for all repositories, each by the device and inode of its own, and in that by the names of the
//! image's file. What a repository that is gone left there goes when another one mounts something.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_model::ViewImage;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, StatxFlags, flock, fstatfs, fstatvfs, statx,
};
use rustix::mount::UnmountFlags;

use crate::cache::{CONTENTS, Views};
use crate::error::{At, Result};
use crate::mount::attach;

/// File that says where the repository of a place is.
const ROOT: &str = "root";
/// `f_type` of statfs(2) for EROFS, from linux/magic.h.
const EROFS: i64 = 0xE0F5_E1E2;
/// Asks statx(2) for the unique id of a mount, from linux/stat.h.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// Mounts of one repository. Every change of a table of mounts costs whoever watches it as much as the table is long.
const MOUNTS_MAX: usize = 128;

/// What statfs(2) tells of a file system with this UUID (`uuid_to_fsid` in the kernel).
fn fsid(uuid: &[u8; 16]) -> u64 {
    let half = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&uuid[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    half(0) ^ half(8)
}

/// The mount that all share, if it is there. It may end before an overlay stands on it.
pub(crate) fn shared(image: &ViewImage) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(image.shared.as_ref()?, flags, Mode::empty()).ok()?;
    is_it(&directory, image).then_some(directory)
}

fn is_it(directory: &OwnedFd, image: &ViewImage) -> bool {
    let is_erofs = fstatfs(directory).is_ok_and(|found| found.f_type == EROFS);
    is_erofs && fstatvfs(directory).is_ok_and(|found| found.f_fsid == fsid(&image.uuid))
}

impl Views {
    /// An image of the cache, and where it is mounted for all, if anything is.
    pub(crate) fn view_image(&self, file: PathBuf, uuid: [u8; 16]) -> ViewImage {
        ViewImage {
            shared: self.shared_place(&file),
            file,
            uuid,
        }
    }

    fn shared_place(&self, file: &Path) -> Option<PathBuf> {
        Some(self.sharing()?.join(file.file_name()?))
    }

    /// Mounts an image, by `mount`, for all who need it, unless it is. It is no reason to fail that this cannot be done.
    pub(crate) fn share(&self, image: &ViewImage, mount: impl FnOnce() -> Result<OwnedFd>) {
        let (Some(place), Some(own)) = (self.sharing(), &image.shared) else {
            return;
        };
        if shared(image).is_some() {
            return;
        }
        if let Err(e) = self.share_now(place, own, image, mount) {
            tracing::debug!(error = %e, image = %image.file.display(), "an image is not shared");
        }
    }

    fn share_now(
        &self,
        place: &Path,
        own: &Path,
        image: &ViewImage,
        mount: impl FnOnce() -> Result<OwnedFd>,
    ) -> Result<()> {
        make_private(place)?;
        let _only = lock(place)?;
        // Another was first.
        if shared(image).is_some() {
            return Ok(());
        }
        let root = self.directory().parent().unwrap_or(self.directory());
        record_root(place, &root.canonicalize().at("find", root)?)?;
        let mounted = mount()?;
        // Where the kernel does not tell, nobody would find it again.
        if !is_it(&mounted, image) {
            return Ok(());
        }
        // Of another image, or of one that was damaged.
        end(own);
        make_private(own)?;
        attach(&mounted, own)?;
        self.drop_unknown(place);
        drop_oldest(place, MOUNTS_MAX);
        drop_left_behind(place);
        Ok(())
    }

    /// Ends mounts of images that are not in the cache: of a repository that was where this one is.
    fn drop_unknown(&self, place: &Path) {
        for point in points(place) {
            let is_known = point.file_name().is_some_and(|name| {
                let has = |directory| self.directory().join(directory).join(name).exists();
                ["views", CONTENTS].into_iter().any(has)
            });
            if !is_known {
                end(&point);
            }
        }
    }

    /// Ends the mount of an image that all share; what is mounted over it stays.
    pub(crate) fn unshare(&self, file: &Path) {
        let Some((place, own)) = self.sharing().zip(self.shared_place(file)) else {
            return;
        };
        if own.exists()
            && let Ok(_only) = lock(place)
        {
            end(&own);
        }
    }
}

/// Makes a directory and those above it for root alone: images have other people's files, and secrets.
fn make_private(directory: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).at("create directory", directory)
}

/// Says where the repository of a place is. Whoever reads it meanwhile finds the one or the other, and never a part.
fn record_root(place: &Path, root: &Path) -> Result<()> {
    let (record, wanted) = (place.join(ROOT), root.as_os_str().as_encoded_bytes());
    if std::fs::read(&record).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let new = record.with_extension("new");
    std::fs::write(&new, wanted).at("write", &new)?;
    std::fs::rename(&new, &record).at("put in place", &record)
}

/// Directories in a place, on which images are mounted.
fn points(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let is_point = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_point).map(|entry| entry.path()).collect()
}

/// Ends the oldest mounts in a place, until so many are left.
fn drop_oldest(place: &Path, left: usize) {
    let age = |point: &PathBuf| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        // Ids of mounts that are never given again (Linux 6.8), in the order in which they were made.
        let mask = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
        statx(rustix::fs::CWD, point, flags, mask).map_or(0, |found| found.stx_mnt_id)
    };
    let mut all = points(place);
    let excess = all.len().saturating_sub(left);
    if excess > 0 {
        all.sort_by_cached_key(age);
        all[..excess].iter().for_each(|point| end(point));
    }
}

/// Only one at a time mounts and ends mounts in a place.
fn lock(place: &Path) -> Result<File> {
    let path = place.join("lock");
    let mut options = File::options();
    options.create(true).write(true).truncate(false).mode(0o600);
    let file = options.open(&path).at("open", &path)?;
    flock(&file, FlockOperation::LockExclusive).at("lock", &path)?;
    Ok(file)
}

/// Ends a mount and removes its directory. Nothing is mounted, or not in this namespace, or there is no directory: then
/// there is no more to be done.
fn end(point: &Path) {
    let _ = rustix::mount::unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    let _ = std::fs::remove_dir(point);
}

/// The name of the place of a repository: its device and inode.
pub fn place_name(root: &Path) -> std::io::Result<String> {
    let meta = root.metadata()?;
    Ok(format!("{:x}-{:x}", meta.dev(), meta.ino()))
}

/// Ends what repositories that are gone left in the places beside `place`.
fn drop_left_behind(place: &Path) {
    let beside = place
        .parent()
        .and_then(|above| std::fs::read_dir(above).ok());
    for entry in beside.into_iter().flatten().flatten() {
        let other = entry.path();
        let Ok(root) = std::fs::read(other.join(ROOT)) else {
            continue;
        };
        let root = PathBuf::from(OsString::from_vec(root));
        let is_there = place_name(&root).is_ok_and(|name| *name == *entry.file_name());
        if is_there || other == place {
            continue;
        }
        points(&other).iter().for_each(|point| end(point));
        // Whatever is left in it, is not ours.
        for name in [ROOT, "lock"] {
            let _ = std::fs::remove_file(other.join(name));
        }
        let _ = std::fs::remove_dir(&other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repositories_left_that_are_gone_goes() {
        let all = tempfile::tempdir().unwrap();
        let here = tempfile::tempdir().unwrap();
        let place = |name: &str, root: &Path| {
            let place = all.path().join(name);
            std::fs::create_dir_all(place.join("mounted")).unwrap();
            std::fs::write(place.join(ROOT), root.as_os_str().as_encoded_bytes()).unwrap();
            place
        };
        let name = place_name(here.path()).unwrap();
        let stays = place(&name, here.path());
        let gone = place("1-2", Path::new("/nonexistent/repository"));
        // Another repository is where that one was.
        let replaced = place("1-3", here.path());
        drop_left_behind(&stays);
        assert!(stays.join("mounted").exists());
        assert!(!gone.exists() && !replaced.exists());
    }

    #[test]
    fn the_number_of_a_file_system_is_that_of_its_uuid() {
        let mut uuid = [0; 16];
        uuid[0] = 1;
        uuid[9] = 2;
        assert_eq!(fsid(&uuid), 0x201);
    }
}
