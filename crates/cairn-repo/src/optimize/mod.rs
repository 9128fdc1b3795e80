//! Recompression as a job: which blobs views read in place and so stay, and what the others may be similar to.

mod guesses;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind, PackId};
use cairn_store::gc;
use cairn_store::optimize::{Due, Known, Optimized, Optimizer};
use serde::Serialize;

use crate::error::Result;
use crate::gc::{GcPlan, Roots};
use crate::repo::Repo;
use crate::trees::tree_id;

/// How to recompress.
#[derive(Debug, Clone, Copy, Default)]
pub struct OptimizeOptions {
    /// Say what there is to do, and do nothing.
    pub dry_run: bool,
    /// Leave the rest as it is after this, for the next time.
    pub until: Option<Instant>,
}

/// What was recompressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OptimizeReport {
    /// What was done to which blobs.
    #[serde(flatten)]
    pub done: Optimized,
    /// Bytes by which the packs became less, dead blobs included.
    pub freed_bytes: u64,
    /// Bytes of packs that wait for a running command to end.
    pub waiting_bytes: u64,
    /// Bytes that are still to be recompressed.
    pub due_bytes: u64,
    /// Bytes that have to be free for the next pack, where they are not.
    pub needs_bytes: Option<u64>,
    /// False where something is left to do.
    pub complete: bool,
}

impl Repo {
    /// Recompresses what is stored, and stores blobs as differences from similar ones where that is much shorter.
    pub fn optimize(&self, options: &OptimizeOptions) -> Result<OptimizeReport> {
        let mut collector = Some(self.only_collector()?);
        gc::adopt_orphans(&self.store)?;
        let plan = self.gc().plan(&crate::GcOptions::default())?;
        let in_use = self.read_in_place(plan.roots())?;
        let due = plan.due(&in_use)?;
        if options.dry_run || due.packs.is_empty() {
            return Ok(OptimizeReport {
                due_bytes: due.bytes,
                complete: due.packs.is_empty(),
                ..OptimizeReport::default()
            });
        }
        let is_over = || options.until.is_some_and(|until| Instant::now() >= until);
        if is_over() {
            return Ok(OptimizeReport {
                due_bytes: due.bytes,
                ..OptimizeReport::default()
            });
        }
        let similar = self.similar(&plan, &due)?;
        let known = Known {
            until: options.until,
            in_use,
            similar,
        };
        let mut optimizer = Optimizer::new(&self.store, known)?;
        let mut report = OptimizeReport::default();
        let mut plan = Some(plan);
        while !report.complete && report.needs_bytes.is_none() {
            // Between two rounds others may collect, back up or repair.
            let only = match collector.take() {
                Some(only) => only,
                None => self.only_collector()?,
            };
            let plan = match plan.take() {
                Some(plan) => plan,
                None => self.gc().plan(&crate::GcOptions::default())?,
            };
            let policy = self.gc().room_for_copies()?;
            let Some(outcome) = plan.optimize(&only, &mut optimizer, &policy)? else {
                report.complete = true;
                break;
            };
            report.freed_bytes += outcome.freed_bytes();
            report.waiting_bytes = outcome.waiting_bytes;
            report.needs_bytes = outcome.needs_bytes;
            report.complete = outcome.left_packs == 0;
            if is_over() {
                report.complete = false;
                break;
            }
        }
        self.views().cache().let_go_of_packs(&self.store);
        let done = optimizer.done();
        self.note_growth("optimize");
        Ok(OptimizeReport {
            done,
            due_bytes: due.bytes.saturating_sub(done.taken_bytes),
            ..report
        })
    }

    /// What the blobs that are due may be similar to: layers that came earlier are the earlier versions.
    fn similar(&self, plan: &GcPlan<'_>, due: &Due) -> Result<HashMap<BlobId, Vec<BlobId>>> {
        let index = plan.marks().index();
        let packs: HashSet<PackId> = due.packs.iter().map(|pack| pack.id).collect();
        let created = plan.packs().iter().map(|pack| (pack.id, pack.created));
        let created: HashMap<PackId, u64> = created.collect();
        let mut layers: Vec<(u64, Layer)> = Vec::new();
        for layer in &plan.roots().layers {
            let found = index.find(&layer.manifest.id)?;
            let came = found.and_then(|found| created.get(&found.pack).copied());
            layers.push((came.unwrap_or(0), *layer));
        }
        layers.sort_by_key(|(came, layer)| (*came, layer.id));
        let layers: Vec<Layer> = layers.into_iter().map(|(_, layer)| layer).collect();
        self.guesses(index, &packs, &layers)
    }

    /// Blobs that the kernel reads in place for views that are in the cache.
    fn read_in_place(&self, roots: &Roots) -> Result<HashSet<BlobId>> {
        let views = self.views().cache().packed_trees();
        let mut blobs = HashSet::new();
        let mut seen = HashSet::new();
        if views.is_empty() {
            return Ok(blobs);
        }
        for snapshot in &roots.snapshots {
            let layers = roots.chain(snapshot)?;
            if !views.contains(&tree_id(&layers)) {
                continue;
            }
            for layer in layers.iter().filter(|layer| seen.insert(layer.id)) {
                for entry in layer.read_entries(&self.store)? {
                    if let Kind::File(content) = &entry.kind {
                        blobs.extend(content.blobs().map(|(id, _)| id));
                    }
                }
            }
        }
        Ok(blobs)
    }
}
