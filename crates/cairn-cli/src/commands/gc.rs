//! `cairn gc`.

use anyhow::Result;
use cairn_repo::{GcOptions, GcReport};
use serde::Serialize;

use super::Env;
use crate::output::{self, size};

/// What was collected of the repository, and beside it.
#[derive(Serialize)]
struct Collected {
    dry_run: bool,
    removed_groups: usize,
    #[serde(flatten)]
    report: GcReport,
}

/// `cairn gc`
pub fn gc(env: &Env, options: &GcOptions) -> Result<()> {
    let repo = env.open()?;
    let dry_run = options.dry_run;
    let report = repo.gc().run(options)?;
    // What a monitor that was killed left outside of the repository.
    let groups = if dry_run {
        0
    } else {
        cairn_container::sweep(&repo)?
    };
    if env.json {
        return Ok(output::report(&Collected {
            dry_run,
            removed_groups: groups,
            report,
        })?);
    }
    print_collected(&report, dry_run);
    Ok(())
}

fn print_collected(report: &GcReport, dry_run: bool) {
    let verb = if dry_run { "would free" } else { "freed" };
    println!(
        "{verb} {} in packs ({} unreferenced blobs)",
        size(report.freed_bytes),
        report.dead_blobs
    );
    if report.written_bytes > 0 {
        println!(
            "moved {} of live data to new packs",
            size(report.written_bytes)
        );
    }
    if report.waiting_bytes > 0 {
        println!(
            "{} cannot be freed while an import is running; run gc again when it is done",
            size(report.waiting_bytes)
        );
    }
    if let Some(bytes) = report.needs_bytes {
        println!(
            "some packs with dead blobs were not rewritten: that needs {} of free space; free some space and run gc again",
            size(bytes)
        );
    }
    if report.evicted.bytes > 0 {
        println!(
            "freed {} in the cache ({} views, {} objects)",
            size(report.evicted.bytes),
            report.evicted.views,
            report.evicted.objects
        );
    }
    if report.stale_views > 0 {
        println!(
            "removed {} views whose mounts no longer exist",
            report.stale_views
        );
    }
    if report.orphaned_heads > 0 {
        println!(
            "removed the changes of {} snapshots that no longer exist",
            report.orphaned_heads
        );
    }
}
