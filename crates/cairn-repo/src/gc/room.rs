//! Room: what has to go so that the repository stays below a size, or its disk has something free.

use std::collections::HashSet;

use cairn_model::Digest;

use super::Gc;
use crate::error::{At, Result};
use crate::files::disk_bytes_of;
use crate::retention::{Candidate, Decision, decide};

use crate::time;

impl Gc<'_> {
    /// Bytes that have to go for the repository to be within its limits; 0 where it is, or has none.
    pub(super) fn missing_bytes(&self) -> Result<u64> {
        let retention = &self.repo.options.retention;
        if !retention.has_limits() {
            return Ok(0);
        }
        let root = self.repo.root();
        let disk = rustix::fs::statvfs(root)
            .map_err(std::io::Error::from)
            .at("stat", root)?;
        let used = self.used_bytes()?;
        Ok(retention.missing(used, disk.f_bavail * disk.f_frsize))
    }

    /// Bytes that the repository takes on its disk.
    pub(super) fn used_bytes(&self) -> Result<u64> {
        disk_bytes_of(self.repo.root(), |_| true, self.repo.watch())
    }

    /// The images to remove so that `bytes` are freed, those that were used least lately first; all that may go
    /// where that is not enough. What a rule keeps, a pin or a user, stays.
    pub(crate) fn least_used(&self, bytes: u64) -> Result<Vec<Decision>> {
        let mut images = self.candidates()?;
        let rules = &self.repo.options.retention.rules;
        let kept: HashSet<Digest> = decide(&images, rules, time::now_secs())
            .into_iter()
            .filter(|decision| !decision.remove && decision.rule.is_some())
            .map(|decision| decision.id)
            .collect();
        images.retain(|image| !image.pinned && image.in_use.is_none() && !kept.contains(&image.id));
        images.sort_by_key(|image| (image.used, image.id));
        let enough = self.repo.with_removals(|all| {
            // More images free more, so the least number that is enough is found by halving.
            let (mut too_few, mut enough) = (0, images.len());
            while enough - too_few > 1 {
                let middle = too_few + (enough - too_few) / 2;
                let ids = images[..middle].iter().map(|image| image.id).collect();
                match self.repo.freed_together(all, &ids)? >= bytes {
                    true => enough = middle,
                    false => too_few = middle,
                }
            }
            Ok(enough)
        })?;
        Ok(images[..enough]
            .iter()
            .map(Candidate::going_for_room)
            .collect())
    }
}
