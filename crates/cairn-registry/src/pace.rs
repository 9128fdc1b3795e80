//! Whether a connection brings enough to be kept.

use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::retry::Tries;

/// So much has to come before earlier failures are forgiven, and in each span of time at least.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Since when, and from which byte, progress is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    since: Instant,
    from: u64,
}

impl Pace {
    pub fn new(at: u64) -> Self {
        Self {
            since: Instant::now(),
            from: at,
        }
    }

    /// Bytes came up to `at`. Fails where they come so slowly that they are better asked for again.
    pub fn keep(
        &mut self,
        at: u64,
        tries: &mut Tries,
        silence_max: Duration,
    ) -> Result<(), Failure> {
        if at - self.from >= PROGRESS_BYTES {
            tries.forgive();
            *self = Self::new(at);
        } else if self.since.elapsed() > silence_max * 2 {
            *self = Self::new(at);
            return Err(Failure::passing("the registry sends too slowly"));
        }
        Ok(())
    }
}
