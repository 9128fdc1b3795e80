//! Contents of files: read and cut on threads of their own, while whoever finds the files goes on to the next ones.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_model::Piece;
use cairn_store::{CHUNK_BYTES_AVG, Cutter, Feeder};
use cairn_sys::threads;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use rustix::fs::{SeekFrom, seek};

use crate::content::from_io;
use crate::error::{Error, Result};
use crate::layer::DraftPiece;
use crate::tar::SparseMap;

/// Files that are handed over at once, and the bytes after which no more are waited for: threads cost more to wake than
/// a small file to read.
const BATCH_FILES: usize = 16;
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that wait. With those that are worked on they bound how many files are open.
const BATCHES_AHEAD: usize = 4;
const READERS_MAX: usize = 4;
/// How often it is told what was read.
const TELL: Duration = Duration::from_millis(100);

/// Bytes that are read at once: they stay in a core's own cache until they are cut.
const READ_BYTES: usize = 128 * 1024;
/// Shorter holes are read as zeros, bytes: they cost less than the lines of a map.
const HOLE_BYTES_MIN: u64 = 64 * 1024;
/// Holes and runs of data that are looked for in one file.
const PARTS_MAX: usize = 200_000;

/// A file whose content is wanted.
pub struct Wanted {
    /// Whose it is, for whoever asks.
    pub entry: usize,
    /// For errors.
    pub path: Vec<u8>,
    pub file: File,
    /// Bytes of it.
    pub size: u64,
    /// There is less of it on the disk than that.
    pub may_have_holes: bool,
}

/// Pieces of content, by whose they are.
pub type Found = Vec<(usize, Vec<Piece>)>;

/// The reading of contents.
pub struct Contents {
    feeder: Feeder,
    /// How many files.
    wanted: usize,
    batch: Vec<Wanted>,
    batch_bytes: u64,
    readers: Option<Readers>,
    here: Option<Reader>,
    shared: Arc<Shared>,
    told: u64,
}

#[derive(Default)]
struct Shared {
    /// Bytes.
    read: AtomicU64,
    /// Nobody wants the rest.
    over: AtomicBool,
    /// Why, where one of the readers has given up.
    error: Mutex<Option<Error>>,
}

struct Readers {
    sender: Sender<Vec<Wanted>>,
    threads: Vec<JoinHandle<Found>>,
    /// Ends when all of them have.
    ends: Receiver<()>,
}

impl Contents {
    /// Content goes where that of `feeder` goes.
    pub fn new(feeder: Feeder) -> Self {
        Self {
            feeder,
            wanted: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            readers: None,
            here: None,
            shared: Arc::default(),
            told: 0,
        }
    }

    /// Asks for the content of a file; tells `progress` of bytes that were read meanwhile.
    pub fn want(&mut self, wanted: Wanted, progress: &dyn Fn(u64)) -> Result<()> {
        self.wanted += 1;
        self.batch_bytes += wanted.size;
        self.batch.push(wanted);
        if self.batch.len() < BATCH_FILES && self.batch_bytes < BATCH_BYTES {
            return Ok(());
        }
        if self.readers.is_none() {
            self.readers = Readers::start(&self.feeder, &self.shared);
        }
        if self.readers.is_none() {
            return self.read_here(progress);
        }
        match self.send(progress) {
            true => Ok(()),
            false => self
                .finish(progress)
                .and(Err(cairn_store::Error::Worker.into())),
        }
    }

    /// Reads the batch without any thread: few files need none, and the system may give none.
    fn read_here(&mut self, progress: &dyn Fn(u64)) -> Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let here = || Reader::new(&self.feeder, &self.shared);
        self.here.get_or_insert_with(here).files(batch)?;
        self.tell(progress);
        Ok(())
    }

    /// Hands the batch to the readers; false where they have given up.
    fn send(&mut self, progress: &dyn Fn(u64)) -> bool {
        self.batch_bytes = 0;
        let mut batch = std::mem::take(&mut self.batch);
        loop {
            self.tell(progress);
            let Some(readers) = self.readers.as_ref().filter(|_| !self.shared.is_over()) else {
                return false;
            };
            match readers.sender.send_timeout(batch, TELL) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(unsent)) => batch = unsent,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
    }

    /// What was found in all the files.
    pub fn finish(&mut self, progress: &dyn Fn(u64)) -> Result<Found> {
        match self.readers {
            None if self.batch.is_empty() => {}
            None => self.read_here(progress)?,
            // Where they have given up, they say why.
            Some(_) => drop(self.send(progress)),
        }
        let mut found = match &mut self.here {
            Some(here) => here.finish()?,
            None => Found::new(),
        };
        if let Some(readers) = self.readers.take() {
            drop(readers.sender);
            while readers.ends.recv_timeout(TELL) == Err(RecvTimeoutError::Timeout) {
                self.tell(progress);
            }
            for thread in readers.threads {
                found.extend(thread.join().map_err(|_| cairn_store::Error::Worker)?);
            }
        }
        self.tell(progress);
        if let Some(why) = self.shared.error().take() {
            return Err(why);
        }
        // No file is without its content, whatever the threads have come to.
        match found.len() == self.wanted {
            true => Ok(found),
            false => Err(cairn_store::Error::Worker.into()),
        }
    }

    fn tell(&mut self, progress: &dyn Fn(u64)) {
        let read = self.shared.read.load(Ordering::Relaxed);
        if read > self.told {
            progress(read - self.told);
            self.told = read;
        }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn error(&self) -> MutexGuard<'_, Option<Error>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first error counts, but for that of one who only knows that another has failed.
    fn give_up(&self, error: Error) {
        let mut first = self.error();
        if matches!(
            &*first,
            None | Some(Error::Store(cairn_store::Error::Worker))
        ) {
            *first = Some(error);
        }
        drop(first);
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    /// As many as the system gives, if any.
    fn start(feeder: &Feeder, shared: &Arc<Shared>) -> Option<Self> {
        let (sender, receiver) = bounded::<Vec<Wanted>>(BATCHES_AHEAD);
        let (end, ends) = bounded(0);
        let mut threads = Vec::new();
        for _ in 0..threads::cores().min(READERS_MAX) {
            let mut reader = Reader::new(feeder, shared);
            let (receiver, end) = (receiver.clone(), end.clone());
            let started = threads::start(move || {
                let read = receiver.iter().try_for_each(|batch| reader.files(batch));
                let found = read.and_then(|()| reader.finish());
                let found = found.unwrap_or_else(|e| {
                    reader.shared.give_up(e);
                    Found::new()
                });
                drop::<Sender<()>>(end);
                found
            });
            match started {
                Ok(started) => threads.push(started),
                Err(_) => break,
            }
        }
        (!threads.is_empty()).then_some(Self {
            sender,
            threads,
            ends,
        })
    }
}

/// Reads one file after the other.
pub struct Reader {
    feeder: Feeder,
    cutter: Cutter,
    block: Vec<u8>,
    shared: Arc<Shared>,
    read: Vec<(usize, Vec<DraftPiece>)>,
}

impl Reader {
    fn new(feeder: &Feeder, shared: &Arc<Shared>) -> Self {
        Self {
            feeder: feeder.beside(),
            cutter: Cutter::default(),
            block: vec![0; READ_BYTES],
            shared: shared.clone(),
            read: Vec::new(),
        }
    }

    /// The pieces of `size` bytes that come from elsewhere.
    pub fn of_stream(
        feeder: &Feeder,
        stream: &mut dyn Read,
        path: &[u8],
        size: u64,
    ) -> Result<Vec<Piece>> {
        let mut reader = Self::new(feeder, &Arc::default());
        let pieces = reader.run(stream, path, size)?;
        reader.read.push((0, pieces));
        let mut found = reader.finish()?;
        Ok(found.pop().map(|(_, pieces)| pieces).unwrap_or_default())
    }

    fn files(&mut self, batch: Vec<Wanted>) -> Result<()> {
        for wanted in batch {
            let pieces = self.file(&wanted)?;
            self.read.push((wanted.entry, pieces));
        }
        Ok(())
    }

    fn file(&mut self, wanted: &Wanted) -> Result<Vec<DraftPiece>> {
        let Wanted {
            path, file, size, ..
        } = wanted;
        let (mut file, size) = (file, *size);
        let parts = if wanted.may_have_holes && size > HOLE_BYTES_MIN {
            parts(file, path, size)?
        } else {
            Vec::new()
        };
        if SparseMap::of(parts.iter().copied()).is_none() {
            return self.run(&mut file, path, size);
        }
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (is_hole, length) in parts {
            if is_hole {
                pieces.push(DraftPiece::Hole(length));
            } else {
                seek(file, SeekFrom::Start(at)).map_err(|e| Error::file("read", path, e))?;
                pieces.extend(self.run(&mut file, path, length)?);
            }
            at += length;
        }
        Ok(pieces)
    }

    /// `length` bytes of data from where the file stands.
    fn run(&mut self, file: &mut dyn Read, path: &[u8], length: u64) -> Result<Vec<DraftPiece>> {
        if length == 0 || self.shared.is_over() {
            return Ok(Vec::new());
        }
        let fail = |e| from_io(e, |e| Error::file("read", path, e));
        let Self {
            feeder,
            cutter,
            block,
            shared,
            ..
        } = self;
        let count = |bytes: usize| shared.read.fetch_add(bytes as u64, Ordering::Relaxed);
        if length <= CHUNK_BYTES_AVG as u64 {
            let ticket = feeder.put_with(|buffer| {
                let start = buffer.len();
                buffer.resize(start + length as usize, 0);
                file.read_exact(&mut buffer[start..]).map_err(fail)
            })?;
            count(length as usize);
            return Ok(vec![DraftPiece::Data(ticket, length as u32)]);
        }
        let (mut parts, mut left) = (Vec::new(), length);
        while left > 0 {
            if shared.is_over() {
                return Err(cairn_store::Error::Worker.into());
            }
            let want = READ_BYTES.min(left as usize);
            let block = &mut block[..want];
            file.read_exact(block).map_err(fail)?;
            cutter.feed(feeder, block, &mut parts)?;
            left -= want as u64;
            count(want);
        }
        cutter.finish(feeder, &mut parts)?;
        let piece = |(ticket, len)| DraftPiece::Data(ticket, len);
        Ok(parts.into_iter().map(piece).collect())
    }

    /// Waits for the ids.
    fn finish(&mut self) -> Result<Found> {
        let ids = self.feeder.ids()?;
        let read = std::mem::take(&mut self.read).into_iter();
        let settle = |(entry, pieces): (usize, Vec<DraftPiece>)| {
            let pieces = pieces.iter().map(|piece| piece.settle(&ids));
            (entry, pieces.collect())
        };
        Ok(read.map(settle).collect())
    }
}

/// Holes and runs of data of a file, in order: whether it is a hole, and its length.
fn parts(file: &File, path: &[u8], size: u64) -> Result<Vec<(bool, u64)>> {
    let fail = |e: rustix::io::Errno| Error::file("read", path, e);
    let (mut out, mut at, mut run) = (Vec::new(), 0, 0);
    while at < size && out.len() < PARTS_MAX {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            Err(e) => return Err(fail(e)),
        };
        if data - at >= HOLE_BYTES_MIN {
            out.extend((run > 0).then_some((false, run)));
            out.push((true, data - at));
            run = 0;
        } else {
            run += data - at;
        }
        if data == size {
            break;
        }
        // Data that is cut off meanwhile is found by the reading.
        let end = seek(file, SeekFrom::Hole(data)).map_err(fail)?.min(size);
        run += end - data;
        at = end;
    }
    if out.len() >= PARTS_MAX {
        // No map takes so many: it is read as a file without holes.
        out.clear();
    }
    out.extend((run > 0).then_some((false, run)));
    seek(file, SeekFrom::Start(0)).map_err(fail)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use cairn_store::{Disk, Store};

    use super::*;

    /// Threads may be refused for one portion and given for the next.
    #[test]
    fn what_was_read_without_threads_is_there_beside_what_they_read() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("store");
        Store::create(&root, Disk::default()).unwrap();
        let store = Store::open(&root, Disk::default(), None).unwrap();
        let ingest = store.ingest().unwrap();
        let mut contents = Contents::new(ingest.feeder());
        let wanted = |entry: usize| {
            let path = place.path().join(entry.to_string());
            std::fs::write(&path, entry.to_string()).unwrap();
            Wanted {
                entry,
                path: entry.to_string().into_bytes(),
                file: File::open(&path).unwrap(),
                size: entry.to_string().len() as u64,
                may_have_holes: false,
            }
        };
        for entry in 0..100 {
            contents.want(wanted(entry), &|_| ()).unwrap();
            if entry == 7 {
                contents.read_here(&|_| ()).unwrap();
            }
        }
        let mut found = contents.finish(&|_| ()).unwrap();
        found.sort_by_key(|(entry, _)| *entry);
        assert_eq!(found.len(), 100);
        for (entry, pieces) in found {
            let id = cairn_model::BlobId::of(entry.to_string().as_bytes());
            let len = entry.to_string().len() as u32;
            assert_eq!(pieces, [Piece::Data { id, len }]);
        }
    }

    #[test]
    fn the_error_that_says_why_is_kept() {
        let shared = Shared::default();
        shared.give_up(cairn_store::Error::Worker.into());
        shared.give_up(Error::file("read", b"a", std::io::ErrorKind::UnexpectedEof));
        shared.give_up(cairn_store::Error::Worker.into());
        let said = shared.error().take().unwrap().to_string();
        assert_eq!((said.as_str(), shared.is_over()), ("cannot read a", true));
    }
}
