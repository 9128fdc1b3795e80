//! What an ingest did.

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
