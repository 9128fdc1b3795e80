//! Room: what has to go so that the repository stays below a size, or its disk has something free.

use std::collections::HashSet;

use cairn_model::Digest;

use super::Gc;
use crate::error::{At, Result};
use crate::retention::{Candidate, Decision};
use crate::stats::disk_bytes;

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
        let used = disk_bytes(root, self.repo.watch())?;
        Ok(retention.missing(used, disk.f_bavail * disk.f_frsize))
    }

    /// The images to remove so that `bytes` are freed, those that were used least lately first; all that may go
    /// where that is not enough. What a rule keeps, a pin or a user, stays.
    pub(super) fn least_used(&self, bytes: u64) -> Result<Vec<Decision>> {
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
        Ok(images[..enough]
            .iter()
            .map(Candidate::going_for_room)
            .collect())
    }
}
