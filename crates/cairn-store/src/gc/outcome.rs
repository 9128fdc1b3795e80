//! What a collection comes to: forecast and done are told alike.

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of pack files unlinked.
    pub removed_bytes: u64,
    /// Bytes of new packs.
    pub written_bytes: u64,
    /// Packs unlinked.
    pub removed_packs: u64,
    /// Retired packs that wait for a lease to end, bytes.
    pub waiting_bytes: u64,
    /// Blobs collected.
    pub dead_blobs: u64,
    /// Packs that another round should take.
    pub left_packs: usize,
    /// Bytes that have to be free for one of these, where that is what is missing.
    pub needs_bytes: Option<u64>,
}

impl Outcome {
    /// Bytes by which the packs became less.
    pub fn freed_bytes(&self) -> u64 {
        self.removed_bytes.saturating_sub(self.written_bytes)
    }
}
