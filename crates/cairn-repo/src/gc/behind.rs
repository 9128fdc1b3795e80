//! Whether collections keep up with what they are for.

use super::Gc;
use crate::time;

const DAY_SECS: i64 = 86_400;
/// Where rules or limits say that something is to go, a collection that did not run for this long is late.
const DAYS_MAX: i64 = 7;

impl Gc<'_> {
    /// Why collection falls behind, if it does: the last one failed, ran out of time or could not free enough, or
    /// it is long ago. Counts what the repository takes where that has a limit.
    pub fn behind(&self) -> Option<String> {
        let retention = &self.repo.options.retention;
        let last = self.repo.last_job();
        if let Some(last) = &last {
            if let Some(error) = &last.error {
                return Some(format!("the last gc failed: {error}"));
            }
            if !last.complete {
                return Some("the last gc ran out of time".to_owned());
            }
        }
        // What cannot be counted now is not held against it.
        let over = self.missing_bytes().unwrap_or(0);
        if over > 0 {
            return Some(format!("the repository is {over} bytes over its limits"));
        }
        if retention.rules.is_empty() && !retention.has_limits() {
            return None;
        }
        let days = last.map(|last| (time::now_secs() - last.ended_secs) / DAY_SECS);
        match days {
            Some(days) if days < DAYS_MAX => None,
            Some(days) => Some(format!("gc has not run for {days} days")),
            None => Some("there are rules or limits, and gc has never run".to_owned()),
        }
    }
}
