//! What the files of a repository take.

use cairn_model::PackId;
use cairn_store::gc::{LiveRecords, dead_bytes};
use cairn_store::layout::{self, Part};
use cairn_store::{PackInfo, pack_bytes};

use super::Stats;
use crate::error::Result;
use crate::files::{apparent_bytes, disk_bytes};
use crate::repo::Repo;

impl Repo {
    pub(super) fn count_disk(
        &self,
        records: &impl LiveRecords,
        rows: &[(PackId, PackInfo)],
        stats: &mut Stats,
    ) -> Result<()> {
        let (mut live, mut packs_bytes) = (0, 0);
        let framing = |blobs: u64| pack_bytes(blobs, 0) - pack_bytes(0, 0);
        for (id, row) in rows {
            let marked = records.live(id);
            live += marked.stored();
            stats.dead += dead_bytes(row, marked)
                + framing(u64::from(row.blobs).saturating_sub(marked.blobs));
            stats.packs += 1;
            packs_bytes += row.bytes;
        }
        stats.pack_overhead = packs_bytes.saturating_sub(live + stats.dead);
        let mut apparent = packs_bytes;
        let mut count = |name: &str| -> Result<u64> {
            let path = self.root().join(name);
            if !path.exists() {
                return Ok(0);
            }
            let bytes = apparent_bytes(&path, self.watch())?;
            apparent += bytes;
            Ok(bytes)
        };
        for place in layout::TOP_LEVEL {
            let counted = match place.part {
                // Counted by their rows, which tell alive from dead.
                Part::Packs => continue,
                Part::Index => &mut stats.index,
                Part::Database => &mut stats.database,
                Part::Cache => &mut stats.cache,
                Part::Heads => &mut stats.heads,
                Part::Volumes => &mut stats.volumes,
                _ => &mut stats.other,
            };
            *counted += count(place.name)?;
        }
        let cached = self.views().cache().sizes();
        stats.views = cached.views.len() as u64;
        stats.views_bytes = cached.views_bytes();
        stats.objects = cached.objects.len() as u64;
        stats.objects_bytes = cached.objects.values().sum();
        stats.disk = disk_bytes(self.root(), self.watch())?;
        stats.rounding = stats.disk.saturating_sub(apparent);
        Ok(())
    }
}
