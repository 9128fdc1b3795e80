//! How others mount what is here: mount(2) with words alone, as containerd, its shims and runc do it.

use std::path::Path;

use cairn_model::{Head, MappedIds, Meta, MountPlan, SnapshotKey};
use cairn_repo::Repo;

use crate::ids::are_in_place;
use crate::kept::Kept;
use crate::proto::types::Mount;
use crate::status::Failure;

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::Invalid(format!("the path {} is not UTF-8", path.display())))
}

fn bind(directory: &Path, writable: bool) -> Result<Mount, Failure> {
    let mode = if writable { "rw" } else { "ro" };
    Ok(Mount {
        r#type: "bind".into(),
        source: text(directory)?,
        target: String::new(),
        options: vec![mode.into(), "rbind".into()],
    })
}

/// One lower, whatever the depth: the options take a few hundred bytes.
fn overlay(lower: &Path, head: &Head, flags: &[&str]) -> Result<Mount, Failure> {
    let mut options: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    options.push(format!("workdir={}", text(&head.work)?));
    options.push(format!("upperdir={}", text(&head.upper)?));
    options.push(format!("lowerdir={}", text(lower)?));
    Ok(Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options,
    })
}

/// As [`cairn_view::mount`] mounts it: a change of mode or name copies no data up, and no index ties a head to the
/// inodes of a view, which may be made anew.
const TRUSTED: [&str; 4] = ["index=off", "metacopy=on", "redirect_dir=on", "xino=auto"];
/// In a user namespace.
const USER: [&str; 3] = ["index=off", "userxattr", "xino=auto"];

/// How a snapshot is to be mounted, beside its plan.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Something is below its head, or will be. Where nothing is, the head is mounted by itself, as every snapshotter
    /// does it.
    has_lower: bool,
    /// It is complete, and the client is to see so by a mount that is read-only.
    staged: bool,
    /// The ids it shows, and the root directory that is to be shown so.
    ids: Option<(MappedIds, Meta)>,
}

impl Shape {
    /// Of the snapshot `key`, for a container with these ids. Where all files have been given to it already, by a client
    /// that does not know of ids in mounts, they stay as they are.
    pub fn of(
        repo: &Repo,
        key: &SnapshotKey,
        ids: Option<MappedIds>,
        has_lower: bool,
    ) -> Result<Self, Failure> {
        let with_root = |ids| Ok::<_, Failure>((ids, repo.snapshots().root(key)?));
        let ids = ids.map(with_root).transpose()?;
        Ok(Self {
            has_lower,
            staged: false,
            ids: ids.filter(|(ids, root)| !are_in_place(ids, root)),
        })
    }

    /// The same, complete or not.
    pub fn staged(self, staged: bool) -> Self {
        Self { staged, ..self }
    }
}

/// What a plan comes to. Views that only descriptors can mount are kept mounted by `kept`.
pub(crate) fn mounts(plan: &MountPlan, shape: &Shape, kept: &Kept) -> Result<Vec<Mount>, Failure> {
    let ids = shape.ids.as_ref().map(|(ids, _)| ids);
    let head = match plan {
        MountPlan::Packs(plan) => plan.head.as_ref(),
        MountPlan::Erofs(plan) | MountPlan::ErofsLoop(plan) => plan.head.as_ref(),
        MountPlan::Overlay(plan) | MountPlan::OverlayUser(plan) => plan.head.as_ref(),
        MountPlan::Copy(plan) if ids.is_none() => {
            return Ok(vec![bind(&plan.directory, plan.writable)?]);
        }
        MountPlan::Copy(_) => None,
    };
    let lower = || kept.lower(plan, ids);
    let Some(head) = head else {
        return Ok(vec![bind(&lower()?, false)?]);
    };
    if let (Some((ids, root)), Some(directory)) = (&shape.ids, head.upper.parent()) {
        // Before anything is written to it, and only where the kernel can do the rest.
        lower()?;
        cairn_view::map_head(directory, ids, root).map_err(crate::Error::from)?;
    }
    if !shape.has_lower {
        return Ok(vec![bind(&head.upper, true)?]);
    }
    let flags = match plan {
        MountPlan::OverlayUser(_) => &USER[..],
        _ => &TRUSTED[..],
    };
    let mut mount = overlay(&lower()?, head, flags)?;
    if shape.staged {
        mount.options.insert(0, "ro".into());
    }
    Ok(vec![mount])
}
