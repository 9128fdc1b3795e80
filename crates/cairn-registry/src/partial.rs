//! What was fetched of a blob, kept in a file until the image is published.
//!
//! A file `<hex>` for each blob: its bytes from the start, as far as they came. The file's lock is the blob's
//! owner: whoever holds it fetches the blob, others wait. After a crash the lock is gone and the bytes are there. Up
//! to some megabytes at the end may be wrong after a power cut; the digest tells, and the file is emptied.
//!
//! Files without an owner are removed once they are old ([`sweep`]).

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cairn_model::{Digest, Watch};

/// So many bytes are written before they are made durable.
const SYNC_BYTES: u64 = 16 << 20;
/// Somebody who waits for another one's fetch looks this often.
const STEP: Duration = Duration::from_millis(50);

/// The kept part of a blob, owned by this process.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    /// Bytes that were there when it was opened.
    inherited: AtomicU64,
    /// Bytes that are there.
    len: AtomicU64,
    synced: AtomicU64,
    /// True once a write failed: what follows is not kept.
    full: AtomicBool,
    /// True where the registry stopped giving; what is there is good.
    cut: AtomicBool,
}

impl Partial {
    /// Takes the blob for this process; the second value says whether another one had it meanwhile.
    pub fn own(directory: &Path, digest: &Digest, watch: &Watch) -> io::Result<(Self, bool)> {
        let path = directory.join(digest.hex());
        let mut waited = false;
        loop {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        tracing::info!(%digest, "wait for another pull");
                    }
                    waited = true;
                    watch.check()?;
                    std::thread::sleep(STEP);
                    continue;
                }
                Err(TryLockError::Error(e)) => return Err(e),
            }
            // The one who had it may have removed the file that was opened here.
            let meta = file.metadata()?;
            if meta.nlink() == 0 {
                continue;
            }
            let partial = Self {
                file,
                path,
                inherited: AtomicU64::new(meta.len()),
                len: AtomicU64::new(meta.len()),
                synced: AtomicU64::new(meta.len()),
                full: AtomicBool::new(false),
                cut: AtomicBool::new(false),
            };
            return Ok((partial, waited));
        }
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Reads what is there.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        let have = usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let room = out.len().min(have);
        self.file.read_at(&mut out[..room], at)
    }

    /// Keeps bytes that follow what is there. Where there is no room for them nothing more is kept: they are on
    /// their way anyway.
    pub fn append(&self, bytes: &[u8], at: u64) {
        if self.full.load(Ordering::Relaxed) || at != self.len() {
            return;
        }
        let end = at + bytes.len() as u64;
        let mut done = self.file.write_all_at(bytes, at);
        if done.is_ok() {
            self.len.store(end, Ordering::Release);
            if end - self.synced.load(Ordering::Relaxed) >= SYNC_BYTES {
                done = self.file.sync_data();
                self.synced.store(end, Ordering::Relaxed);
            }
        }
        if let Err(e) = done {
            tracing::warn!(error = %e, "cannot keep what was fetched");
            self.full.store(true, Ordering::Relaxed);
            self.empty();
        }
    }

    /// Forgets all bytes.
    pub fn empty(&self) {
        // Nothing is read of what is left then; a file that cannot be cut is cut by whoever opens it next, or old
        // some day.
        let _ = self.file.set_len(0);
        for number in [&self.len, &self.inherited, &self.synced] {
            number.store(0, Ordering::Release);
        }
    }

    /// The registry stopped giving; what is there is good.
    pub fn was_cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// What was read was wrong. True where another attempt may read something else, because a part of it was
    /// fetched by another process before.
    pub fn spoiled(&self) -> bool {
        if self.cut.swap(false, Ordering::Relaxed) {
            return false;
        }
        let inherited = self.inherited.load(Ordering::Relaxed) > 0;
        self.empty();
        inherited
    }

    /// Nobody needs it any more.
    pub fn remove(self) {
        // Under the lock: whoever opened it meanwhile sees that it is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes kept parts that nobody works on and that were not written to for `age`; returns their bytes.
pub fn sweep(directory: &Path, age: Duration) -> io::Result<u64> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        let meta = file.metadata()?;
        let elapsed = SystemTime::now()
            .duration_since(meta.modified()?)
            .unwrap_or_default();
        if elapsed >= age && file.try_lock().is_ok() && std::fs::remove_file(entry.path()).is_ok() {
            bytes += meta.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_bytes([7; 32])
    }

    fn own(directory: &Path) -> Partial {
        Partial::own(directory, &digest(), &Watch::default())
            .unwrap()
            .0
    }

    #[test]
    fn what_came_is_there_for_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let first = own(directory.path());
        first.append(b"abc", 0);
        first.append(b"lost", 7);
        first.append(b"def", 3);
        assert!(
            !first.spoiled() && first.len() == 0,
            "its own bytes are not given a second chance"
        );
        first.append(b"abcdef", 0);
        drop(first);
        let second = own(directory.path());
        let mut out = [0; 10];
        assert_eq!(second.read_at(&mut out, 2).unwrap(), 4);
        assert_eq!(&out[..4], b"cdef");
        second.was_cut();
        assert!(
            !second.spoiled() && second.len() == 6,
            "a cut says nothing against what came"
        );
        assert!(second.spoiled() && second.len() == 0);
        second.remove();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_has_one_owner_and_who_waited_knows() {
        let directory = tempfile::tempdir().unwrap();
        let first = own(directory.path());
        let path = directory.path().to_owned();
        let waiting =
            std::thread::spawn(move || Partial::own(&path, &digest(), &Watch::default()).unwrap());
        std::thread::sleep(STEP * 2);
        first.append(b"abc", 0);
        first.remove();
        let (second, waited) = waiting.join().unwrap();
        assert!(
            waited && second.len() == 0,
            "the file of the first owner is gone"
        );
        assert!(directory.path().join(digest().hex()).exists());
        // Nobody waits for ever.
        let watch = Watch::default();
        watch.cancel();
        assert!(Partial::own(directory.path(), &digest(), &watch).is_err());
    }

    #[test]
    fn only_old_parts_without_an_owner_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let (hour, none) = (Duration::from_secs(3600), Duration::ZERO);
        assert_eq!(sweep(&directory.path().join("none"), none).unwrap(), 0);
        let owned = own(directory.path());
        owned.append(b"abc", 0);
        assert_eq!(sweep(directory.path(), none).unwrap(), 0);
        drop(owned);
        assert_eq!(sweep(directory.path(), hour).unwrap(), 0);
        assert_eq!(sweep(directory.path(), none).unwrap(), 3);
    }
}
