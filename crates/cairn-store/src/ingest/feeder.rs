//! Collects pieces of content into batches and hands them to the workers.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use cairn_model::BlobId;
use crossbeam_channel::Sender;

use super::shared::{Shared, lock};
use crate::error::{Error, Result};
use crate::pack::BLOB_BYTES_MAX;

const BATCH_BYTES: usize = 256 * 1024;

/// Pieces of content, one after another.
pub struct Batch {
    pub data: Vec<u8>,
    pub ends: Vec<usize>,
    pub first: usize,
    pub results: Arc<Results>,
}

/// Where the workers put the ids.
#[derive(Default)]
pub struct Results {
    pub state: Mutex<ResultState>,
    pub done: Condvar,
}

/// Ids by ticket, and how many batches are on their way.
#[derive(Default)]
pub struct ResultState {
    pub ids: Vec<Option<BlobId>>,
    pub pending: usize,
}

/// Place of a blob among those of its feeder, in the order of feeding.
pub type Ticket = usize;

/// Hands content to the workers.
pub struct Feeder {
    pub(super) sender: Sender<Batch>,
    pub(super) shared: Arc<Shared>,
    pub(super) results: Arc<Results>,
    pub(super) batch: Option<Batch>,
    pub(super) count: usize,
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

    /// Another feeder of the same ingest, with tickets of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            shared: self.shared.clone(),
            results: Arc::default(),
            batch: None,
            count: 0,
        }
    }

    /// Number of blobs handed in so far: the next ticket.
    pub fn count(&self) -> usize {
        self.count
    }

    fn send(&mut self) -> Result<()> {
        let Some(batch) = self.batch.take() else {
            return Ok(());
        };
        self.shared.watch.check()?;
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
