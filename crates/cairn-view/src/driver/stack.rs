//! An overlay over lowers that are open already: what the drivers with a writable upper have in common.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cairn_layer::{
    Limits, OverlayAttributes, Scanned, Tree, Upper, checkout_for_overlay, commit_upper,
};
use cairn_model::Head;
use cairn_store::{Feeder, Store};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::head;
use crate::detached::{Context, Refused, Users, clone, map_ids};
use crate::error::Result;

/// What goes into an overlay.
pub(super) struct Stack<'a> {
    /// Topmost first.
    pub lowers: &'a [OwnedFd],
    /// Lowers of which only the data is seen, through redirects of the others.
    pub data: &'a [PathBuf],
    /// Mounts that are such lowers, looked into before them.
    pub contents: &'a [OwnedFd],
    pub head: Option<&'a Head>,
    /// Where overlayfs keeps its own things.
    pub attributes: OverlayAttributes,
    /// What the ids of the head mean; the lowers are mapped already. Data is read by overlayfs itself.
    pub users: Users<'a>,
}

/// Mounts an overlay, detached.
pub(super) fn overlay(stack: &Stack<'_>) -> Result<OwnedFd, Refused> {
    let context = Context::open("overlay")?;
    match stack.attributes {
        // A chmod or rename of a large file writes no data, which a commit then need not read.
        OverlayAttributes::Trusted => {
            context.set("metacopy", Path::new("on"))?;
            context.set("redirect_dir", Path::new("on"))?;
        }
        // Neither is there: anybody could set the attributes that would lead to the data.
        OverlayAttributes::User => context.flag("userxattr")?,
    }
    for (key, value) in [
        ("source", "cairn"),
        // An index would tie the upper to inodes of its lowers, which an eviction makes anew.
        ("index", "off"),
        ("xino", "auto"),
    ] {
        context.set(key, Path::new(value))?;
    }
    for lower in stack.lowers {
        context.set_fd("lowerdir+", lower.as_fd())?;
    }
    for content in stack.contents {
        context.set_fd("datadir+", content.as_fd())?;
    }
    for directory in stack.data {
        context.set("datadir+", directory)?;
    }
    // Held until overlayfs has it: a detached mount ends with its descriptor.
    let _mapped = match stack.head {
        Some(head) if stack.users.is_some() => Some(set_mapped_head(&context, head, stack.users)?),
        Some(head) => {
            context.set("upperdir", &head.upper)?;
            context.set("workdir", &head.work)?;
            None
        }
        None => None,
    };
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, stack.head.is_none());
    context.mount(attributes)
}

/// Both directories of a head by one mount, as overlayfs wants it. That mount shows the directory above the
/// head's, so that the table of mounts still tells which head is written to.
fn set_mapped_head(context: &Context, head: &Head, users: Users<'_>) -> Result<OwnedFd, Refused> {
    let above = head.upper.parent().and_then(Path::parent);
    let above = above.ok_or_else(|| Refused::new("finding the head", Errno::INVAL))?;
    let mount = clone(above, false)?;
    map_ids(&mount, users, above)?;
    for (key, path) in [("upperdir", &head.upper), ("workdir", &head.work)] {
        let opened = path
            .strip_prefix(above)
            .map_err(|_| Errno::INVAL)
            .and_then(|below| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                openat2(&mount, below, flags, Mode::empty(), resolve)
            })
            .map_err(|e| Refused::new(format!("opening {}", path.display()), e))?;
        context.set_fd(key, opened.as_fd())?;
    }
    Ok(mount)
}

/// Gives a new upper the attributes of its root, as overlayfs has to find them.
pub(super) fn start_head(
    store: &Store,
    upper: &Path,
    root: &Tree,
    attributes: OverlayAttributes,
) -> Result<()> {
    head::begin(upper.parent().unwrap_or(upper), attributes)?;
    checkout_for_overlay(store, root, upper, attributes)?;
    Ok(())
}

/// Reads what overlayfs wrote.
pub(super) fn read_head(
    store: &Store,
    head: &Path,
    parent: &Tree,
    feeder: Feeder,
    limits: Limits,
) -> Result<Scanned> {
    let (attributes, owners) = head::attributes_of(head);
    let upper = Upper {
        directory: &head::upper(head),
        attributes,
        owners,
    };
    Ok(commit_upper(store, &upper, parent, feeder, limits)?)
}
