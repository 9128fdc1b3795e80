//! Snapshots: what `snapshot …` and `diff` tell.

use std::path::{Path, PathBuf};

use cairn_layer::{Change, ChangeKind};
use cairn_model::{Driver, MountPlan, path_display};
use cairn_repo::time;
use cairn_snapshot::{Labels, Snapshot};
use serde::Serialize;

/// A snapshot.
#[derive(Serialize)]
pub struct SnapshotLine<'a> {
    name: String,
    kind: &'static str,
    parent: Option<String>,
    labels: &'a Labels,
    created: String,
    updated: String,
    layer: Option<String>,
    content_bytes: u64,
    entries: u64,
}

impl<'a> From<&'a Snapshot> for SnapshotLine<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            name: snapshot.key.to_string(),
            kind: snapshot.kind.as_str(),
            parent: snapshot.parent.as_ref().map(ToString::to_string),
            labels: &snapshot.labels,
            created: time::rfc3339(snapshot.created.secs),
            updated: time::rfc3339(snapshot.updated.secs),
            layer: snapshot.layer.map(|layer| layer.to_string()),
            content_bytes: snapshot.usage.bytes,
            entries: snapshot.usage.inodes,
        }
    }
}

/// What a mount plan comes to, whatever its driver.
#[derive(Serialize)]
pub struct PlanLine<'a> {
    /// Who carries it out.
    pub driver: Driver,
    /// From the top to the bottom.
    pub lowers: Vec<&'a Path>,
    /// The first of `data`.
    objects: Option<&'a PathBuf>,
    /// Directories of objects.
    pub data: &'a [PathBuf],
    /// The first of `contents`.
    pub content: Option<&'a Path>,
    /// The images by which contents are read from packs.
    pub contents: Vec<&'a Path>,
    /// The packs that they name.
    pub packs: Vec<&'a Path>,
    /// Where changes go; none where it is read-only.
    pub head: Option<HeadLine<'a>>,
}

/// Where changes go.
#[derive(Serialize)]
pub struct HeadLine<'a> {
    /// The upper directory, or the whole tree.
    pub upper: &'a Path,
    /// Where the overlay works.
    pub work: Option<&'a Path>,
}

impl<'a> From<&'a MountPlan> for PlanLine<'a> {
    fn from(plan: &'a MountPlan) -> Self {
        let images = || plan.images().iter().map(|image| &*image.file).collect();
        let (lowers, data, head): (Vec<&Path>, _, _) = match plan {
            MountPlan::Packs(own) => (images(), &own.data[..], own.head.as_ref()),
            MountPlan::Erofs(own) | MountPlan::ErofsLoop(own) => {
                (images(), &own.data[..], own.head.as_ref())
            }
            MountPlan::Overlay(own) | MountPlan::OverlayUser(own) => {
                let lowers = own.lowers.iter().map(PathBuf::as_path);
                (lowers.collect(), &[][..], own.head.as_ref())
            }
            MountPlan::Copy(own) if own.writable => (Vec::new(), &[][..], None),
            MountPlan::Copy(own) => (vec![&own.directory], &[][..], None),
        };
        let contents = match plan {
            MountPlan::Packs(own) => &own.contents[..],
            _ => &[],
        };
        let mut head = head.map(|head| HeadLine {
            upper: &head.upper,
            work: Some(&head.work),
        });
        if let MountPlan::Copy(own) = plan
            && own.writable
        {
            head = Some(HeadLine {
                upper: &own.directory,
                work: None,
            });
        }
        Self {
            driver: plan.driver(),
            lowers,
            objects: data.first(),
            data,
            content: match plan {
                MountPlan::Packs(own) => own.contents.first().map(|contents| &*contents.image.file),
                _ => None,
            },
            contents: contents.iter().map(|of| &*of.image.file).collect(),
            packs: contents
                .iter()
                .flat_map(|of| of.packs.iter().map(|pack| &*pack.path))
                .collect(),
            head,
        }
    }
}

/// A path that differs.
#[derive(Serialize)]
pub struct ChangeLine<'a> {
    /// From the root, as text.
    pub path: String,
    change: &'static str,
    /// What of it differs.
    pub what: &'a [&'static str],
    bytes: u64,
}

impl ChangeLine<'_> {
    /// A, C or D, as Docker's `diff` has it.
    pub fn letter(&self) -> char {
        let first = self.change.chars().next().unwrap_or('?');
        first.to_ascii_uppercase()
    }
}

impl<'a> From<&'a Change> for ChangeLine<'a> {
    fn from(change: &'a Change) -> Self {
        let path = path_display(&change.path);
        Self {
            path: format!("/{}", path.trim_start_matches('/')),
            change: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Changed => "changed",
                ChangeKind::Deleted => "deleted",
            },
            what: &change.what,
            bytes: change.bytes,
        }
    }
}

/// A snapshot that could not be removed.
#[derive(Serialize)]
pub struct Failure {
    /// Which.
    pub name: String,
    /// Why.
    pub error: String,
}

/// What `snapshot rm` did.
#[derive(Serialize, Default)]
pub struct RemovedSnapshots {
    /// Names of those that are gone.
    pub removed: Vec<String>,
    /// The others.
    pub errors: Vec<Failure>,
}
