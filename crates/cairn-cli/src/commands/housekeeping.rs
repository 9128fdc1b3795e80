//! `init`, `gc`, `backup`, `stats`.

use std::path::Path;

use anyhow::Result;
use cairn_repo::{GcOptions, GcReport, Repo, Share, Stats};
use serde_json::{Value, json};

use super::Env;
use crate::output::{self, Table, size};

/// `cairn init`
pub fn init(env: &Env) -> Result<()> {
    let there = Repo::open(&env.root, env.options()?).is_ok();
    let repo = env.open_or_create()?;
    let root = repo.root().display();
    if env.json {
        return Ok(output::json(
            &json!({"root": root.to_string(), "created": !there}),
        )?);
    }
    if there {
        println!("{root} is already a repository");
    } else {
        println!("created an empty repository at {root}");
    }
    Ok(())
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

/// `cairn backup`
pub fn backup(env: &Env, directory: &Path) -> Result<()> {
    let report = env.open()?.backup(directory)?;
    if env.json {
        return Ok(output::json(&json!({
            "kept_packs": report.kept_packs,
            "new_packs": report.new_packs,
            "new_bytes": report.new_bytes,
            "linked_bytes": report.linked_bytes,
            "left_out": report.left_out,
        }))?);
    }
    println!(
        "{}: added {} packs, {} ({} as hard links); {} packs were up to date",
        directory.display(),
        report.new_packs,
        size(report.new_bytes),
        size(report.linked_bytes),
        report.kept_packs
    );
    for name in &report.left_out {
        println!("skipped snapshot {name}: it is not committed");
    }
    Ok(())
}

fn shares_json(shares: &[Share]) -> Value {
    let share = |s: &Share| {
        json!({"name": s.name, "content_bytes": s.content_bytes, "exclusive_bytes": s.exclusive_bytes,
               "shared_bytes": s.shared_bytes, "freed_if_removed_bytes": s.freed_bytes})
    };
    shares.iter().map(share).collect()
}

/// `cairn stats`
pub fn stats(env: &Env) -> Result<()> {
    let repo = env.open()?;
    let s = repo.stats()?;
    super::images::note_damaged(&repo.images().list()?);
    if env.json {
        return Ok(output::json(&stats_json(&s))?);
    }
    let line =
        |sign: &str, name: &str, bytes: u64| println!("{sign} {name:<44} {:>10}", size(bytes));
    line(" ", "content of all images and snapshots", s.logical);
    line("-", "shared, whole layers", s.shared_layers);
    line("-", "holes of sparse files", s.holes);
    line("-", "shared: within a layer", s.shared_within);
    line("-", "shared: between layers", s.shared_between);
    line("=", "content, each piece once", s.unique);
    line("-", "saved by compression", s.compression);
    if let Some(base) = &s.base_root {
        line(
            "-",
            &format!("in the base {}", base.display()),
            s.base_content,
        );
    }
    line("=", "content as stored", s.stored_content);
    line("+", "manifests, tar framing, documents", s.stored_metadata);
    line("+", "dead, not yet collected", s.dead);
    line("+", "headers and directories of packs", s.pack_overhead);
    line("+", "index", s.index);
    line("+", "database and journal", s.database);
    line("+", "cache: views and objects", s.cache);
    line("+", "changes of writable snapshots", s.heads);
    line("+", "containers, leases, unfinished imports", s.other);
    line("+", "file system overhead", s.rounding);
    line("=", "disk usage, as reported by du", s.disk);
    println!(
        "\n{} blobs in {} packs; content takes {:.1} times its stored size",
        s.blobs,
        s.packs,
        s.ratio()
    );
    if s.base_root.is_some() {
        println!(
            "{} more blobs are read from the base: {} of content, {} of manifests, framing and documents",
            s.base_blobs,
            size(s.base_content),
            size(s.base_metadata)
        );
    }
    for (title, shares) in [("IMAGE", &s.images), ("LAYER", &s.layers)] {
        if shares.is_empty() {
            continue;
        }
        println!();
        let mut table = Table::new(&[
            title,
            ">CONTENT",
            ">EXCLUSIVE",
            ">SHARED",
            ">FREED IF REMOVED",
        ]);
        for share in shares {
            let cells = [
                share.content_bytes,
                share.exclusive_bytes,
                share.shared_bytes,
                share.freed_bytes,
            ];
            table.row(
                std::iter::once(share.name.clone())
                    .chain(cells.map(size))
                    .collect(),
            );
        }
        table.print()?;
    }
    Ok(())
}

fn stats_json(s: &Stats) -> Value {
    json!({
        "logical_bytes": s.logical,
        "shared_layers_bytes": s.shared_layers,
        "holes_bytes": s.holes,
        "shared_within_bytes": s.shared_within,
        "shared_between_bytes": s.shared_between,
        "unique_bytes": s.unique,
        "compression_saved_bytes": s.compression,
        "base_root": s.base_root.as_ref().map(|base| base.display().to_string()),
        "base_content_bytes": s.base_content,
        "base_metadata_bytes": s.base_metadata,
        "base_blobs": s.base_blobs,
        "stored_content_bytes": s.stored_content,
        "stored_metadata_bytes": s.stored_metadata,
        "dead_bytes": s.dead,
        "pack_overhead_bytes": s.pack_overhead,
        "index_bytes": s.index,
        "database_bytes": s.database,
        "cache_bytes": s.cache,
        "heads_bytes": s.heads,
        "other_bytes": s.other,
        "rounding_bytes": s.rounding,
        "disk_bytes": s.disk,
        "blobs": s.blobs,
        "packs": s.packs,
        "images": shares_json(&s.images),
        "layers": shares_json(&s.layers),
        "snapshots": shares_json(&s.snapshots),
    })
}
