//! `cairn optimize`.

use std::time::Instant;

use anyhow::Result;
use cairn_repo::{OptimizeOptions, OptimizeReport, Repo};
use serde::Serialize;

use super::Env;
use super::gc::give_way;
use crate::args::Optimize;
use crate::output::{self, size};
use crate::progress::Bar;

#[derive(Serialize)]
struct Optimized<'a> {
    dry_run: bool,
    #[serde(flatten)]
    report: &'a OptimizeReport,
}

/// `cairn optimize`
pub fn optimize(env: &Env, args: &Optimize) -> Result<()> {
    let begun = Instant::now();
    if args.idle {
        give_way();
    }
    let repo = Repo::open(&env.root, env.options()?)?;
    let until = args.time.and_then(|time| begun.checked_add(time));
    let report = run(env, &repo, args.dry_run, until)?;
    if env.json {
        return Ok(output::report(&Optimized {
            dry_run: args.dry_run,
            report: &report,
        })?);
    }
    print(&report, args.dry_run);
    Ok(())
}

/// Recompresses, and shows how far it is. Nobody waits for it, so everybody else goes first.
pub(super) fn run(
    env: &Env,
    repo: &Repo,
    dry_run: bool,
    until: Option<Instant>,
) -> Result<OptimizeReport> {
    if !dry_run {
        cairn_store::lower_priority();
    }
    let bar = Bar::new("recompressing");
    env.watch.report_to(bar.clone());
    let report = repo.optimize(&OptimizeOptions { dry_run, until })?;
    drop(bar);
    Ok(report)
}

/// What was recompressed, in words.
pub(super) fn print(report: &OptimizeReport, dry_run: bool) {
    if dry_run {
        match report.due_bytes {
            0 => println!("nothing to recompress"),
            bytes => println!("would look at {} in packs", size(bytes)),
        }
        return;
    }
    if report.done.packs == 0 && report.needs_bytes.is_none() {
        println!("nothing to recompress");
        return;
    }
    if report.done.packs > 0 {
        print_done(report);
    }
    if let Some(bytes) = report.needs_bytes {
        output::say(&format!(
            "the next pack needs {} of free space, below gc.max-used if that is set; free some space and run optimize again",
            size(bytes)
        ));
    } else if !report.complete {
        println!("stopped when the time was up; run optimize again to go on");
    }
}

fn print_done(report: &OptimizeReport) {
    println!(
        "recompressed {} blobs, {} of them as differences from others: {} are now {}",
        report.done.blobs,
        report.done.differences,
        size(report.done.bytes_before),
        size(report.done.bytes_after)
    );
    if report.done.left_blobs > 0 {
        println!(
            "left {} blobs as they are: views read them in place, or the time was up",
            report.done.left_blobs
        );
    }
    println!("freed {} in packs", size(report.freed_bytes));
    if report.waiting_bytes > 0 {
        println!(
            "{} cannot be freed while an import is running; run gc when it is done",
            size(report.waiting_bytes)
        );
    }
}
