//! `cairn gc`.

use std::time::Instant;

use anyhow::Result;
use cairn_repo::{Decision, GcOptions, GcReport, JobReport, OptimizeReport, Repo, Retention};
use cairn_sys::Scheduling;
use serde::Serialize;

use super::{Env, events, optimize};
use crate::args::Gc;
use crate::output::{self, Table, size};
use crate::progress::Bar;
use crate::report::metrics;

/// sched(7)
const SCHED_IDLE: u32 = 5;
/// ioprio_set(2)
const IO_CLASS_IDLE: u16 = 3;
const IO_CLASS_SHIFT: u16 = 13;

/// What was collected of the repository, and beside it.
#[derive(Serialize)]
struct Collected<'a> {
    dry_run: bool,
    removed_groups: usize,
    #[serde(flatten)]
    job: &'a JobReport,
    /// What was recompressed, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    optimized: Option<OptimizeReport>,
}

/// `cairn gc`
pub fn gc(env: &Env, args: Gc) -> Result<()> {
    let begun = Instant::now();
    let mut options = env.options()?;
    if args.no_rules {
        options.retention = Retention::default();
    } else if !args.rules.is_empty() {
        options.retention.rules = args.rules;
    }
    let rules = options.retention.rules.iter();
    let rules: Vec<String> = rules.map(ToString::to_string).collect();
    if args.idle {
        give_way();
    }
    let without_effect = options.retention.contradictions();
    let repo = Repo::open(&env.root, options)?;
    let until = args.time.and_then(|time| begun.checked_add(time));
    let bar = Bar::new("collecting");
    env.watch.report_to(bar.clone());
    let job = repo.gc().job(&GcOptions {
        dry_run: args.dry_run,
        prune_cache: args.prune_cache,
        all: args.all,
        until,
        ..GcOptions::default()
    });
    drop(bar);
    for words in &without_effect {
        output::say(words);
    }
    if let Some(file) = &args.metrics {
        metrics::write(&repo, file)?;
    }
    let job = job?;
    // What a monitor that was killed left outside of the repository.
    let groups = match args.dry_run {
        true => 0,
        false => cairn_container::sweep(&repo)?,
    };
    if !args.dry_run {
        events::gc(&repo, job.freed_bytes());
    }
    let optimize = || match args.optimize {
        true => optimize::run(env, &repo, args.dry_run, until).map(Some),
        false => Ok(None),
    };
    if env.json {
        let optimized = optimize()?;
        return Ok(output::report(&Collected {
            dry_run: args.dry_run,
            removed_groups: groups,
            job: &job,
            optimized,
        })?);
    }
    match args.dry_run {
        true => print_plan(&job, &rules)?,
        false => print_removed(&job),
    }
    print_collected(&job.report, args.dry_run);
    print_end(&job);
    // What was removed is told whatever comes of the rest.
    if let Some(report) = &optimize()? {
        optimize::print(report, args.dry_run);
    }
    Ok(())
}

/// Lets everything else on this machine go first. Where that is refused, the job is done all the same.
pub(super) fn give_way() {
    let idle = Scheduling {
        policy: SCHED_IDLE,
        ..Scheduling::default()
    };
    let _ = cairn_sys::set_scheduling(&idle);
    let _ = cairn_sys::set_io_priority(IO_CLASS_IDLE << IO_CLASS_SHIFT);
}

fn name(decision: &Decision) -> String {
    let unnamed = || decision.id.short();
    decision.name.clone().unwrap_or_else(unnamed)
}

fn reason(rule: Option<usize>, why: &str) -> String {
    match rule {
        Some(rule) => format!("rule {rule}: {why}"),
        None => why.to_owned(),
    }
}

/// Each name with what becomes of it, where anything says so.
fn print_plan(job: &JobReport, rules: &[String]) -> Result<()> {
    let all = job.decisions.iter().chain(&job.for_room);
    let is_any = all.clone().any(|decision| decision.remove) || !job.snapshots.is_empty();
    if rules.is_empty() && !is_any {
        return Ok(());
    }
    for (rule, number) in rules.iter().zip(1..) {
        println!("rule {number}: {rule}");
    }
    let title = match job.snapshots.is_empty() {
        true => "IMAGE",
        false => "IMAGE OR SNAPSHOT",
    };
    let mut table = Table::new(&[title, "ACTION", "WHY"]);
    let action = |remove: bool| if remove { "remove" } else { "keep" }.to_owned();
    for decision in &job.snapshots {
        let why = reason(decision.rule, &decision.why);
        let name = format!("snapshot {}", decision.name);
        table.row(vec![name, action(decision.remove), why]);
    }
    for decision in all {
        let why = reason(decision.rule, &decision.why);
        table.row(vec![name(decision), action(decision.remove), why]);
    }
    Ok(table.print()?)
}

fn print_removed(job: &JobReport) {
    for decision in job.snapshots.iter().filter(|decision| decision.remove) {
        let why = reason(decision.rule, &decision.why);
        println!("removed snapshot {} ({why})", decision.name);
    }
    let all = job.decisions.iter().chain(&job.for_room);
    for decision in all.filter(|decision| decision.remove) {
        let why = reason(decision.rule, &decision.why);
        println!("removed {} ({why})", name(decision));
    }
}

fn print_end(job: &JobReport) {
    for reason in &job.nothing_because {
        println!("nothing to free: {reason}");
    }
    if !job.complete {
        println!("stopped when the time was up; run gc again to go on");
    }
    if job.still_over_bytes > 0 {
        output::say(&format!(
            "the repository is still {} over its limits; what is left is pinned, in use or kept by a rule",
            size(job.still_over_bytes)
        ));
    }
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
    if report.referrer_bytes > 0 {
        println!(
            "{verb} {} of what referred to images that are gone",
            size(report.referrer_bytes)
        );
    }
    if report.download_bytes > 0 {
        println!(
            "removed {} of unfinished downloads",
            size(report.download_bytes)
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
