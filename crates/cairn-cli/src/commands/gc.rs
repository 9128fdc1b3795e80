//! `cairn gc`.

use anyhow::Result;
use cairn_repo::{GcOptions, GcReport};
use serde_json::json;

use super::Env;
use crate::output::{self, size};

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
        return Ok(output::json(&json!({
            "dry_run": dry_run,
            "freed_bytes": report.freed_bytes,
            "removed_packs": report.removed_packs,
            "written_bytes": report.written_bytes,
            "dead_blobs": report.dead_blobs,
            "waiting_bytes": report.waiting_bytes,
            "needs_bytes": report.needs_bytes,
            "evicted_views": report.evicted.views,
            "evicted_objects": report.evicted.objects,
            "evicted_bytes": report.evicted.bytes,
            "orphaned_heads": report.orphaned_heads,
            "removed_groups": groups,
            "stale_views": report.stale_views,
        }))?);
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
