//! Which images go of themselves: rules over names, pins, dates and limits. Everything here is decided on what is
//! handed in; the collection gathers that and carries the decisions out.
//!
//! Rules decide over names, in their order; pins and users win over every rule.

mod contradict;
mod decide;
mod rule;
mod snapshots;

pub use decide::Decision;
pub(crate) use decide::{Candidate, decide};
pub use rule::{Rule, parse_rules};
pub use snapshots::{EXPIRES, SnapshotDecision};
pub(crate) use snapshots::{SnapshotCandidate, decide_snapshots};

/// What a collection removes of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Rules over image names, the first that fits decides.
    pub rules: Vec<Rule>,
    /// What the repository may take on disk, bytes.
    pub used_max: Option<u64>,
    /// What is to be free on its disk, bytes.
    pub free_min: Option<u64>,
    /// Below this size nothing is removed to make room, bytes.
    pub reserved: u64,
}

impl Retention {
    /// Bytes that have to go where the repository takes `used` and its disk has `free`.
    pub(crate) fn missing(&self, used: u64, free: u64) -> u64 {
        let over = self.used_max.map_or(0, |max| used.saturating_sub(max));
        let short = self.free_min.map_or(0, |min| min.saturating_sub(free));
        over.max(short).min(used.saturating_sub(self.reserved))
    }

    /// True where the repository or its disk has a limit.
    pub(crate) fn has_limits(&self) -> bool {
        self.used_max.is_some() || self.free_min.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_go_is_what_is_over_or_short_and_above_what_is_reserved() {
        let limits = |used_max, free_min, reserved| Retention {
            used_max,
            free_min,
            reserved,
            ..Retention::default()
        };
        for (retention, used, free, expected) in [
            (limits(None, None, 0), 100, 0, 0),
            (limits(Some(80), None, 0), 100, 0, 20),
            (limits(Some(80), None, 0), 80, 0, 0),
            (limits(None, Some(30), 0), 100, 10, 20),
            (limits(Some(80), Some(60), 0), 100, 10, 50),
            (limits(Some(80), Some(60), 70), 100, 10, 30),
            (limits(Some(80), None, 200), 100, 10, 0),
        ] {
            let missing = retention.missing(used, free);
            assert_eq!(missing, expected, "{retention:?} {used} {free}");
        }
    }
}
