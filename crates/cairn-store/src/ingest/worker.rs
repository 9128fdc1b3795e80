//! Hashes, looks up, compresses.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_model::BlobId;
use crossbeam_channel::Receiver;

use super::feeder::Batch;
use super::shared::{Shared, lock};
use crate::compress::Compressor;
use crate::error::Result;
use crate::pack::{Effort, Slot, frame};

/// Works through batches until there are no more senders.
pub fn work(shared: &Shared, receiver: &Receiver<Batch>) {
    let mut worker = Worker {
        shared,
        compressor: Compressor::new(shared.framed),
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
    compressor: Compressor,
    records: Vec<u8>,
    slots: Vec<Slot>,
}

impl Worker<'_> {
    fn batch(&mut self, batch: &Batch) -> Result<Vec<BlobId>> {
        self.records.clear();
        self.slots.clear();
        let mut start = 0;
        let mut ids = Vec::with_capacity(batch.ends.len());
        let mut relied_on = Vec::new();
        let mut bytes_new = 0;
        for end in &batch.ends {
            let content = &batch.data[start..*end];
            start = *end;
            let id = BlobId::of(content);
            ids.push(id);
            let packs = match self.shared.index.find(&id)? {
                Some(found) => self.shared.index.packs_of(&found)?,
                None => None,
            };
            if let Some((own, other)) = packs {
                for pack in other.into_iter().chain([own]) {
                    if relied_on.last() != Some(&pack) {
                        relied_on.push(pack);
                    }
                }
            } else if !self.shared.is_below(&id)? && self.shared.is_new(&id)? {
                bytes_new += content.len() as u64;
                self.store(id, content)?;
            }
        }
        if !relied_on.is_empty() {
            lock(&self.shared.relied_on).extend(relied_on);
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
        let (codec, payload) = self.compressor.pack(content)?;
        let how = (codec, Effort::Quick);
        frame(&mut self.records, &id, how, content.len() as u32, payload);
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
