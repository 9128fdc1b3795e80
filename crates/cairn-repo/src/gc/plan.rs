//! What a collection would do to the packs, decided on the rows of one moment; and doing it.

use std::cell::RefCell;
use std::collections::HashSet;

use cairn_model::BlobId;
use cairn_store::Txn;
use cairn_store::gc::{self, Marks, PackPlan, Policy as GcPolicy};
use cairn_store::optimize::{self, Due, Optimizer};

use super::mark::LayerKey;
use super::{Collector, Gc, GcOptions, GcReport, Roots, roots};
use crate::error::{Error, Result};
use crate::rows;

/// What happens to each pack if a collection is run now. Nothing was changed for it.
#[must_use = "nothing is collected by a plan alone"]
pub struct GcPlan<'a> {
    gc: Gc<'a>,
    packs: gc::Plan,
    marks: Marks,
    roots: Roots,
    /// Layers that are marked.
    done: HashSet<LayerKey>,
}

/// Bytes of packs that are recompressed at a time, one pack at least: so long others wait who collect, too.
const RECOMPRESSED_BYTES_MAX: u64 = 64 << 20;

impl<'a> Gc<'a> {
    /// Decides what happens to each pack, and changes nothing.
    pub fn plan(&self, options: &GcOptions) -> Result<GcPlan<'a>> {
        let store = &self.repo.store;
        // Index and rows of one moment: a publication between them would look like missing blobs.
        let (mut marks, packs, roots) = store.db().read::<_, Error>(|rows| {
            Ok((Marks::new(store)?, gc::pack_rows(rows)?, roots(rows)?))
        })?;
        let mut done = HashSet::new();
        self.mark_roots(&mut marks, &roots, &mut done)?;
        let policy = self.policy(options);
        let policy = GcPolicy {
            new_bytes_max: options.new_bytes_max.unwrap_or(policy.new_bytes_max),
            ..policy
        };
        Ok(GcPlan {
            gc: *self,
            packs: gc::Packs::new(&packs, marks.index()).plan(&marks, policy),
            marks,
            roots,
            done,
        })
    }
}

impl Gc<'_> {
    /// How much may be copied: new packs do not take the repository over the limit that it is kept below.
    pub(crate) fn room_for_copies(&self) -> Result<GcPolicy> {
        let policy = GcPolicy {
            round_bytes_max: RECOMPRESSED_BYTES_MAX,
            ..self.repo.options.gc
        };
        let Some(max) = self.repo.options.retention.used_max else {
            return Ok(policy);
        };
        Ok(GcPolicy {
            new_bytes_max: max.saturating_sub(self.used_bytes()?),
            ..policy
        })
    }

    /// Which packs are worth the work.
    pub(super) fn policy(&self, options: &GcOptions) -> GcPolicy {
        match options.all {
            true => self.repo.options.gc.rewriting_all(),
            false => self.repo.options.gc,
        }
    }
}

impl GcPlan<'_> {
    /// Every pack, and what happens to it.
    pub fn packs(&self) -> &[PackPlan] {
        &self.packs.packs
    }

    /// What carrying it out would come to. The cache and what removals left are not looked at.
    pub fn forecast(&self) -> Result<GcReport> {
        let would = gc::forecast(&self.gc.repo.store, &self.packs, &self.marks)?;
        let mut report = GcReport::default();
        report.add(&would);
        report.referrer_bytes = crate::referrers::stray_bytes(self.gc.repo)?;
        Ok(report)
    }

    /// What of the packs has to be recompressed, but for blobs that are in use.
    pub(crate) fn due(&self, in_use: &HashSet<BlobId>) -> Result<Due> {
        let index = self.marks.index();
        Ok(optimize::due(
            &self.gc.repo.store,
            &self.packs,
            index,
            in_use,
        )?)
    }

    /// What is marked.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What keeps blobs.
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Carries out as much as fits into one round; true where another one should follow.
    pub(super) fn apply(self, _only: &Collector, report: &mut GcReport) -> Result<bool> {
        let outcome = self.carry_out(Work::Collect)?;
        report.add(&outcome);
        // A round that freed nothing would be followed by the same one.
        Ok(outcome.left_packs > 0 && outcome.removed_packs > 0)
    }

    /// Recompresses the next packs in place of collecting; none where nothing is left to do.
    pub(crate) fn optimize(
        self,
        _only: &Collector,
        optimizer: &mut Optimizer<'_>,
        policy: &GcPolicy,
    ) -> Result<Option<gc::Outcome>> {
        let mut any = true;
        let work = Work::Optimize(optimizer, policy, &mut any);
        let outcome = self.carry_out(work)?;
        Ok(any.then_some(outcome))
    }

    fn carry_out(self, work: Work<'_, '_>) -> Result<gc::Outcome> {
        let Self {
            gc,
            packs,
            marks,
            done,
            ..
        } = self;
        let store = &gc.repo.store;
        // What is about to be unlinked is decided by the index, so it has to be sound.
        let segments = marks.index().segments();
        segments.iter().try_for_each(|segment| segment.verify())?;
        let done = RefCell::new(done);
        let catch_up = |marks: &mut Marks| {
            let now = store.db().read::<_, Error>(|rows| roots(rows))?;
            marks.refresh(store)?;
            gc.mark_roots(marks, &now, &mut done.borrow_mut())
        };
        let remark = |txn: &mut Txn<'_>, marks: &mut Marks| {
            let now = roots(txn)?;
            gc.mark_roots(marks, &now, &mut done.borrow_mut())?;
            for layer in &now.unreferenced {
                rows::delete_layer(txn, layer);
                if let Some(diff_id) = &layer.diff_id {
                    crate::forms::forget(txn, diff_id);
                }
            }
            crate::import::forget_trees(txn)
        };
        match work {
            Work::Collect => gc::apply::<Error>(store, &packs, marks, catch_up, remark),
            Work::Optimize(optimizer, policy, any) => {
                let outcome = optimizer.round::<Error>(&packs, marks, policy, catch_up, remark)?;
                *any = outcome.is_some();
                Ok(outcome.unwrap_or_default())
            }
        }
    }
}

/// What is done with the packs of a plan.
enum Work<'o, 's> {
    Collect,
    /// False is set where there was nothing to do.
    Optimize(&'o mut Optimizer<'s>, &'o GcPolicy, &'o mut bool),
}

impl GcReport {
    pub(super) fn add(&mut self, outcome: &gc::Outcome) {
        self.freed_bytes += outcome.freed_bytes();
        self.removed_packs += outcome.removed_packs;
        self.written_bytes += outcome.written_bytes;
        self.dead_blobs += outcome.dead_blobs;
        self.waiting_bytes = outcome.waiting_bytes;
        self.needs_bytes = outcome.needs_bytes;
    }
}
