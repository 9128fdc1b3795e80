//! Reads no faster than is wished.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keeps reading under a rate, over all threads.
pub struct Throttle {
    start: Instant,
    rate: Option<u64>,
    bytes: Mutex<u64>,
}

impl Throttle {
    /// Bytes a second, at most; none for as fast as it goes.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            start: Instant::now(),
            rate,
            bytes: Mutex::new(0),
        }
    }

    /// Counts bytes that were read, and waits where that was too fast.
    pub fn spend(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let mut spent = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *spent += bytes;
        let due = Duration::from_secs_f64(*spent as f64 / rate.max(1) as f64);
        drop(spent);
        std::thread::sleep(due.saturating_sub(self.start.elapsed()));
    }
}
