//! What a collection would do to the packs, decided on the rows of one moment; and doing it.

use std::cell::RefCell;
use std::collections::HashSet;

use cairn_store::gc::{self, Marks, PackPlan, Policy as GcPolicy};

use super::mark::LayerKey;
use super::{Collector, Gc, GcOptions, GcReport, roots};
use crate::error::{Error, Result};
use crate::rows;

/// What happens to each pack if a collection is run now. Nothing was changed for it.
#[must_use = "nothing is collected by a plan alone"]
pub struct GcPlan<'a> {
    gc: Gc<'a>,
    packs: gc::Plan,
    marks: Marks,
    /// Layers that are marked.
    done: HashSet<LayerKey>,
}

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
            done,
        })
    }
}

impl Gc<'_> {
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

    /// Carries out as much as fits into one round; true where another one should follow.
    pub(super) fn apply(self, _only: &Collector, report: &mut GcReport) -> Result<bool> {
        let Self {
            gc,
            packs,
            marks,
            done,
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
        let outcome = gc::apply::<Error>(store, &packs, marks, catch_up, |txn, marks| {
            let now = roots(txn)?;
            gc.mark_roots(marks, &now, &mut done.borrow_mut())?;
            for layer in &now.unreferenced {
                rows::delete_layer(txn, layer);
                if let Some(diff_id) = &layer.diff_id {
                    crate::forms::forget(txn, diff_id);
                }
            }
            crate::import::forget_trees(txn)
        })?;
        report.add(&outcome);
        // A round that freed nothing would be followed by the same one.
        Ok(outcome.left_packs > 0 && outcome.removed_packs > 0)
    }
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
