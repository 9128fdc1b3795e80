//! Events of `pull` and `push`, one a line.

use cairn_repo::{Transfer, TransferState};
use serde::Serialize;

/// A blob is so far.
#[derive(Serialize)]
pub struct TransferLine<'a> {
    event: &'static str,
    reference: &'a str,
    digest: String,
    state: &'static str,
    bytes: u64,
    total_bytes: u64,
    bytes_per_second: u64,
    seconds_left: Option<u64>,
    all_bytes: u64,
    all_total_bytes: u64,
}

impl<'a> TransferLine<'a> {
    /// Of a blob of this image, at so many bytes a second.
    pub fn new(reference: &'a str, transfer: &Transfer, rate: f64) -> Self {
        let left = transfer.total.saturating_sub(transfer.bytes);
        Self {
            event: "transfer",
            reference,
            digest: transfer.digest.to_string(),
            state: match transfer.state {
                TransferState::Moving => "moving",
                TransferState::Done => "done",
                TransferState::Present => "present",
            },
            bytes: transfer.bytes,
            total_bytes: transfer.total,
            bytes_per_second: rate as u64,
            seconds_left: (rate >= 1.0).then(|| (left as f64 / rate).ceil() as u64),
            all_bytes: 0,
            all_total_bytes: 0,
        }
    }

    /// So much of all is done.
    pub fn of(self, done: u64, total: u64) -> Self {
        Self {
            all_bytes: done.min(total),
            all_total_bytes: total,
            ..self
        }
    }
}
