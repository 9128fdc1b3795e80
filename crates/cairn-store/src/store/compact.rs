//! The index is kept short: segments that have become many are merged.
//!
//! Its lock file is made without [`crate::Disk`]: nothing depends on it after a crash.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use cairn_model::{PackId, SegmentId};

use super::Store;
use crate::error::{IoContext, Result};
use crate::index::{self, Index, segment_path};
use crate::layout::Layout;

impl Store {
    /// Merges segments of the index as long as some are due, beside everything else: others are held up
    /// only while the list is replaced. Nothing happens where another process is at it.
    pub fn compact_index(&self) -> Result<()> {
        let _span = tracing::debug_span!("compact_index").entered();
        let mut index = self.reload_index()?;
        if index::due(&index).is_none() {
            return Ok(());
        }
        let path = Layout::of(&self.0.root).index_lock();
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let one = options.open(&path).at("open", &path)?;
        if one.try_lock().is_err() {
            return Ok(());
        }
        let lease = self.lease()?;
        while let Some(run) = index::due(&index) {
            let inputs = &index.segments()[run];
            let merged = match index::merge(&self.0.disk, lease.directory(), inputs, index.hidden())
            {
                // Searching goes on with what there is; "check --repair" makes it anew.
                Err(e) if e.is_corruption() => return Ok(()),
                done => done?,
            };
            let gone: HashSet<SegmentId> = inputs.iter().map(|s| s.id()).collect();
            let named = inputs.iter().flat_map(|s| s.packs().iter().copied());
            let (dropped, kept): (HashSet<PackId>, HashSet<PackId>) =
                named.partition(|pack| index.hidden().contains(pack));
            let done = self.0.db.locked(|| {
                let now = Index::open(&self.index_dir(), Some(&index))?;
                let mut list = now.list().clone();
                let there = gone.iter().all(|id| list.segments.contains(id));
                // Another process merged, or a publication found a pack again that was hidden when the merge
                // began: what was written does not fit any more and goes with the lease.
                if !there || !dropped.iter().all(|pack| list.hidden.contains(pack)) {
                    return Ok(false);
                }
                let at = list.segments.iter().position(|id| gone.contains(id));
                list.segments.retain(|id| !gone.contains(id));
                if let Some(new) = &merged {
                    let path = segment_path(&self.index_dir(), &new.id);
                    self.0.disk.rename(&new.path, &path)?;
                    list.segments.insert(at.unwrap_or(0), new.id);
                }
                // A hidden pack that no segment names any more needs no mention. The merged segment names those
                // that were hidden only after the merge began: a collection retired them meanwhile, and
                // what is in them must not be found again.
                let others = now.segments().iter().filter(|s| !gone.contains(&s.id()));
                let left: HashSet<PackId> = others
                    .flat_map(|s| s.packs().iter().copied())
                    .chain(kept.iter().copied())
                    .collect();
                list.hidden.retain(|pack| left.contains(pack));
                list.put(&self.0.disk, &self.index_dir(), &[])?;
                Ok(true)
            })?;
            if !done {
                break;
            }
            index = self.reload_index()?;
        }
        Ok(())
    }
}
