//! How others mount what is here: mount(2) with words alone, as containerd, its shims and runc do it.

use std::path::Path;

use cairn_model::{Head, MountPlan};

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

/// What a plan comes to; `is_first` where nothing is below its head, which is then mounted by itself, as every snapshotter does it. Views that only descriptors can mount are kept
/// mounted by `kept`.
pub(crate) fn mounts(plan: &MountPlan, is_first: bool, kept: &Kept) -> Result<Vec<Mount>, Failure> {
    let head = match plan {
        MountPlan::Erofs(plan) | MountPlan::ErofsLoop(plan) => plan.head.as_ref(),
        MountPlan::Overlay(plan) | MountPlan::OverlayUser(plan) => plan.head.as_ref(),
        MountPlan::Copy(plan) => return Ok(vec![bind(&plan.directory, plan.writable)?]),
    };
    let Some(head) = head else {
        return Ok(vec![bind(&kept.lower(plan)?, false)?]);
    };
    if is_first {
        return Ok(vec![bind(&head.upper, true)?]);
    }
    let flags = match plan {
        MountPlan::OverlayUser(_) => &USER[..],
        _ => &TRUSTED[..],
    };
    Ok(vec![overlay(&kept.lower(plan)?, head, flags)?])
}
