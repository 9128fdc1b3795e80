//! `snapshot …`, `mount`, `unmount`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use cairn_layer::Change;
use cairn_model::{MountPlan, SnapshotKey};
use cairn_repo::{EXPIRES, MountOptions, Repo, time};
use cairn_snapshot::{FieldPath, Filter, Kind, Labels, Snapshotter};
use serde_json::json;

use super::Env;
use super::listing::Listing;
use super::pull::{Wanted, open_with};
use crate::args::{self, Snapshot};
use crate::output::{self, Table, Usage, ago, size};
use crate::report::snapshot::{ChangeLine, Failure, PlanLine, RemovedSnapshots, SnapshotLine};

/// `cairn snapshot …`
pub fn run(env: &Env, command: Snapshot) -> Result<()> {
    refuse_unprintable(env, &command)?;
    let mut pulled = None;
    let repo = match &command {
        // A first snapshot of nothing is a beginning as good as an import.
        Snapshot::Prepare { parent: None, .. } => env.open_or_create()?,
        Snapshot::Prepare {
            parent: Some(parent),
            pull,
            platform,
            ..
        } => {
            let wanted = Wanted {
                when: *pull,
                platform: platform.as_ref(),
            };
            let (repo, parent) = open_with(env, parent, wanted)?;
            pulled = Some(parent);
            repo
        }
        _ => env.open()?,
    };
    match command {
        Snapshot::Prepare {
            key,
            parent,
            labels,
            expire,
            ..
        } => {
            let parent = parent_key(&repo, pulled.or(parent).as_deref())?;
            print_plan(
                env,
                &repo
                    .snapshots()
                    .prepare(&key, parent.as_ref(), labels_until(&labels, expire)?)?,
            )
        }
        Snapshot::View {
            key,
            parent,
            labels,
            expire,
        } => {
            let parent = parent_key(&repo, parent.as_deref())?;
            print_plan(
                env,
                &repo
                    .snapshots()
                    .view(&key, parent.as_ref(), labels_until(&labels, expire)?)?,
            )
        }
        Snapshot::Commit {
            name,
            key,
            labels,
            expire,
        } => {
            repo.snapshots()
                .commit(&name, &key, labels_until(&labels, expire)?)?;
            print_committed(env, &repo, &name)
        }
        Snapshot::Save {
            name,
            key,
            labels,
            expire,
        } => {
            let snapshots = repo.snapshots();
            snapshots.save(&name, &key, labels_until(&labels, expire)?)?;
            print_committed(env, &repo, &name)
        }
        Snapshot::Restore {
            key,
            saved,
            labels,
            expire,
        } => {
            let snapshots = repo.snapshots();
            let plan = snapshots.restore(&key, &saved, labels_until(&labels, expire)?)?;
            print_plan(env, &plan)
        }
        Snapshot::Rm { force, keys } => remove(env, &repo, &keys, force),
        Snapshot::Ls { any, listing } => list(env, &repo, &any, &listing),
        Snapshot::Stat { key } => Ok(output::report(&SnapshotLine::from(
            &repo.snapshots().stat(&key)?,
        ))?),
        Snapshot::Usage { key } => usage(env, &repo, &key),
        Snapshot::Mounts { key } => print_plan(env, &repo.snapshots().mounts(&key)?),
        Snapshot::Diff { a, b } => {
            let changes = match b {
                Some(b) => repo.snapshots().diff(&a, &b)?,
                None => repo.snapshots().changes(&a)?,
            };
            print_changes(env, &changes)
        }
        Snapshot::Label { key, labels } => {
            let labels = parse_labels(&labels)?;
            let fields: Vec<FieldPath> = labels.keys().cloned().map(FieldPath::Label).collect();
            let snapshot = repo.snapshots().update(&key, labels, &fields)?;
            if env.json {
                Ok(output::report(&SnapshotLine::from(&snapshot))?)
            } else {
                Ok(())
            }
        }
        Snapshot::Tree => tree(env, &repo),
    }
}

fn print_committed(env: &Env, repo: &Repo, name: &SnapshotKey) -> Result<()> {
    if env.json {
        output::report(&SnapshotLine::from(&repo.snapshots().stat(name)?))?;
    }
    Ok(())
}

/// Paths of the repository have to fit into JSON; said before anything is made.
fn refuse_unprintable(env: &Env, command: &Snapshot) -> Result<()> {
    let gives_paths = matches!(
        command,
        Snapshot::Prepare { .. } | Snapshot::View { .. } | Snapshot::Mounts { .. }
    );
    if env.json && gives_paths && env.root.to_str().is_none() {
        return Err(Usage(format!(
            "the repository path {} is not UTF-8 and cannot be printed as JSON; omit --json",
            env.root.display()
        ))
        .into());
    }
    Ok(())
}

fn lines(snapshots: &[cairn_snapshot::Snapshot]) -> Vec<SnapshotLine<'_>> {
    snapshots.iter().map(SnapshotLine::from).collect()
}

fn list(env: &Env, repo: &Repo, any: &[Filter], args: &args::Listing) -> Result<()> {
    let listing = Listing::parse(args)?;
    let all = repo.snapshots().walk(any)?;
    let line = |snapshot: &cairn_snapshot::Snapshot| {
        serde_json::to_value(SnapshotLine::from(snapshot)).unwrap_or_default()
    };
    let found = listing.select(all, line)?;
    if listing.print(env, &found, |snapshot| snapshot.key.to_string())? {
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "KIND", "PARENT", "CREATED", ">CONTENT", ">FILES"]);
    for (s, _) in &found {
        let none = || "-".to_owned();
        // Of others it is not known without a look at their files.
        let own = |text: String| {
            if s.kind == Kind::Committed {
                text
            } else {
                none()
            }
        };
        table.row(vec![
            s.key.to_string(),
            s.kind.to_string(),
            s.parent.as_ref().map_or_else(none, ToString::to_string),
            ago(s.created.secs),
            own(size(s.usage.bytes)),
            own(s.usage.inodes.to_string()),
        ]);
    }
    Ok(table.print()?)
}

fn usage(env: &Env, repo: &Repo, key: &SnapshotKey) -> Result<()> {
    let usage = repo.snapshots().usage(key)?;
    if env.json {
        let value = json!({"bytes": usage.bytes, "inodes": usage.inodes});
        return Ok(output::json(&value)?);
    }
    println!("{} in {} files", size(usage.bytes), usage.inodes);
    Ok(())
}

/// Removes each of them; one that cannot be removed keeps none of the others.
fn remove(env: &Env, repo: &Repo, keys: &[SnapshotKey], force: bool) -> Result<()> {
    let mut done = RemovedSnapshots::default();
    let mut failed: Option<anyhow::Error> = None;
    for key in keys {
        let removed = match force {
            true => repo.snapshots().remove_any(key),
            false => repo.snapshots().remove(key),
        };
        let Err(e) = removed else {
            done.removed.push(key.to_string());
            continue;
        };
        done.errors.push(Failure {
            name: key.to_string(),
            error: e.to_string(),
        });
        // The last one is told when the command ends.
        if let Some(e) = failed.replace(e.into()) {
            output::print_error(&e);
        }
    }
    if env.json {
        output::report(&done)?;
    }
    failed.map_or(Ok(()), Err)
}

/// A committed snapshot by name, or the top of an image.
fn parent_key(repo: &Repo, name: Option<&str>) -> Result<Option<SnapshotKey>> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(key) = name.parse::<SnapshotKey>()
        && repo.snapshots().stat(&key).is_ok()
    {
        return Ok(Some(key));
    }
    match repo.images().find(name) {
        Ok(image) => Ok(image.row.top),
        // Neither: say it of a snapshot, which is what the argument is first.
        Err(cairn_repo::Error::NoImage(_)) => {
            Err(cairn_snapshot::Error::NotFound(name.parse()?).into())
        }
        Err(e) => Err(e.into()),
    }
}

fn parse_labels(labels: &[String]) -> Result<Labels> {
    let parse = |label: &String| {
        let parts = label.split_once('=');
        let parts = parts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let words = || Usage(format!("label {label:?} has no \"=\"; use NAME=VALUE"));
        Ok(parts.ok_or_else(words)?)
    };
    labels.iter().map(parse).collect()
}

/// The labels, with the date of one that is to go.
fn labels_until(labels: &[String], expire: Option<Duration>) -> Result<Labels> {
    let mut labels = parse_labels(labels)?;
    if let Some(age) = expire {
        let at = time::rfc3339(super::keep::from_now(age)?);
        labels.insert(EXPIRES.to_owned(), at);
    }
    Ok(labels)
}

fn print_plan(env: &Env, plan: &MountPlan) -> Result<()> {
    let plan = PlanLine::from(plan);
    if env.json {
        return Ok(output::report(&plan)?);
    }
    println!("driver   {}", plan.driver);
    for lower in plan.lowers {
        println!("lower    {}", lower.display());
    }
    if let Some(content) = plan.content {
        println!("content  {}", content.display());
    }
    for pack in &plan.packs {
        println!("pack     {}", pack.display());
    }
    for directory in plan.data {
        println!("objects  {}", directory.display());
    }
    match &plan.head {
        Some(head) => println!("upper    {}", head.upper.display()),
        None => println!("read-only"),
    }
    if let Some(work) = plan.head.and_then(|head| head.work) {
        println!("work     {}", work.display());
    }
    Ok(())
}

/// `cairn diff`
pub fn diff_container(env: &Env, name: &str) -> Result<()> {
    let repo = env.open()?;
    let container = repo.containers().find(name)?;
    let mut changes = repo.snapshots().changes(&container.snapshot)?;
    // A directory's time changes with what is in it, and is no change of the user's.
    changes.retain(|change| !change.path.is_empty());
    if env.json {
        return print_changes(env, &changes);
    }
    for change in changes.iter().map(ChangeLine::from) {
        println!("{} {}", change.letter(), change.path);
    }
    Ok(())
}

fn print_changes(env: &Env, changes: &[Change]) -> Result<()> {
    let changes: Vec<ChangeLine<'_>> = changes.iter().map(ChangeLine::from).collect();
    if env.json {
        return Ok(output::report(&changes)?);
    }
    for change in changes {
        let what = match change.what {
            [] => String::new(),
            what => format!("  ({})", what.join(", ")),
        };
        println!("{} {}{what}", change.letter(), change.path);
    }
    Ok(())
}

fn tree(env: &Env, repo: &Repo) -> Result<()> {
    let all = repo.snapshots().walk(&[])?;
    if env.json {
        return Ok(output::report(&lines(&all))?);
    }
    let mut children: BTreeMap<Option<&SnapshotKey>, Vec<&cairn_snapshot::Snapshot>> =
        BTreeMap::new();
    for snapshot in &all {
        children
            .entry(snapshot.parent.as_ref())
            .or_default()
            .push(snapshot);
    }
    let mut stack: Vec<(&cairn_snapshot::Snapshot, usize)> = children
        .get(&None)
        .into_iter()
        .flatten()
        .rev()
        .map(|s| (*s, 0))
        .collect();
    while let Some((snapshot, depth)) = stack.pop() {
        let own = if snapshot.kind == Kind::Committed {
            format!("  {}", size(snapshot.usage.bytes))
        } else {
            format!("  [{}]", snapshot.kind)
        };
        println!("{}{}{own}", "  ".repeat(depth), snapshot.key);
        stack.extend(
            children
                .get(&Some(&snapshot.key))
                .into_iter()
                .flatten()
                .rev()
                .map(|s| (*s, depth + 1)),
        );
    }
    Ok(())
}

/// `cairn mount`
pub fn mount(env: &Env, name: &str, target: &Path, options: MountOptions) -> Result<()> {
    let key = env.open()?.views().mount(name, target, options)?;
    if env.json {
        output::json(
            &json!({"snapshot": key.to_string(), "target": target.canonicalize()?.to_string_lossy()}),
        )?;
    }
    Ok(())
}

/// `cairn unmount`
pub fn unmount(env: &Env, target: &Path, lazy: bool) -> Result<()> {
    let place = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    let keys = env.open()?.views().unmount(target, lazy)?;
    if env.json {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        output::json(&json!({"unmounted": place.to_string_lossy(), "snapshots": keys}))?;
    }
    Ok(())
}
