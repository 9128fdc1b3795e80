//! How much of a blob has come, or gone.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_model::{Digest, Transfer, TransferState, Watch};

/// Counts the bytes of one blob and tells whoever watches.
#[derive(Debug)]
pub(crate) struct Meter {
    watch: Watch,
    digest: Digest,
    bytes: AtomicU64,
    total: u64,
}

impl Meter {
    pub fn new(watch: &Watch, digest: Digest, total: u64) -> Self {
        Self {
            watch: watch.clone(),
            digest,
            bytes: AtomicU64::new(0),
            total,
        }
    }

    /// So many more bytes are there.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell(TransferState::Moving);
    }

    /// So many bytes are there.
    pub fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.tell(TransferState::Moving);
    }

    /// All are there.
    pub fn done(&self) {
        self.bytes.store(self.total, Ordering::Relaxed);
        self.tell(TransferState::Done);
    }

    fn tell(&self, state: TransferState) {
        self.watch.transfer(&Transfer {
            digest: self.digest,
            bytes: self.bytes.load(Ordering::Relaxed).min(self.total),
            total: self.total,
            state,
        });
    }
}
