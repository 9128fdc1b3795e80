//! The time now, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Timestamp;

/// Time since the beginning of 1970; zero while the clock is set to before it.
pub fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Whole seconds of it.
pub fn secs() -> u64 {
    since_1970().as_secs()
}

/// As entries and snapshots have it.
pub fn timestamp() -> Timestamp {
    let since = since_1970();
    Timestamp {
        secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
