//! One mount of a bundle, made detached.

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_view::detached::{Context, Refused};
use rustix::mount::MountAttrFlags;

use super::ids::{self, Users};
use super::rootfs::{attributes, is_directory};
use super::spec::{BundleMount, BundleMountKind, BundleSpace, BundleSpec};
use crate::cgroup::GroupPlace;
use crate::detached::clone;
use crate::error::{Error, Result, Step};

/// A mount that is attached nowhere yet.
pub struct Made {
    /// The mount.
    pub mount: OwnedFd,
    /// What it shows is a directory.
    pub is_directory: bool,
    /// Nothing is missing in it.
    pub whole: bool,
}

/// Makes it, without the attributes that [`finish`] gives it.
pub fn make(
    mount: &BundleMount,
    spec: &BundleSpec,
    places: &[GroupPlace],
    users: Option<&Users>,
) -> Result<Made> {
    let made = |mount: OwnedFd, whole: bool| {
        let is_directory = is_directory(&mount)?;
        Ok(Made {
            mount,
            is_directory,
            whole,
        })
    };
    match &mount.what {
        BundleMountKind::Bind { source, recursive } => {
            let tree = clone(source, *recursive)?;
            if let Some((maps, below)) = &mount.ids {
                let namespace = match (maps.uids.is_empty(), users) {
                    // Without ids of its own it is shown as the container's namespace has it.
                    (true, Some(users)) => &users.namespace,
                    (true, None) => {
                        return Err(Error::Invalid(
                            "mapped ids need a user namespace, or ids of the mount".into(),
                        ));
                    }
                    (false, _) => &ids::for_mounts(maps)?,
                };
                cairn_sys::mount_map_ids(&tree, namespace, *below)
                    .step("map the ids of the mount (its file system must be one that can)")?;
            }
            made(tree, true)
        }
        BundleMountKind::Groups { unified } => {
            let (groups, whole) = super::groups::mount(places, *unified)?;
            made(groups, whole)
        }
        BundleMountKind::FileSystem {
            kind,
            source,
            options,
        } => {
            let options: Result<Vec<String>> = match users {
                Some(users) if kind == "tmpfs" || kind == "devpts" => options
                    .iter()
                    .map(|option| users.ids.option(option))
                    .collect(),
                _ => Ok(options.clone()),
            };
            let mounted = file_system(kind, source.as_deref(), &options?, attributes(mount.set));
            match (mounted, &spec.spaces.network) {
                // Of a network namespace that this process does not rule the host's is shown, as read-only.
                (Err(_), BundleSpace::Caller | BundleSpace::Path(_)) if kind == "sysfs" => {
                    let sys = clone(Path::new("/sys"), true)?;
                    cairn_sys::mount_read_only(&sys, true).step("make /sys read-only")?;
                    made(sys, true)
                }
                (mounted, _) => {
                    let mounted = mounted?;
                    if let ("devpts" | "mqueue" | "tmpfs", Some(users)) = (kind.as_str(), users) {
                        super::nodes::give(&mounted, users)?;
                    }
                    made(mounted, true)
                }
            }
        }
    }
}

/// A file system of any type, detached.
pub fn file_system(
    kind: &str,
    source: Option<&str>,
    options: &[String],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let refused = |with: String| {
        move |refused: Refused| Error::Step {
            step: format!("create a {kind} file system{with}{}", refused.hint),
            source: refused.source,
        }
    };
    let context = Context::open(kind).map_err(refused(String::new()))?;
    if let Some(source) = source.filter(|source| !source.is_empty()) {
        let done = context.set("source", Path::new(source));
        done.map_err(refused(format!(" of {source}")))?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => context.set(key, Path::new(value)),
            None => context.flag(option),
        }
        .map_err(refused(format!(" with {option}")))?;
    }
    context.mount(attributes).map_err(refused(String::new()))
}

/// Gives it its attributes, while it is not attached yet.
pub fn finish(mount: &BundleMount, made: &OwnedFd) -> Result<()> {
    let change = |set: u64, clear: u64, below: bool| match (set, clear) {
        (0, 0) => Ok(()),
        _ => cairn_sys::mount_change(made, set, clear, 0, below).step("set its attributes"),
    };
    change(mount.set_below, mount.clear_below, true)?;
    change(mount.set, mount.clear, false)
}
