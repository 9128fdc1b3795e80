//! What leaves the cache: views of trees and objects that nothing refers to any more.

use std::collections::HashSet;

use cairn_model::{ObjectId, TreeId};
use rustix::fs::FlockOperation;

use crate::cache::{ROOTS, Views};
use crate::error::{At, Result};
use crate::flat::{ASIDE, disk_bytes};
use crate::verified::{Verified, boot_id};

/// What [`Views::retain`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Images and flattened trees.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of all of them on disk.
    pub bytes: u64,
}

impl Views {
    /// Removes views of other trees and objects other than those that `keep` says. It is asked once no
    /// view can be made any more; while one is being made, nothing is removed.
    pub fn retain<E: From<crate::Error>>(
        &self,
        keep: impl FnOnce() -> Result<(HashSet<TreeId>, HashSet<ObjectId>), E>,
    ) -> Result<Evicted, E> {
        let _span = tracing::debug_span!("evict").entered();
        let mut evicted = Evicted::default();
        if !self.directory().exists() {
            return Ok(evicted);
        }
        let Ok(_guard) = self.hold(FlockOperation::NonBlockingLockExclusive) else {
            return Ok(evicted);
        };
        let (trees, objects) = keep()?;
        let aside = format!("{ASIDE}{}-", boot_id().unwrap_or_default());
        for name in ["views", "flat", ROOTS] {
            let Ok(entries) = std::fs::read_dir(self.directory().join(name)) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let stem = path
                    .file_stem()
                    .map(|s| s.to_string_lossy().into_owned())
                    .unwrap_or_default();
                // What was moved aside in this boot may still be mounted.
                if stem.parse().is_ok_and(|id| trees.contains(&id)) || stem.starts_with(&aside) {
                    continue;
                }
                let is_view = path.is_dir() || path.extension().is_some_and(|e| e == "erofs");
                evicted.views += u64::from(is_view);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    evicted.bytes += disk_bytes(&path);
                    std::fs::remove_dir_all(&path).at("remove", &path)?;
                } else {
                    evicted.bytes += entry.metadata().map_or(0, |m| m.len());
                    std::fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        let (count, bytes) = self.objects().retain(&objects)?;
        Verified::load(self.directory()).compact(&|id| objects.contains(id))?;
        Ok(Evicted {
            objects: count,
            bytes: evicted.bytes + bytes,
            ..evicted
        })
    }
}
