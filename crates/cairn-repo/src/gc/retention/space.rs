//! Room: what has to go so that the repository stays below a size, or its disk has something free.

use std::collections::HashSet;

use cairn_model::Digest;

use super::super::Gc;
use super::Retention;
use super::decide::{Candidate, Decision};
use crate::error::{At, Result};
use crate::stats::disk_bytes;

/// Bytes that have to go: the repository takes `used`, its disk has `free`.
fn missing(retention: &Retention, used: u64, free: u64) -> u64 {
    let over = retention.used_max.map_or(0, |max| used.saturating_sub(max));
    let short = retention.free_min.map_or(0, |min| min.saturating_sub(free));
    over.max(short).min(used.saturating_sub(retention.reserved))
}

impl Gc<'_> {
    /// Bytes that have to go for the repository to be within its limits; 0 where it is, or has none.
    pub(in crate::gc) fn missing_bytes(&self) -> Result<u64> {
        let retention = &self.repo.options.retention;
        if retention.used_max.is_none() && retention.free_min.is_none() {
            return Ok(0);
        }
        let root = self.repo.root();
        let disk = rustix::fs::statvfs(root)
            .map_err(std::io::Error::from)
            .at("stat", root)?;
        let used = disk_bytes(root, self.repo.watch())?;
        Ok(missing(retention, used, disk.f_bavail * disk.f_frsize))
    }

    /// The images to remove so that `bytes` are freed, those that were used least lately first; all that may go
    /// where that is not enough. What a rule keeps, a pin or a user, stays.
    pub(in crate::gc) fn least_used(&self, bytes: u64) -> Result<Vec<Decision>> {
        let kept: HashSet<Digest> = self
            .decisions()?
            .into_iter()
            .filter(|decision| !decision.remove && decision.rule.is_some())
            .map(|decision| decision.id)
            .collect();
        let may_go = |image: &Candidate| {
            !image.pinned && image.in_use.is_none() && !kept.contains(&image.id)
        };
        let mut images: Vec<Candidate> = self.candidates()?.into_iter().filter(may_go).collect();
        images.sort_by_key(|image| (image.used, image.id));
        let frees = |count: usize| -> Result<bool> {
            let ids: Vec<String> = images[..count]
                .iter()
                .map(|image| image.id.to_string())
                .collect();
            Ok(self.repo.what_if_removed(&ids)?.freed_bytes >= bytes)
        };
        // More images free more, so the least number that is enough is found by halving.
        let (mut too_few, mut enough) = (0, images.len());
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            match frees(middle)? {
                true => enough = middle,
                false => too_few = middle,
            }
        }
        let decision = |image: &Candidate| Decision {
            id: image.id,
            name: None,
            remove: true,
            rule: None,
            why: "used least lately, and room is needed".to_owned(),
        };
        Ok(images[..enough].iter().map(decision).collect())
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
            assert_eq!(
                missing(&retention, used, free),
                expected,
                "{retention:?} {used} {free}"
            );
        }
    }
}
