//! The way in: pieces of content become blobs in packs, on all cores, in bounded memory.
//!
//! A [`Feeder`] (one for each layer being read) collects pieces into batches; workers hash them, look
//! them up, compress what is new and append it to the pack. Nothing here takes the repository lock.
//! [`Ingest::finish`] makes the packs and their index segments durable; they become part of the
//! repository only when [`crate::Store::publish`] says so, and vanish with the lease otherwise.
//!
//! A [`Rehearsal`] does the same but for the writing, and says what would have been written.
//!
//! What was stored by this ingest is remembered in `seen` until its pack is full, and found through the
//! pack's own segment afterwards: memory does not grow with the number of new blobs.

mod feeder;
mod in_flight;
mod rehearsal;
mod shared;
mod stats;
mod worker;

/// What [`in_flight`] locks with.
mod sync {
    pub use std::sync::{Mutex, PoisonError, RwLock};
}

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use cairn_model::{PackId, Watch};
use cairn_sys::threads;
use crossbeam_channel::{Sender, bounded};

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::index::Index;
use crate::lease::Lease;
use crate::room::Room;
use crate::staged::{StagedPack, stage};
use feeder::Batch;
use in_flight::InFlight;
use shared::{Shared, lock};

pub use feeder::{Feeder, Ticket};
pub use rehearsal::{Rehearsal, Rehearsed};
pub use stats::IngestStats;

const QUEUE_BATCHES: usize = 16;

/// A running import of content.
pub struct Ingest {
    sender: Option<Sender<Batch>>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// Content that is durable but belongs to nobody yet. [`crate::Store::publish`] makes it part of the
/// repository; dropped, it is gone.
#[must_use = "packs that are not published are thrown away"]
#[derive(Debug)]
pub struct Prepared {
    pub(crate) packs: Vec<StagedPack>,
    pub(crate) relied_on: HashSet<PackId>,
    /// The index that was looked into.
    pub(crate) index: Arc<Index>,
    pub(crate) _lease: Option<Arc<Lease>>,
    /// What was done.
    pub stats: IngestStats,
}

impl Ingest {
    pub(crate) fn start(
        disk: Disk,
        watch: Watch,
        index: Arc<Index>,
        base: Option<Arc<Index>>,
        lease: Option<Lease>,
        room: Option<Arc<dyn Room>>,
        framed: bool,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            disk,
            watch,
            framed,
            counted: Default::default(),
            lease: lease.map(Arc::new),
            room,
            index,
            base,
            in_flight: InFlight::new(),
            relied_on: Default::default(),
            output: Default::default(),
            error: Default::default(),
            pool: Default::default(),
            bytes_in: Default::default(),
            blobs_in: Default::default(),
            bytes_new: Default::default(),
            blobs_new: Default::default(),
            bytes_stored: Default::default(),
        });
        let (sender, receiver) = bounded(QUEUE_BATCHES);
        let count = threads::cores().min(16);
        let worker = |_| {
            let (shared, receiver) = (shared.clone(), receiver.clone());
            threads::start(move || worker::work(&shared, &receiver))
        };
        let mut workers = Vec::new();
        for i in 0..count {
            match worker(i) {
                Ok(started) => workers.push(started),
                // Those that run do it.
                Err(_) if i > 0 => break,
                Err(e) => return Err(e).at("start a thread for", Path::new("the import")),
            }
        }
        Ok(Self {
            sender: Some(sender),
            workers,
            shared,
        })
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
        self.end()?;
        let stats = self.shared.stats();
        tracing::debug!(
            stats.bytes_in,
            stats.bytes_new,
            stats.bytes_stored,
            "content is stored"
        );
        let mut output = lock(&self.shared.output);
        if let Some(pack) = output.pack.take() {
            let staged = pack
                .finish()
                .and_then(|pack| stage(&self.shared.disk, pack));
            output
                .staged
                .push(staged.map_err(|e| self.shared.out_of_room(e))?);
        }
        Ok(Prepared {
            packs: std::mem::take(&mut output.staged),
            relied_on: std::mem::take(&mut lock(&self.shared.relied_on)),
            index: self.shared.index.clone(),
            _lease: self.shared.lease.clone(),
            stats: self.shared.stats(),
        })
    }

    /// Waits for the workers; fails where one of them did.
    fn end(&mut self) -> Result<()> {
        self.stop();
        lock(&self.shared.error).take().map_or(Ok(()), Err)
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
