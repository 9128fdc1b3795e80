//! `snapshot …`, `mount`, `unmount`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use cairn_layer::{Change, ChangeKind};
use cairn_model::{MountPlan, SnapshotKey, path_display};
use cairn_repo::{MountOptions, Repo, time};
use cairn_snapshot::{FieldPath, Filter, Kind, Labels, Snapshotter};
use serde_json::{Value, json};

use super::Env;
use crate::args::Snapshot;
use crate::output::{self, Table, Usage, ago, size};

/// `cairn snapshot …`
pub fn run(env: &Env, command: Snapshot) -> Result<()> {
    refuse_unprintable(env, &command)?;
    let repo = match &command {
        // A first snapshot of nothing is a beginning as good as an import.
        Snapshot::Prepare { parent: None, .. } => env.open_or_create()?,
        _ => env.open()?,
    };
    match command {
        Snapshot::Prepare {
            key,
            parent,
            labels,
        } => {
            let parent = parent_key(&repo, parent.as_deref())?;
            print_plan(
                env,
                &repo
                    .snapshots()
                    .prepare(&key, parent.as_ref(), parse_labels(&labels)?)?,
            )
        }
        Snapshot::View {
            key,
            parent,
            labels,
        } => {
            let parent = parent_key(&repo, parent.as_deref())?;
            print_plan(
                env,
                &repo
                    .snapshots()
                    .view(&key, parent.as_ref(), parse_labels(&labels)?)?,
            )
        }
        Snapshot::Commit { name, key, labels } => {
            repo.snapshots()
                .commit(&name, &key, parse_labels(&labels)?)?;
            if env.json {
                output::json(&snapshot_json(&repo.snapshots().stat(&name)?))?;
            }
            Ok(())
        }
        Snapshot::Rm { keys } => remove(env, &repo, &keys),
        Snapshot::Ls { filters } => list(env, &repo, &filters),
        Snapshot::Stat { key } => Ok(output::json(&snapshot_json(&repo.snapshots().stat(&key)?))?),
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
                Ok(output::json(&snapshot_json(&snapshot))?)
            } else {
                Ok(())
            }
        }
        Snapshot::Tree => tree(env, &repo),
    }
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

fn list(env: &Env, repo: &Repo, filters: &[Filter]) -> Result<()> {
    let found = repo.snapshots().walk(filters)?;
    if env.json {
        return Ok(output::json(&found.iter().map(snapshot_json).collect())?);
    }
    let mut table = Table::new(&["NAME", "KIND", "PARENT", "CREATED", ">CONTENT", ">FILES"]);
    for s in &found {
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
fn remove(env: &Env, repo: &Repo, keys: &[SnapshotKey]) -> Result<()> {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    let mut failed: Option<anyhow::Error> = None;
    for key in keys {
        let Err(e) = repo.snapshots().remove(key) else {
            removed.push(key.to_string());
            continue;
        };
        errors.push(json!({"name": key.to_string(), "error": e.to_string()}));
        // The last one is told when the command ends.
        if let Some(e) = failed.replace(e.into()) {
            output::print_error(&e);
        }
    }
    if env.json {
        output::json(&json!({"removed": removed, "errors": errors}))?;
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
    let mut out = BTreeMap::new();
    for label in labels {
        let Some((name, value)) = label.split_once('=') else {
            return Err(Usage(format!("label {label:?} has no \"=\"; use NAME=VALUE")).into());
        };
        out.insert(name.to_owned(), value.to_owned());
    }
    Ok(out)
}

fn snapshot_json(s: &cairn_snapshot::Snapshot) -> Value {
    json!({
        "name": s.key.to_string(),
        "kind": s.kind.as_str(),
        "parent": s.parent.as_ref().map(ToString::to_string),
        "labels": s.labels,
        "created": time::rfc3339(s.created.secs),
        "updated": time::rfc3339(s.updated.secs),
        "layer": s.layer.map(|l| l.to_string()),
        "content_bytes": s.usage.bytes,
        "entries": s.usage.inodes,
    })
}

fn print_plan(env: &Env, plan: &MountPlan) -> Result<()> {
    let (lowers, data, upper, work) = match plan {
        MountPlan::Erofs(plan) | MountPlan::ErofsLoop(plan) => {
            let head = plan.head.as_ref();
            let (upper, work) = (head.map(|h| &h.upper), head.map(|h| &h.work));
            (&plan.images[..], &plan.data[..], upper, work)
        }
        MountPlan::Overlay(plan) => {
            let head = plan.head.as_ref();
            let (upper, work) = (head.map(|h| &h.upper), head.map(|h| &h.work));
            (&plan.lowers[..], &[][..], upper, work)
        }
        MountPlan::Copy(plan) if plan.writable => (&[][..], &[][..], Some(&plan.directory), None),
        MountPlan::Copy(plan) => {
            let lowers = std::slice::from_ref(&plan.directory);
            (lowers, &[][..], None, None)
        }
    };
    if env.json {
        return Ok(output::json(&json!({
            "driver": plan.driver(),
            "lowers": lowers,
            "objects": data.first(),
            "data": data,
            "head": upper.map(|upper| json!({"upper": upper, "work": work})),
        }))?);
    }
    println!("driver   {}", plan.driver());
    for lower in lowers {
        println!("lower    {}", lower.display());
    }
    for directory in data {
        println!("objects  {}", directory.display());
    }
    match upper {
        Some(upper) => println!("upper    {}", upper.display()),
        None => println!("read-only"),
    }
    if let Some(work) = work {
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
    for change in &changes {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        let path = path_display(&change.path);
        println!("{letter} /{}", path.trim_start_matches('/'));
    }
    Ok(())
}

fn print_changes(env: &Env, changes: &[Change]) -> Result<()> {
    let word = |kind| match kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Deleted => "deleted",
    };
    if env.json {
        let change = |c: &Change| json!({"path": format!("/{}", path_display(&c.path).trim_start_matches('/')), "change": word(c.kind), "what": c.what, "bytes": c.bytes});
        return Ok(output::json(&changes.iter().map(change).collect())?);
    }
    for change in changes {
        let letter = word(change.kind)[..1].to_uppercase();
        let what = if change.what.is_empty() {
            String::new()
        } else {
            format!("  ({})", change.what.join(", "))
        };
        println!(
            "{letter} /{}{what}",
            path_display(&change.path).trim_start_matches('/')
        );
    }
    Ok(())
}

fn tree(env: &Env, repo: &Repo) -> Result<()> {
    let all = repo.snapshots().walk(&[])?;
    if env.json {
        return Ok(output::json(&all.iter().map(snapshot_json).collect())?);
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
