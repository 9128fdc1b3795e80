//! Collection: what no snapshot, image or lease needs goes.

mod behind;
mod cache;
mod images;
mod job;
mod mark;
mod plan;
mod room;
mod roots;
mod snapshots;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use cairn_store::gc;
use cairn_view::Evicted;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::error::{At, Result};
use crate::repo::Repo;

pub use job::{JobReport, LastJob};
pub use plan::GcPlan;
pub(crate) use roots::{Roots, roots};

/// How long an unfinished download is kept.
const DOWNLOADS_LAST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Garbage collection of a repository.
#[derive(Clone, Copy)]
pub struct Gc<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Garbage collection.
    pub fn gc(&self) -> Gc<'_> {
        Gc { repo: self }
    }
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
    /// Begin no further round after this; what is left is for the next collection.
    pub until: Option<Instant>,
    /// New packs of a round take no more than this, bytes.
    pub new_bytes_max: Option<u64>,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
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
    #[serde(flatten, serialize_with = "evicted")]
    pub evicted: Evicted,
    /// Directories of changes that belonged to no snapshot.
    pub orphaned_heads: u64,
    /// Views that were made for mounts which are no more.
    pub stale_views: u64,
    /// Bytes of unfinished downloads that went.
    pub download_bytes: u64,
    /// Bytes of what referred to images that are gone.
    pub referrer_bytes: u64,
}

fn evicted<S: Serializer>(evicted: &Evicted, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(None)?;
    fields.serialize_entry("evicted_views", &evicted.views)?;
    fields.serialize_entry("evicted_objects", &evicted.objects)?;
    fields.serialize_entry("evicted_bytes", &evicted.bytes)?;
    fields.end()
}

impl Gc<'_> {
    /// Collects. Imports and runs go on beside it; they are held up for moments only.
    pub fn run(&self, options: &GcOptions) -> Result<GcReport> {
        let _span = tracing::info_span!("gc").entered();
        if options.dry_run {
            return self.plan(options)?.forecast();
        }
        Ok(self.collect(options)?.0)
    }

    /// Collects without passing the limit that the repository is kept below by much: what new packs may take before
    /// those that they replace go is a part of one percent of it.
    pub(crate) fn collect_within(&self, options: &GcOptions) -> Result<GcReport> {
        let max = self.repo.options.retention.used_max;
        let options = GcOptions {
            new_bytes_max: max.map(|max| max / 250),
            ..*options
        };
        Ok(self.collect(&options)?.0)
    }

    /// Collects; false where the time ran out before all was done.
    fn collect(&self, options: &GcOptions) -> Result<(GcReport, bool)> {
        self.repo.store.may_spend_reserve();
        let collector = self.repo.only_collector()?;
        gc::adopt_orphans(&self.repo.store)?;
        let mut report = GcReport {
            stale_views: self.repo.views().drop_stale()?,
            // Before anything is rewritten, because it makes room for that.
            evicted: self.evict(options.prune_cache)?,
            ..GcReport::default()
        };
        // Each round frees what the next one can write to, and is planned on what is there then.
        let mut complete = true;
        while self.plan(options)?.apply(&collector, &mut report)? {
            if options.until.is_some_and(|until| Instant::now() >= until) {
                complete = false;
                break;
            }
        }
        self.repo.views().cache().let_go_of_packs(&self.repo.store);
        report.download_bytes = self.sweep_downloads(options.prune_cache)?;
        let swept = crate::referrers::sweep(self.repo);
        report.orphaned_heads = self.finish(&collector)?;
        report.referrer_bytes = swept?;
        Ok((report, complete))
    }

    /// Parts of blobs that nobody came back for; with `all` also those of a moment ago.
    fn sweep_downloads(&self, all: bool) -> Result<u64> {
        let age = if all { Duration::ZERO } else { DOWNLOADS_LAST };
        let directory = self.repo.layout().downloads();
        cairn_registry::sweep(&directory, age).at("collect downloads in", &directory)
    }

    /// What is small: directories that nothing names, a long journal, the reserve.
    fn finish(&self, collector: &Collector) -> Result<u64> {
        let dropped = self.repo.heads().drop_orphans(collector);
        match self.repo.store.db().compact() {
            // What could be freed is freed; a shorter journal has to wait for room.
            Err(e) if e.is_full() => {}
            done => done?,
        }
        self.repo.store.fill_reserve();
        dropped
    }
}

/// Held by the one process that takes things away. Two that decide over the same copies could each drop the
/// one that the other keeps.
#[must_use = "others may take things away once this is dropped"]
pub(crate) struct Collector {
    _lock: File,
}

impl Repo {
    /// Waits until no other collection, repair or backup is under way.
    pub(crate) fn only_collector(&self) -> Result<Collector> {
        let path = self.layout().gc_lock();
        let mut options = File::options();
        options.create(true).write(true).truncate(false).mode(0o600);
        let disk = self.store.disk();
        let file = disk.with_room(|| options.open(&path)).at("open", &path)?;
        file.lock().at("lock", &path)?;
        Ok(Collector { _lock: file })
    }
}
