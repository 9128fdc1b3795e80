//! What was fetched of a blob, kept in files until the image is published.
//!
//! A file `<hex>` for each blob: its bytes from the start, as far as they came. Of a large blob, whose pieces come at
//! the same time, piece `n` has a file `<hex>.<n>`, which holds the piece from its start. A file has no holes: its length
//! says what came. The lock of `<hex>` is the blob's owner: whoever holds it fetches the blob, others wait. After a crash
//! the lock is gone and the bytes are there. Up to some megabytes at the end of a file may be wrong after a power cut; the
//! digest tells, and the files are emptied.
//!
//! Files without an owner are removed once they are old ([`sweep`]).

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cairn_model::{Digest, Watch};

use crate::pieces::Pieces;

/// So many bytes are written before they are made durable.
const SYNC_BYTES: u64 = 16 << 20;
/// Somebody who waits for another one's fetch looks this often.
const STEP: Duration = Duration::from_millis(50);

/// The kept part of a blob, owned by this process.
#[derive(Debug)]
pub(crate) struct Partial {
    /// The start, and the lock.
    file: File,
    path: PathBuf,
    pieces: Pieces,
    kept: Mutex<Kept>,
    /// True once a write failed: what follows is not kept.
    full: AtomicBool,
    /// True where the registry stopped giving; what is there is good.
    cut: AtomicBool,
    /// Counts how often all was forgotten: who began before adds nothing more.
    generation: AtomicU64,
}

/// What is there.
#[derive(Debug, Default)]
struct Kept {
    /// Bytes from the start of the blob.
    len: u64,
    synced: u64,
    /// Of pieces that have a file: their number and what came of them. The first one is in the blob's own file.
    parts: Vec<(usize, Part)>,
    /// True where a part was there when it was opened.
    inherited: bool,
    /// True once another process may own the blob.
    closed: bool,
}

#[derive(Debug)]
struct Part {
    file: File,
    len: u64,
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

impl Partial {
    /// Takes the blob, of so many bytes, for this process; the second value says whether another one had it meanwhile.
    pub fn own(
        directory: &Path,
        digest: &Digest,
        bytes: u64,
        watch: &Watch,
    ) -> io::Result<(Self, bool)> {
        let path = directory.join(digest.hex());
        let mut waited = false;
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                // The one who had it may have removed the file that was opened here.
                Ok(()) if file.metadata()?.nlink() == 0 => continue,
                Ok(()) => return Ok((Self::new(file, path, bytes)?, waited)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
            if !waited {
                tracing::info!(%digest, "wait for another pull");
            }
            waited = true;
            watch.check()?;
            std::thread::sleep(STEP);
        }
    }

    fn new(file: File, path: PathBuf, bytes: u64) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut kept = Kept {
            len,
            synced: len,
            inherited: len > 0,
            ..Kept::default()
        };
        let pieces = Pieces::of(bytes);
        for piece in 1..pieces.count() {
            let room = pieces.end(piece) - pieces.start(piece);
            let file = match File::options()
                .read(true)
                .write(true)
                .open(part(&path, piece))
            {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let len = file.metadata()?.len();
            kept.inherited |= len > 0;
            if len > room {
                file.set_len(0)?;
            }
            let len = if len > room { 0 } else { len };
            kept.parts.push((piece, Part { file, len }));
        }
        let partial = Self {
            file,
            path,
            pieces,
            kept: Mutex::new(kept),
            full: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        };
        if len > bytes {
            partial.empty();
        }
        Ok(partial)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// Where the bytes that are there from `at` on end; `at` itself where there are none.
    pub fn end_of(&self, at: u64) -> u64 {
        self.end_in(&self.kept(), at)
    }

    fn end_in(&self, kept: &Kept, mut at: u64) -> u64 {
        if at < kept.len {
            at = kept.len;
        }
        loop {
            let piece = self.pieces.with(at);
            let found = kept.parts.iter().find(|(number, _)| *number == piece);
            let end = found.map_or(0, |(_, part)| self.pieces.start(piece) + part.len);
            if end <= at {
                return at;
            }
            at = end;
        }
    }

    /// All bytes that are there.
    pub fn bytes(&self) -> u64 {
        let kept = self.kept();
        let beyond = |(piece, part): &(usize, Part)| {
            let start = self.pieces.start(*piece).max(kept.len);
            (self.pieces.start(*piece) + part.len).saturating_sub(start)
        };
        kept.len + kept.parts.iter().map(beyond).sum::<u64>()
    }

    /// Counts how often all was forgotten.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads what is there; nothing where there is nothing.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        let kept = self.kept();
        let within = |len: u64| usize::try_from(len).unwrap_or(usize::MAX).min(out.len());
        if at < kept.len {
            let room = within(kept.len - at);
            return self.file.read_at(&mut out[..room], at);
        }
        let piece = self.pieces.with(at);
        let Some((_, part)) = kept.parts.iter().find(|(number, _)| *number == piece) else {
            return Ok(0);
        };
        let from = at - self.pieces.start(piece);
        let room = within(part.len.saturating_sub(from));
        part.file.read_at(&mut out[..room], from)
    }

    /// Keeps bytes that follow what is there, for who began in this generation; false where they are not kept. Where
    /// there is no room nothing more is kept.
    pub fn append(&self, bytes: &[u8], at: u64, generation: u64) -> bool {
        if self.full.load(Ordering::Relaxed) {
            return false;
        }
        let mut kept = self.kept();
        if kept.closed || generation != self.generation() {
            return false;
        }
        let done = match at == kept.len {
            true => self.append_to_start(&mut kept, bytes),
            false => self.append_to_piece(&mut kept, bytes, at),
        };
        drop(kept);
        done.unwrap_or_else(|e| {
            tracing::warn!(error = %e, "cannot keep what was fetched");
            self.full.store(true, Ordering::Relaxed);
            self.empty();
            false
        })
    }

    fn append_to_start(&self, kept: &mut Kept, bytes: &[u8]) -> io::Result<bool> {
        self.file.write_all_at(bytes, kept.len)?;
        kept.len += bytes.len() as u64;
        if kept.len - kept.synced >= SYNC_BYTES {
            kept.synced = kept.len;
            self.file.sync_data()?;
        }
        Ok(true)
    }

    fn append_to_piece(&self, kept: &mut Kept, bytes: &[u8], at: u64) -> io::Result<bool> {
        let piece = self.pieces.with(at);
        if piece == 0 {
            return Ok(false);
        }
        let found = kept.parts.iter().position(|(number, _)| *number == piece);
        let index = match found {
            Some(index) => index,
            None => {
                let file = open(&part(&self.path, piece))?;
                kept.parts.push((piece, Part { file, len: 0 }));
                kept.parts.len() - 1
            }
        };
        let part = &mut kept.parts[index].1;
        if at != self.pieces.start(piece) + part.len {
            return Ok(false);
        }
        // What follows belongs to the next piece.
        let room = usize::try_from(self.pieces.end(piece) - at).unwrap_or(usize::MAX);
        let own = &bytes[..bytes.len().min(room)];
        part.file.write_all_at(own, part.len)?;
        part.len += own.len() as u64;
        if own.len() == room {
            part.file.sync_data()?;
        }
        Ok(own.len() == bytes.len())
    }

    /// Forgets all bytes.
    pub fn empty(&self) {
        let mut kept = self.kept();
        self.generation.fetch_add(1, Ordering::AcqRel);
        // Nothing is read of what is left then; a file that cannot be cut is cut by whoever opens it next, or old
        // some day.
        let _ = self.file.set_len(0);
        for (piece, _) in kept.parts.drain(..) {
            let _ = std::fs::remove_file(part(&self.path, piece));
        }
        (kept.len, kept.synced, kept.inherited) = (0, 0, false);
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
        let inherited = self.kept().inherited;
        self.empty();
        inherited
    }

    /// Lets others have the blob, although somebody here may still hold on to it.
    pub fn close(&self) {
        self.kept().closed = true;
        // It is also let go of with the file.
        let _ = self.file.unlock();
    }

    /// Nobody needs it any more.
    pub fn remove(&self) {
        // Under the lock: whoever opened it meanwhile sees that it is gone.
        let mut kept = self.kept();
        kept.closed = true;
        for (piece, _) in kept.parts.drain(..) {
            let _ = std::fs::remove_file(part(&self.path, piece));
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The file of a piece.
fn part(path: &Path, piece: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{piece}"));
    name.into()
}

/// The file whose lock owns this one: its own, or that of the blob that it is a piece of.
fn owner(path: &Path) -> PathBuf {
    path.with_extension("")
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
        if entry.file_type()?.is_file() {
            bytes += sweep_file(&entry.path(), age)?;
        }
    }
    Ok(bytes)
}

fn sweep_file(path: &Path, age: Duration) -> io::Result<u64> {
    let Ok(meta) = path.metadata() else {
        return Ok(0);
    };
    let elapsed = SystemTime::now()
        .duration_since(meta.modified()?)
        .unwrap_or_default();
    // Where there is no such file, nobody owns what is left.
    let owner = File::open(owner(path));
    let free = owner
        .as_ref()
        .map_or(true, |owner| owner.try_lock().is_ok());
    let gone = elapsed >= age && free && std::fs::remove_file(path).is_ok();
    Ok(if gone { meta.len() } else { 0 })
}

#[cfg(test)]
mod tests;
