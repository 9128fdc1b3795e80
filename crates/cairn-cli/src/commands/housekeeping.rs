//! `gc`, `stats`, `check`.

use std::path::Path;

use anyhow::Result;
use cairn_model::path_display;
use cairn_repo::{AffectedHead, CheckReport, GcOptions, Repo, Share, Stats};
use cairn_runtime::{State, Status};
use cairn_store::{Scope, ScrubOptions, choose};
use serde_json::{Value, json};

use super::Env;
use crate::args::Check;
use crate::output::{self, Table, size};
use crate::progress::Bar;

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
    Ok(())
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

/// `cairn check`
pub fn check(env: &Env, args: &Check) -> Result<u8> {
    let bar = Bar::new(if args.repair { "repairing" } else { "checking" });
    let scope = match (args.fast, args.sample, args.max_age) {
        (true, ..) => Scope::Structure,
        (_, Some(share), _) => Scope::Share(share),
        (_, _, Some(age)) => Scope::OlderThan(age),
        _ => Scope::All,
    };
    let progress = |bytes| bar.add(bytes);
    let (repo, report) = if args.repair {
        Repo::repair_at(&env.root, env.options()?, &progress)?
    } else {
        let repo = env.open()?;
        // What is damaged may keep this from being known; the check itself says so.
        if !args.cache
            && let Ok((packs, _)) = choose(repo.store(), scope)
        {
            bar.expect(packs.iter().map(|pack| pack.bytes).sum());
        }
        let rate = args.rate;
        let options = ScrubOptions { scope, rate };
        let mut report = if args.cache {
            CheckReport::default()
        } else {
            repo.check().packs(&options, &progress)?
        };
        if args.cache || scope == Scope::All {
            // A cache that cannot be looked at says nothing of the rest.
            match repo.check().cache(&options, &progress) {
                Ok(cache) => report.cache = cache,
                Err(e) if args.cache => return Err(e.into()),
                Err(e) => report.unread.push(cairn_model::one_line(&e)),
            }
        }
        (repo, report)
    };
    drop(bar);
    let code = match (report.is_sound(), report.unread.is_empty()) {
        (false, _) => 3,
        (true, false) => 1,
        (true, true) => 0,
    };
    if env.json {
        output::json(&check_json(&repo, &report))?;
        return Ok(code);
    }
    for line in &report.repaired {
        println!("{line}");
    }
    for line in &report.lost {
        println!("lost: {line}");
    }
    for fault in &report.faults {
        println!("{fault}");
    }
    for line in &report.unread {
        println!("not read: {line}");
    }
    for blob in &report.affected {
        println!("blob {}: {}", blob.blob, blob.why);
        for (layer, path) in &blob.files {
            match path {
                Some(path) => println!(
                    "  needed by /{} of layer {}",
                    path_display(path),
                    layer.short()
                ),
                None => println!("  needed by all of layer {}", layer.short()),
            }
        }
    }
    for image in &report.images {
        println!("image {image} is affected; import it again to restore it");
    }
    for snapshot in &report.snapshots {
        println!("snapshot {snapshot} is affected");
    }
    for head in &report.heads {
        println!("{}", head_line(&repo, head));
    }
    for fault in &report.cache.faults {
        match &fault.stays {
            None => println!("{}; it was recreated", fault.what),
            Some(why) => println!("{}; it could not be recreated: {why}", fault.what),
        }
    }
    if let Some(why) = report
        .forgotten
        .as_ref()
        .or(report.cache.forgotten.as_ref())
    {
        eprintln!("cairn: cannot record what was verified: {why}");
    }
    let verdict = if report.is_sound() {
        if report.unread.is_empty() {
            "all sound"
        } else {
            "no known damage, but some data could not be read"
        }
    } else {
        "damage found; everything not listed above is intact"
    };
    let skipped = match report.packs_skipped {
        0 => String::new(),
        n => format!(" ({n} were verified recently)"),
    };
    let cache = &report.cache;
    if cache.views + cache.objects + cache.objects_skipped > 0 {
        let skipped = match cache.objects_skipped {
            0 => String::new(),
            n => format!(" ({n} were verified recently)"),
        };
        println!(
            "cache: verified {} in {} files{skipped}, {} views",
            size(cache.bytes),
            cache.objects,
            cache.views
        );
    }
    if args.cache {
        println!("{verdict}");
        return Ok(code);
    }
    println!(
        "verified {} in {} blobs, {} packs{skipped}, {} layers; {verdict}",
        size(report.bytes),
        report.blobs,
        report.packs,
        report.layers
    );
    Ok(code)
}

fn is_running(repo: &Repo, head: &AffectedHead) -> bool {
    head.container.as_ref().is_some_and(|container| {
        let state = State::load(&repo.containers().dir(&container.id));
        state.status == Status::Running
    })
}

fn head_line(repo: &Repo, head: &AffectedHead) -> String {
    match (&head.container, &head.mountpoint) {
        (Some(container), _) if is_running(repo, head) => format!(
            "container {} is running on it: files it has not read yet may be unreadable",
            container.name
        ),
        (Some(container), _) => format!("container {} uses it", container.name),
        (None, place) => format!(
            "snapshot {} is mounted at {}",
            head.snapshot,
            place.as_deref().unwrap_or("an unknown path")
        ),
    }
}

fn check_json(repo: &Repo, report: &CheckReport) -> Value {
    let head = |head: &AffectedHead| {
        json!({
            "snapshot": head.snapshot.to_string(),
            "container": head.container.as_ref().map(|c| c.name.clone()),
            "running": is_running(repo, head),
            "mountpoint": head.mountpoint,
        })
    };
    let file = |(layer, path): &cairn_repo::Place| json!({"layer": layer.to_string(), "path": path.as_ref().map(|p| path_display(p))});
    let affected = |hit: &cairn_repo::Affected| json!({"blob": hit.blob.to_string(), "why": hit.why, "files": hit.files.iter().map(file).collect::<Vec<_>>()});
    let cache_fault = |fault: &cairn_repo::CacheFault| json!({"what": fault.what, "made_again": fault.stays.is_none(), "why_not": fault.stays});
    json!({
        "sound": report.is_sound(),
        "packs": report.packs,
        "packs_skipped": report.packs_skipped,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "layers_whole": report.layers,
        "faults": report.faults,
        "hits": report.affected.iter().map(affected).collect::<Vec<_>>(),
        "images": report.images,
        "snapshots": report.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "heads": report.heads.iter().map(head).collect::<Vec<_>>(),
        "unread": report.unread,
        "repaired": report.repaired,
        "lost": report.lost,
        "cache": {
            "views": report.cache.views,
            "objects": report.cache.objects,
            "objects_skipped": report.cache.objects_skipped,
            "bytes": report.cache.bytes,
            "faults": report.cache.faults.iter().map(cache_fault).collect::<Vec<_>>(),
        },
    })
}
