//! Collection as a job: rules first, then what nothing needs, then room; and a record of the last one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cairn_model::Digest;
use serde::{Deserialize, Serialize};

use super::{Gc, GcOptions, GcReport, snapshots};
use crate::error::Result;
use crate::repo::Repo;
use crate::retention::{Decision, SnapshotDecision};
use crate::{notes, time};

/// What a job did, or would do.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct JobReport {
    /// What rules, pins and dates say of each image name.
    pub decisions: Vec<Decision>,
    /// The same of snapshots that have a date, or are those of a rule.
    pub snapshots: Vec<SnapshotDecision>,
    /// Images that went because room was needed.
    pub for_room: Vec<Decision>,
    /// Bytes over the limits of the repository that are left after it.
    pub still_over_bytes: u64,
    /// False where the time ran out first; the next job goes on from there.
    pub complete: bool,
    /// Why nothing was freed, where nothing was.
    pub nothing_because: Vec<String>,
    /// What the collection itself did.
    #[serde(flatten)]
    pub report: GcReport,
}

/// The last collection of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastJob {
    /// When it ended, RFC 3339.
    pub ended: String,
    /// The same, seconds since 1970.
    pub ended_secs: i64,
    /// How long it took.
    pub milliseconds: u64,
    /// Bytes that it freed, in packs and in the cache.
    pub freed_bytes: u64,
    /// Image names and unnamed images that it removed.
    pub removed_images: u64,
    /// Bytes over the limits of the repository that it left.
    #[serde(default)]
    pub still_over_bytes: u64,
    /// False where its time ran out, or it failed.
    pub complete: bool,
    /// Why it failed.
    pub error: Option<String>,
}

impl Gc<'_> {
    /// Removes what rules say, collects, and removes images until the repository is within its limits. The record
    /// of it is what [`Repo::last_job`] reads.
    pub fn job(&self, options: &GcOptions) -> Result<JobReport> {
        if options.dry_run {
            return self.rehearse(options);
        }
        let begun = Instant::now();
        let done = self.carry_out_job(options);
        self.record(&done, begun.elapsed());
        self.repo.note_growth("gc");
        done
    }

    fn carry_out_job(&self, options: &GcOptions) -> Result<JobReport> {
        // First, so that images on which they stand can go.
        let mut snapshots = self.snapshot_decisions()?;
        self.carry_out_snapshots(&mut snapshots)?;
        let mut decisions = self.decisions()?;
        self.carry_out(&mut decisions)?;
        let (report, complete) = self.collect(options)?;
        let mut job = JobReport {
            snapshots,
            decisions,
            report,
            complete,
            ..JobReport::default()
        };
        self.make_room(options, &mut job)?;
        job.still_over_bytes = self.missing_bytes()?;
        if job.freed_bytes() == 0 {
            job.nothing_because = self.reasons(&job)?;
        }
        Ok(job)
    }

    /// The cache first, since it can be made again, then images.
    fn make_room(&self, options: &GcOptions, job: &mut JobReport) -> Result<()> {
        let missing = self.missing_bytes()?;
        if missing == 0 || !job.complete {
            return Ok(());
        }
        self.shrink_cache(missing, job)?;
        let missing = self.missing_bytes()?;
        if missing == 0 {
            return Ok(());
        }
        job.for_room = self.least_used(missing)?;
        self.carry_out(&mut job.for_room)?;
        let (report, complete) = self.collect(options)?;
        job.report.include(&report);
        job.complete = complete;
        Ok(())
    }

    /// Makes the cache smaller by this much, as far as it is not in use.
    pub(crate) fn shrink_cache(&self, bytes: u64, job: &mut JobReport) -> Result<()> {
        let cached = self.repo.views().cache().sizes();
        let cached = cached.views_bytes() + cached.objects.values().sum::<u64>();
        let evicted = self.evict_to(Some(cached.saturating_sub(bytes)))?;
        job.report.evicted.views += evicted.views;
        job.report.evicted.objects += evicted.objects;
        job.report.evicted.bytes += evicted.bytes;
        Ok(())
    }

    fn rehearse(&self, options: &GcOptions) -> Result<JobReport> {
        let mut job = JobReport {
            still_over_bytes: self.missing_bytes()?,
            complete: true,
            snapshots: self.snapshot_decisions()?,
            decisions: self.decisions()?,
            ..JobReport::default()
        };
        let whole: HashSet<Digest> = job.whole_images().into_iter().collect();
        let policy = self.policy(options);
        // From what is remembered of layers: no manifest is read.
        let (outcome, _) = self
            .repo
            .with_removals_after(&snapshots::going(&job.snapshots), |all| {
                self.repo.collected_without(all, &whole, policy)
            })?;
        job.report.add(&outcome);
        job.report.referrer_bytes = crate::referrers::stray_bytes(self.repo)?;
        if job.still_over_bytes > job.report.freed_bytes {
            job.for_room = self.least_used(job.still_over_bytes - job.report.freed_bytes)?;
        }
        if job.freed_bytes() == 0 {
            job.nothing_because = self.reasons(&job)?;
        }
        Ok(job)
    }

    /// What keeps a collection from freeing anything, as it is now.
    fn reasons(&self, job: &JobReport) -> Result<Vec<String>> {
        let (nothing, policy) = (HashSet::new(), self.repo.options.gc);
        let (_, dead) = self
            .repo
            .with_removals(|all| self.repo.collected_without(all, &nothing, policy))?;
        let mut why = Vec::new();
        if dead > 0 {
            let share = self.repo.options.gc.dead_share_max * 100.0;
            why.push(format!(
                "{dead} bytes are unreferenced, but in packs of which less than {share}% is; \"cairn gc --all\" rewrites these too"
            ));
        } else {
            why.push("every blob is needed by an image or snapshot".to_owned());
        }
        let names = job.decisions.len();
        if self.repo.options.retention.rules.is_empty() && names > 0 {
            why.push(
                "no rule says which images may go; see \"cairn config get gc.rules\"".to_owned(),
            );
        } else if names > 0 {
            let goes = job.decisions.iter().filter(|name| name.remove).count();
            why.push(match goes {
                0 => format!("rules, pins or containers keep all of {names} image names"),
                goes => format!(
                    "{goes} names go, but their images stay by other names, or all of their layers with others"
                ),
            });
        }
        Ok(why)
    }

    /// Keeps a record of a job.
    fn record(&self, done: &Result<JobReport>, took: Duration) {
        let removed = |job: &JobReport| {
            let all = job.decisions.iter().chain(&job.for_room);
            all.filter(|decision| decision.remove).count() as u64
        };
        let job = done.as_ref().ok();
        let record = LastJob {
            ended: time::rfc3339_now(),
            ended_secs: time::now_secs(),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            freed_bytes: job.map_or(0, JobReport::freed_bytes),
            removed_images: job.map_or(0, removed),
            still_over_bytes: job.map_or(0, |job| job.still_over_bytes),
            complete: job.is_some_and(|job| job.complete),
            error: done.as_ref().err().map(|e| cairn_model::one_line(e)),
        };
        notes::write(&self.repo.layout().gc_record(), &record);
    }
}

impl JobReport {
    /// Bytes freed in packs, in the cache, and of what referred to images.
    pub fn freed_bytes(&self) -> u64 {
        self.report.freed_bytes + self.report.evicted.bytes + self.report.referrer_bytes
    }

    /// Images that go by all their names.
    fn whole_images(&self) -> Vec<Digest> {
        let mut stays: Vec<Digest> = Vec::new();
        let mut goes: Vec<Digest> = Vec::new();
        for decision in &self.decisions {
            match decision.remove {
                true => goes.push(decision.id),
                false => stays.push(decision.id),
            }
        }
        goes.retain(|id| !stays.contains(id));
        goes.sort_unstable();
        goes.dedup();
        goes
    }
}

impl GcReport {
    /// Adds what a second collection of the same job did.
    fn include(&mut self, later: &Self) {
        self.freed_bytes += later.freed_bytes;
        self.removed_packs += later.removed_packs;
        self.written_bytes += later.written_bytes;
        self.dead_blobs += later.dead_blobs;
        self.waiting_bytes = later.waiting_bytes;
        self.needs_bytes = later.needs_bytes;
        self.evicted.views += later.evicted.views;
        self.evicted.objects += later.evicted.objects;
        self.evicted.bytes += later.evicted.bytes;
        self.orphaned_heads += later.orphaned_heads;
        self.stale_views += later.stale_views;
        self.download_bytes += later.download_bytes;
        self.referrer_bytes += later.referrer_bytes;
    }
}

impl Repo {
    /// The last collection that ran to its end or failed; none where there is no record.
    pub fn last_job(&self) -> Option<LastJob> {
        notes::read(&self.layout().gc_record())
    }
}
