//! `cairn check`.

use anyhow::Result;
use cairn_model::path_display;
use cairn_repo::{AffectedHead, CheckReport, Place, Repo};
use cairn_runtime::{State, Status};
use cairn_store::{Scope, ScrubOptions, choose};
use serde_json::{Value, json, to_value};

use super::Env;
use crate::args::Check;
use crate::output::{self, size};
use crate::progress::Bar;

/// `cairn check`
pub fn check(env: &Env, args: &Check) -> Result<u8> {
    let (repo, report) = read(env, args)?;
    let code = match (report.is_sound(), report.unread.is_empty()) {
        (false, _) => 3,
        (true, false) => 1,
        (true, true) => 0,
    };
    if env.json {
        output::json(&check_json(&repo, &report)?)?;
        return Ok(code);
    }
    print_findings(&repo, &report);
    print_summary(&report, args.cache);
    Ok(code)
}

/// Reads what was asked for, and repairs it where that was.
fn read(env: &Env, args: &Check) -> Result<(Repo, CheckReport)> {
    let bar = Bar::new(if args.repair { "repairing" } else { "checking" });
    let scope = match (args.fast, args.sample, args.max_age) {
        (true, ..) => Scope::Structure,
        (_, Some(share), _) => Scope::Share(share),
        (_, _, Some(age)) => Scope::OlderThan(age),
        _ => Scope::All,
    };
    env.watch.report_to(bar.clone());
    if args.repair {
        return Ok(Repo::repair_at(&env.root, env.options()?)?);
    }
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
        repo.check().packs(&options)?
    };
    if args.cache || scope == Scope::All {
        // A cache that cannot be looked at says nothing of the rest.
        match repo.check().cache(&options) {
            Ok(cache) => report.cache = cache,
            Err(e) if args.cache || env.watch.is_cancelled() => return Err(e.into()),
            Err(e) => report.unread.push(cairn_model::one_line(&e)),
        }
    }
    Ok((repo, report))
}

fn print_findings(repo: &Repo, report: &CheckReport) {
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
        for place in &blob.files {
            match place {
                Place::File { layer, path } => println!(
                    "  needed by /{} of layer {}",
                    path_display(path),
                    layer.short()
                ),
                Place::Layer(layer) => println!("  needed by all of layer {}", layer.short()),
                Place::Config(image) => {
                    println!("  needed by the configuration of image {}", image.short())
                }
                _ => {}
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
        println!("{}", head_line(repo, head));
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
}

fn verdict(report: &CheckReport) -> &'static str {
    if report.is_sound() {
        if report.unread.is_empty() {
            "all sound"
        } else {
            "no known damage, but some data could not be read"
        }
    } else {
        "damage found; everything not listed above is intact"
    }
}

/// What was read, and what came of it.
fn print_summary(report: &CheckReport, only_cache: bool) {
    let verdict = verdict(report);
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
    if only_cache {
        println!("{verdict}");
        return;
    }
    println!(
        "verified {} in {} blobs, {} packs{skipped}, {} layers; {verdict}",
        size(report.bytes),
        report.blobs,
        report.packs,
        report.layers
    );
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

fn check_json(repo: &Repo, report: &CheckReport) -> Result<Value> {
    let mut value = json!({ "sound": report.is_sound() });
    if let (Value::Object(all), Value::Object(found)) = (&mut value, to_value(report)?) {
        all.extend(found);
    }
    // Who runs is known to containers, not to the repository.
    for (i, head) in report.heads.iter().enumerate() {
        value["heads"][i]["running"] = is_running(repo, head).into();
    }
    Ok(value)
}
