//! What the files of a repository take.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_model::{PackId, Watch};
use cairn_store::gc::{LiveRecords, record_area};
use cairn_store::layout::{self, Part};
use cairn_store::{PackInfo, pack_bytes};

use super::Stats;
use crate::error::{At, Result};
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
            stats.dead += record_area(row).saturating_sub(marked.bytes)
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
        stats.disk = disk_bytes(self.root(), self.watch())?;
        stats.rounding = stats.disk.saturating_sub(apparent);
        Ok(())
    }
}

fn walk(root: &Path, watch: &Watch, count: &mut dyn FnMut(&std::fs::Metadata)) -> Result<()> {
    let mut seen = HashSet::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        watch.check()?;
        // Files of a live repository come and go under a walk.
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if seen.insert((meta.dev(), meta.ino())) {
            count(&meta);
        }
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).at("list", &path)?.flatten() {
                stack.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Lengths of all files, holes left out.
fn apparent_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk(root, watch, &mut |meta| {
        if !meta.is_dir() {
            sum += meta.len().min(meta.blocks() * 512);
        }
    })?;
    Ok(sum)
}

/// As `du` counts: blocks of files and directories.
pub(crate) fn disk_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk(root, watch, &mut |meta| sum += meta.blocks() * 512)?;
    Ok(sum)
}
