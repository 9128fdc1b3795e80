//! Holding volumes, so that none is removed between being chosen and being written down as used.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{NewVolume, Volumes};
use crate::error::{At, Error, Result};

/// How often a volume is made again that goes under the hands of who wants it.
const ATTEMPTS_MAX: usize = 100;

/// A volume that is not removed while this is held.
#[derive(Debug)]
#[must_use = "the volume can be removed as soon as this is dropped"]
pub struct VolumeLock {
    pub(super) name: String,
    pub(super) directory: File,
}

impl VolumeLock {
    /// Name of the volume.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A lock on a directory that nobody else knows yet.
pub(super) fn of_directory(path: &Path) -> Result<File> {
    let file = File::open(path).at("open", path)?;
    file.lock().at("lock", path)?;
    Ok(file)
}

/// A lock on a directory, if nobody has one.
pub(super) fn try_exclusive(path: &Path) -> Result<Option<File>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        done => done.at("open", path)?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e).at("lock", path),
    }
}

/// True where the open directory still has this name.
pub(super) fn is_still(file: &File, path: &Path) -> bool {
    let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
    let (of_file, of_path) = (file.metadata().map(inode), path.metadata().map(inode));
    matches!((of_file, of_path), (Ok(a), Ok(b)) if a == b)
}

impl Volumes<'_> {
    /// Takes hold of a volume, which is made if it is not there. One that is empty is held alone, so that only
    /// one container fills it.
    ///
    /// Those who want several take them in the order of their names.
    pub fn hold(&self, new: &NewVolume) -> Result<VolumeLock> {
        for _ in 0..ATTEMPTS_MAX {
            let (volume, _) = self.create(new)?;
            let path = self.dir(&volume.name);
            let Ok(directory) = File::open(&path) else {
                continue;
            };
            self.lock(&directory, &path, self.is_empty(&volume.name))?;
            if is_still(&directory, &path) {
                return Ok(VolumeLock {
                    name: volume.name,
                    directory,
                });
            }
        }
        let what = new.name.clone().unwrap_or_default();
        Err(Error::Invalid(format!(
            "volume {what} is removed again and again; try again"
        )))
    }

    /// Nobody waits while holding the repository: whoever is waited for may need it.
    fn lock(&self, directory: &File, path: &Path, alone: bool) -> Result<()> {
        let tried = match alone {
            true => directory.try_lock(),
            false => directory.try_lock_shared(),
        };
        match tried {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(e).at("lock", path),
            Err(TryLockError::WouldBlock) => {}
        }
        self.repo.store.db().release();
        match alone {
            true => directory.lock(),
            false => directory.lock_shared(),
        }
        .at("lock", path)
    }

    pub(super) fn is_empty(&self, name: &str) -> bool {
        std::fs::read_dir(self.data(name)).is_ok_and(|mut entries| entries.next().is_none())
    }
}
