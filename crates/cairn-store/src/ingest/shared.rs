//! What the workers of one ingest share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_model::{BlobId, PackId, Watch, is_full};

use super::in_flight::InFlight;
use super::stats::IngestStats;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::{Index, Segment, merge};
use crate::lease::Lease;
use crate::os::random;
use crate::pack::{PackWriter, Slot};
use crate::room::Room;
use crate::staged::{StagedPack, stage};

/// Own segments are put together when there are this many.
const OWN_SEGMENTS_MAX: usize = 8;
/// What a blob takes in the directory of its pack and in the index, at most.
const LISTED_BYTES: u64 = 100;

/// Shared by the workers and the feeders.
pub struct Shared {
    pub disk: Disk,
    pub watch: Watch,
    /// Blobs become frames with checksums.
    pub framed: bool,
    /// None where nothing is written.
    pub lease: Option<Arc<Lease>>,
    /// Asked before content is written.
    pub room: Option<Arc<dyn Room>>,
    /// What would have been written, where nothing is: bytes as stored.
    pub counted: Mutex<HashMap<BlobId, u32>>,
    pub index: Arc<Index>,
    /// Of the base: what it has is not stored, and no lease can keep it there.
    pub base: Option<Arc<Index>>,
    /// New blobs, and the segments of staged packs.
    pub in_flight: InFlight<BlobId, Arc<Segment>>,
    pub relied_on: Mutex<HashSet<PackId>>,
    pub output: Mutex<Output>,
    pub error: Mutex<Option<Error>>,
    pub pool: Mutex<Vec<Vec<u8>>>,
    pub bytes_in: AtomicU64,
    pub blobs_in: AtomicU64,
    pub bytes_new: AtomicU64,
    pub blobs_new: AtomicU64,
    pub bytes_stored: AtomicU64,
}

/// The packs of one ingest.
#[derive(Default)]
pub struct Output {
    pub pack: Option<PackWriter>,
    pub staged: Vec<StagedPack>,
}

/// Locks; a thread that died in between left nothing half done that matters.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What was done so far.
    pub fn stats(&self) -> IngestStats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        IngestStats {
            bytes_in: get(&self.bytes_in),
            blobs_in: get(&self.blobs_in),
            bytes_new: get(&self.bytes_new),
            blobs_new: get(&self.blobs_new),
            bytes_stored: get(&self.bytes_stored),
        }
    }

    /// True for the first who asks; the others may rely on that one.
    pub fn is_new(&self, id: &BlobId) -> Result<bool> {
        self.in_flight
            .claim(id, |segment| Ok(segment.find(id, &[])?.is_some()))
    }

    pub fn append(&self, slots: &[Slot], records: &[u8]) -> Result<()> {
        let Some(lease) = &self.lease else {
            let counted = slots.iter().map(|slot| (slot.id, slot.stored));
            lock(&self.counted).extend(counted);
            return Ok(());
        };
        self.take_room(slots.len(), records.len())?;
        self.write(lease, slots, records)
            .map_err(|e| self.out_of_room(e))
    }

    fn write(&self, lease: &Lease, slots: &[Slot], records: &[u8]) -> Result<()> {
        let mut output = lock(&self.output);
        let pack = match &mut output.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(
                &self.disk,
                lease.directory(),
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
        full.map_or(Ok(()), |pack| self.stage(pack, lease))
    }

    /// Takes room for records, and for what the directory of the pack and the index have of them.
    fn take_room(&self, blobs: usize, bytes: usize) -> Result<()> {
        let Some(room) = &self.room else {
            return Ok(());
        };
        let taken = room.take(bytes as u64 + blobs as u64 * LISTED_BYTES);
        taken.map_err(|why| Error::NoRoom { why })
    }

    /// A disk that is full although there was room just now, as others write too, is no room.
    pub fn out_of_room(&self, error: Error) -> Error {
        match (&self.room, &error) {
            (Some(room), Error::Io { source, .. }) if is_full(source) => Error::NoRoom {
                why: room.ran_out(),
            },
            _ => error,
        }
    }

    /// True where the base has a blob.
    pub fn is_below(&self, id: &BlobId) -> Result<bool> {
        match &self.base {
            Some(base) => Ok(base.find(id)?.is_some()),
            None => Ok(false),
        }
    }

    fn stage(&self, pack: PackWriter, lease: &Lease) -> Result<()> {
        let pack = pack.finish()?;
        let ids: Vec<BlobId> = pack.slots.iter().map(|slot| slot.id).collect();
        let staged = stage(&self.disk, pack)?;
        self.in_flight.stage::<Error>(&ids, |own| {
            if let Some(new) = &staged.segment {
                own.push(Arc::new(Segment::open(&new.path)?));
            }
            if own.len() >= OWN_SEGMENTS_MAX {
                // For looking up only; each pack is published with the segment that was made for it.
                let merged = merge(&self.disk, lease.directory(), own, &HashSet::new())?;
                own.clear();
                if let Some(merged) = merged {
                    own.push(Arc::new(Segment::open(&merged.path)?));
                }
            }
            Ok(())
        })?;
        lock(&self.output).staged.push(staged);
        Ok(())
    }
}
