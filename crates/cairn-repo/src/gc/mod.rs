//! Collection: what no snapshot, image or lease needs goes.

mod cache;
mod mark;
mod roots;

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::fs::OpenOptionsExt;

use cairn_store::gc::{self, Marks};
use cairn_view::Evicted;

use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::rows;

pub(crate) use roots::{Roots, roots};

/// Garbage collection of a repository.
#[derive(Clone, Copy)]
pub struct Gc<'a> {
    pub(crate) repo: &'a Repo,
}

/// How to collect.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Say what would go, and change nothing.
    pub dry_run: bool,
    /// Also drop cached views and objects that nothing mounted needs.
    pub prune_cache: bool,
    /// Rewrite every pack that holds something dead, also where little is.
    pub all: bool,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of pack files that went, less those of new ones.
    pub freed_bytes: u64,
    /// Packs that went.
    pub removed_packs: u64,
    /// Bytes of packs written anew.
    pub written_bytes: u64,
    /// Blobs that nothing needs.
    pub dead_blobs: u64,
    /// Bytes of retired packs that wait for a running import to end.
    pub waiting_bytes: u64,
    /// Bytes that would have to be free for the rest to be rewritten, where they are not.
    pub needs_bytes: Option<u64>,
    /// Cached views and objects that went.
    pub evicted: Evicted,
    /// Directories of changes that belonged to no snapshot.
    pub orphaned_heads: u64,
    /// Views that were made for mounts which are no more.
    pub stale_views: u64,
}

impl Gc<'_> {
    /// Collects. Imports and runs go on beside it; they are held up for moments only.
    pub fn run(&self, options: &GcOptions) -> Result<GcReport> {
        let _span = tracing::info_span!("gc").entered();
        let mut report = GcReport::default();
        if !options.dry_run {
            self.repo.store.may_spend_reserve();
        }
        let _one = if options.dry_run {
            None
        } else {
            Some(self.repo.only_collector()?)
        };
        if !options.dry_run {
            gc::adopt_orphans(&self.repo.store)?;
        }
        if !options.dry_run {
            report.stale_views = self.repo.views().drop_stale()?;
            // First, because it makes room for what is rewritten.
            report.evicted = self.evict(options.prune_cache)?;
        }
        loop {
            // Index and rows of one moment: a publication between them would look like missing blobs.
            let (mut marks, packs, roots) = self.repo.store.db().read::<_, Error>(|rows| {
                Ok((
                    Marks::new(&self.repo.store)?,
                    gc::pack_rows(rows)?,
                    roots(rows)?,
                ))
            })?;
            if !options.dry_run {
                // What is about to be unlinked is decided by the index, so it has to be sound.
                marks
                    .index()
                    .segments()
                    .iter()
                    .try_for_each(|segment| segment.verify())?;
            }
            let mut done = HashSet::new();
            self.mark_roots(&mut marks, &roots, &mut done)?;
            let mut plan = gc::plan(&packs, &marks);
            if options.all {
                plan.rewrite_all();
            }
            if options.dry_run {
                let would = gc::forecast(&self.repo.store, &plan, &marks)?;
                report.freed_bytes = would.removed_bytes.saturating_sub(would.written_bytes);
                report.written_bytes = would.written_bytes;
                report.removed_packs = would.removed_packs;
                report.dead_blobs = would.dead_blobs;
                report.waiting_bytes = would.waiting_bytes;
                report.needs_bytes = would.needs_bytes;
                return Ok(report);
            }
            let done = RefCell::new(done);
            let catch_up = |marks: &mut Marks| {
                let now = self
                    .repo
                    .store
                    .db()
                    .read::<_, Error>(|rows| self::roots(rows))?;
                marks.refresh(&self.repo.store)?;
                self.mark_roots(marks, &now, &mut done.borrow_mut())
            };
            let outcome =
                gc::apply::<Error>(&self.repo.store, &plan, marks, catch_up, |txn, marks| {
                    let now = self::roots(txn)?;
                    self.mark_roots(marks, &now, &mut done.borrow_mut())?;
                    for layer in &now.unreferenced {
                        rows::delete_layer(txn, layer);
                    }
                    crate::import::forget_trees(txn)
                })?;
            report.freed_bytes += outcome.removed_bytes.saturating_sub(outcome.written_bytes);
            report.removed_packs += outcome.removed_packs;
            report.written_bytes += outcome.written_bytes;
            report.dead_blobs += outcome.dead_blobs;
            report.waiting_bytes = outcome.waiting_bytes;
            report.needs_bytes = outcome.needs_bytes;
            if outcome.left_packs == 0 || outcome.removed_packs == 0 {
                break;
            }
        }
        let dropped = self.repo.heads().drop_orphans();
        match self.repo.store.db().compact() {
            // What could be freed is freed; a shorter journal has to wait for room.
            Err(e) if e.is_full() => {}
            done => done?,
        }
        self.repo.store.fill_reserve();
        report.orphaned_heads = dropped?;
        Ok(report)
    }
}

impl Repo {
    /// One collection or repair at a time: two that decide over the same copies could each drop the one
    /// that the other keeps.
    pub(crate) fn only_collector(&self) -> Result<std::fs::File> {
        let path = self.root().join("gc.lock");
        let mut options = std::fs::File::options();
        options.create(true).write(true).truncate(false).mode(0o600);
        let disk = self.store.disk();
        let file = disk.with_room(|| options.open(&path)).at("open", &path)?;
        file.lock().at("lock", &path)?;
        Ok(file)
    }
}
