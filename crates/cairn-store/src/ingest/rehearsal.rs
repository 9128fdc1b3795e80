//! An import of content that writes nothing, and says what a real one would store.
//!
//! It holds no lease, so what it found present may be collected before the real one comes. It remembers every new
//! blob, about 60 bytes of memory each.

use std::collections::HashMap;

use cairn_model::BlobId;

use super::shared::lock;
use super::{Ingest, IngestStats};
use crate::error::Result;

/// Content that is looked at and not stored. It is fed as an [`Ingest`] is.
pub struct Rehearsal(Ingest);

/// What an import of the same content would store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rehearsed {
    /// What it would count.
    pub stats: IngestStats,
    /// Blobs that are not there yet, with their bytes as stored.
    pub new: HashMap<BlobId, u32>,
}

impl Rehearsal {
    pub(crate) fn of(ingest: Ingest) -> Self {
        Self(ingest)
    }

    /// Where content is fed to. It cannot be finished, so nothing of it can be published.
    pub fn ingest(&self) -> &Ingest {
        &self.0
    }

    /// Waits for the workers. All feeders must be gone.
    pub fn finish(mut self) -> Result<Rehearsed> {
        self.0.end()?;
        Ok(Rehearsed {
            stats: self.0.stats(),
            new: std::mem::take(&mut lock(&self.0.shared.counted)),
        })
    }
}
