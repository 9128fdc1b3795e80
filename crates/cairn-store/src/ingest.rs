//! The way in: pieces of content become blobs in packs, on all cores, in bounded memory.
//!
//! A [`Feeder`] (one for each layer being read) collects pieces into batches; workers hash them, look
//! them up, compress what is new and append it to the pack. Nothing here takes the repository lock.
//! [`Ingest::finish`] makes the packs and their index segments durable; they become part of the
//! repository only when [`crate::Store::publish`] says so, and vanish with the lease otherwise.
//!
//! What was stored by this ingest is remembered in `seen` until its pack is full, and found through the
//! pack's own segment afterwards: memory does not grow with the number of new blobs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use cairn_model::{BlobId, PackId};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::{Index, Segment, merge};
use crate::lease::Lease;
use crate::pack::{BLOB_BYTES_MAX, Codec, PackWriter, Slot, frame};
use crate::random;
use crate::sealed::{SealedPack, seal};

const BATCH_BYTES: usize = 256 * 1024;
const QUEUE_BATCHES: usize = 16;
const ZSTD_LEVEL: i32 = 3;
/// Own segments are put together when there are this many.
const OWN_SEGMENTS_MAX: usize = 8;

/// What an ingest did, bytes and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestStats {
    /// Content handed in.
    pub bytes_in: u64,
    /// Blobs handed in.
    pub blobs_in: u64,
    /// Content that was not there before.
    pub bytes_new: u64,
    /// Blobs that were not there before.
    pub blobs_new: u64,
    /// New content as stored.
    pub bytes_stored: u64,
}

impl IngestStats {
    /// What was done after `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            bytes_in: self.bytes_in - before.bytes_in,
            blobs_in: self.blobs_in - before.blobs_in,
            bytes_new: self.bytes_new - before.bytes_new,
            blobs_new: self.blobs_new - before.blobs_new,
            bytes_stored: self.bytes_stored - before.bytes_stored,
        }
    }
}

struct Batch {
    data: Vec<u8>,
    ends: Vec<usize>,
    first: usize,
    results: Arc<Results>,
}

#[derive(Default)]
struct Results {
    state: Mutex<ResultState>,
    done: Condvar,
}

#[derive(Default)]
struct ResultState {
    ids: Vec<Option<BlobId>>,
    pending: usize,
}

struct Shared {
    disk: Disk,
    lease: Arc<Lease>,
    index: Arc<Index>,
    /// New blobs of packs that are not sealed yet.
    seen: Mutex<HashSet<BlobId>>,
    /// Segments of sealed packs.
    own: RwLock<Vec<Arc<Segment>>>,
    hits: Mutex<HashSet<PackId>>,
    output: Mutex<Output>,
    error: Mutex<Option<Error>>,
    pool: Mutex<Vec<Vec<u8>>>,
    bytes_in: AtomicU64,
    blobs_in: AtomicU64,
    bytes_new: AtomicU64,
    blobs_new: AtomicU64,
    bytes_stored: AtomicU64,
}

#[derive(Default)]
struct Output {
    pack: Option<PackWriter>,
    sealed: Vec<SealedPack>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running import of content.
pub struct Ingest {
    sender: Option<Sender<Batch>>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    lease: Arc<Lease>,
}

/// Content that is durable but belongs to nobody yet. [`crate::Store::publish`] makes it part of the
/// repository; dropped, it is gone.
#[must_use = "packs that are not published are thrown away"]
#[derive(Debug)]
pub struct Prepared {
    pub(crate) packs: Vec<SealedPack>,
    pub(crate) hits: HashSet<PackId>,
    /// The index that was looked into.
    pub(crate) index: Arc<Index>,
    pub(crate) _lease: Arc<Lease>,
    /// What was done.
    pub stats: IngestStats,
}

impl Ingest {
    pub(crate) fn start(disk: Disk, index: Arc<Index>, lease: Lease) -> Self {
        let lease = Arc::new(lease);
        let shared = Arc::new(Shared {
            disk,
            lease: lease.clone(),
            index,
            seen: Mutex::default(),
            own: RwLock::default(),
            hits: Mutex::default(),
            output: Mutex::default(),
            error: Mutex::default(),
            pool: Mutex::default(),
            bytes_in: AtomicU64::default(),
            blobs_in: AtomicU64::default(),
            bytes_new: AtomicU64::default(),
            blobs_new: AtomicU64::default(),
            bytes_stored: AtomicU64::default(),
        });
        let (sender, receiver) = bounded(QUEUE_BATCHES);
        let count = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(16);
        let worker = |_| {
            let (shared, receiver) = (shared.clone(), receiver.clone());
            std::thread::spawn(move || work(&shared, &receiver))
        };
        let workers = (0..count).map(worker).collect();
        Self {
            sender: Some(sender),
            workers,
            shared,
            lease,
        }
    }

    /// A new feeder; several may run on threads of their own.
    pub fn feeder(&self) -> Feeder {
        let sender = self
            .sender
            .clone()
            .unwrap_or_else(|| unreachable!("BUG: the sender goes in finish only"));
        Feeder {
            sender,
            shared: self.shared.clone(),
            results: Arc::default(),
            batch: None,
            count: 0,
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> IngestStats {
        self.shared.stats()
    }

    /// Waits for the workers and makes every new pack durable. All feeders must be gone.
    pub fn finish(mut self) -> Result<Prepared> {
        self.stop();
        if let Some(e) = lock(&self.shared.error).take() {
            return Err(e);
        }
        let mut output = lock(&self.shared.output);
        if let Some(pack) = output.pack.take() {
            output.sealed.push(seal(&self.shared.disk, pack.finish()?)?);
        }
        Ok(Prepared {
            packs: std::mem::take(&mut output.sealed),
            hits: std::mem::take(&mut lock(&self.shared.hits)),
            index: self.shared.index.clone(),
            _lease: self.lease.clone(),
            stats: self.shared.stats(),
        })
    }

    fn stop(&mut self) {
        self.sender = None;
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                lock(&self.shared.error).get_or_insert(Error::Worker);
            }
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn stats(&self) -> IngestStats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        IngestStats {
            bytes_in: get(&self.bytes_in),
            blobs_in: get(&self.blobs_in),
            bytes_new: get(&self.bytes_new),
            blobs_new: get(&self.blobs_new),
            bytes_stored: get(&self.bytes_stored),
        }
    }
}

/// Place of a blob among those of its feeder, in the order of feeding.
pub type Ticket = usize;

/// Hands content to the workers.
pub struct Feeder {
    sender: Sender<Batch>,
    shared: Arc<Shared>,
    results: Arc<Results>,
    batch: Option<Batch>,
    count: usize,
}

impl Feeder {
    /// Hands in one blob.
    pub fn put(&mut self, content: &[u8]) -> Result<Ticket> {
        self.put_with(|buffer| {
            buffer.extend_from_slice(content);
            Ok(())
        })
    }

    /// Hands in one blob that `fill` appends to the buffer it is given; saves a copy where the bytes
    /// come from a file. An error of `fill` leaves nothing of it behind.
    pub fn put_with<E: From<Error>>(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Ticket, E> {
        let batch = self.batch.get_or_insert_with(|| Batch {
            data: lock(&self.shared.pool)
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(2 * BATCH_BYTES)),
            ends: Vec::with_capacity(64),
            first: self.count,
            results: self.results.clone(),
        });
        let start = batch.data.len();
        if let Err(e) = fill(&mut batch.data) {
            batch.data.truncate(start);
            return Err(e);
        }
        let size = batch.data.len() - start;
        if size > BLOB_BYTES_MAX {
            batch.data.truncate(start);
            return Err(Error::TooLarge {
                what: "blob",
                size: size as u64,
                limit: BLOB_BYTES_MAX as u64,
            }
            .into());
        }
        batch.ends.push(batch.data.len());
        self.count += 1;
        if batch.data.len() >= BATCH_BYTES {
            self.send()?;
        }
        Ok(self.count - 1)
    }

    /// Number of blobs handed in so far: the next ticket.
    pub fn count(&self) -> usize {
        self.count
    }

    fn send(&mut self) -> Result<()> {
        let Some(batch) = self.batch.take() else {
            return Ok(());
        };
        let mut state = lock(&self.results.state);
        state.ids.resize(self.count, None);
        state.pending += 1;
        drop(state);
        self.sender
            .send(batch)
            .map_err(|_| lock(&self.shared.error).take().unwrap_or(Error::Worker))
    }

    /// Waits until every blob handed in so far has its id, and returns all of them by ticket.
    pub fn ids(&mut self) -> Result<Vec<BlobId>> {
        self.send()?;
        let mut state = lock(&self.results.state);
        while state.pending > 0 {
            state = self
                .results
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let ids: Option<Vec<BlobId>> = state.ids.iter().copied().collect();
        ids.ok_or_else(|| lock(&self.shared.error).take().unwrap_or(Error::Worker))
    }
}

fn work(shared: &Shared, receiver: &Receiver<Batch>) {
    let mut worker = Worker {
        shared,
        compressor: None,
        packed: Vec::new(),
        records: Vec::new(),
        slots: Vec::new(),
    };
    for batch in receiver {
        let ids = if lock(&shared.error).is_some() {
            Ok(Vec::new())
        } else {
            worker.batch(&batch)
        };
        let Batch {
            mut data,
            first,
            results,
            ..
        } = batch;
        data.clear();
        lock(&shared.pool).push(data);
        let mut state = lock(&results.state);
        match ids {
            Ok(ids) => {
                for (i, id) in ids.into_iter().enumerate() {
                    state.ids[first + i] = Some(id);
                }
            }
            Err(e) => {
                lock(&shared.error).get_or_insert(e);
            }
        }
        state.pending -= 1;
        results.done.notify_all();
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
    records: Vec<u8>,
    slots: Vec<Slot>,
}

impl Worker<'_> {
    fn batch(&mut self, batch: &Batch) -> Result<Vec<BlobId>> {
        self.records.clear();
        self.slots.clear();
        let mut start = 0;
        let mut ids = Vec::with_capacity(batch.ends.len());
        let mut hits = Vec::new();
        let mut bytes_new = 0;
        for end in &batch.ends {
            let content = &batch.data[start..*end];
            start = *end;
            let id = BlobId::of(content);
            ids.push(id);
            if let Some(found) = self.shared.index.find(&id)? {
                if hits.last() != Some(&found.pack) {
                    hits.push(found.pack);
                }
            } else if self.shared.is_new(&id)? {
                bytes_new += content.len() as u64;
                self.store(id, content)?;
            }
        }
        if !hits.is_empty() {
            lock(&self.shared.hits).extend(hits);
        }
        if !self.slots.is_empty() {
            self.shared.append(&self.slots, &self.records)?;
        }
        let add = |n: &AtomicU64, v: u64| n.fetch_add(v, Ordering::Relaxed);
        add(&self.shared.bytes_in, batch.data.len() as u64);
        add(&self.shared.blobs_in, ids.len() as u64);
        add(&self.shared.bytes_new, bytes_new);
        add(&self.shared.blobs_new, self.slots.len() as u64);
        add(
            &self.shared.bytes_stored,
            self.slots.iter().map(|s| u64::from(s.stored)).sum(),
        );
        Ok(ids)
    }

    fn store(&mut self, id: BlobId, content: &[u8]) -> Result<()> {
        let failed = |source| Error::Io {
            action: "compress for",
            path: "pack".into(),
            source,
        };
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?),
        };
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(content.len()));
        compressor
            .compress_to_buffer(content, &mut self.packed)
            .map_err(failed)?;
        let worth = self.packed.len() < content.len();
        let (codec, payload) = if worth {
            (Codec::Zstd, &self.packed[..])
        } else {
            (Codec::Plain, content)
        };
        frame(&mut self.records, &id, codec, content.len() as u32, payload);
        self.slots.push(Slot {
            id,
            offset: 0,
            stored: payload.len() as u32,
            raw: content.len() as u32,
            codec,
        });
        Ok(())
    }
}

impl Shared {
    /// True for the first who asks; the others may rely on that one.
    fn is_new(&self, id: &BlobId) -> Result<bool> {
        if !lock(&self.seen).insert(*id) {
            return Ok(false);
        }
        // Whoever takes ids out of `seen` has put their segment here before.
        for segment in self
            .own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            if segment.find(id, &[])?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn append(&self, slots: &[Slot], records: &[u8]) -> Result<()> {
        let mut output = lock(&self.output);
        let pack = match &mut output.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(
                &self.disk,
                self.lease.directory(),
                PackId::from_bytes(random()?),
            )?),
        };
        pack.append(slots, records)?;
        let full = if pack.is_full() {
            output.pack.take()
        } else {
            None
        };
        drop(output);
        // The others go on with the next pack while this one becomes durable.
        full.map_or(Ok(()), |pack| self.seal(pack))
    }

    fn seal(&self, pack: PackWriter) -> Result<()> {
        let pack = pack.finish()?;
        let ids: Vec<BlobId> = pack.slots.iter().map(|slot| slot.id).collect();
        let sealed = seal(&self.disk, pack)?;
        if let Some(new) = &sealed.segment {
            let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
            own.push(Arc::new(Segment::open(&new.path)?));
            if own.len() >= OWN_SEGMENTS_MAX {
                // For looking up only; each pack is published with the segment that was made for it.
                let merged = merge(&self.disk, self.lease.directory(), &own, &HashSet::new())?;
                own.clear();
                if let Some(merged) = merged {
                    own.push(Arc::new(Segment::open(&merged.path)?));
                }
            }
        }
        let mut seen = lock(&self.seen);
        for id in &ids {
            seen.remove(id);
        }
        drop(seen);
        lock(&self.output).sealed.push(sealed);
        Ok(())
    }
}
