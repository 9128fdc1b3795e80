//! An overlay over lowers that are open already: what the drivers with a writable upper have in common.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cairn_layer::{Limits, Scanned, Tree, checkout_for_overlay, commit_upper};
use cairn_model::Head;
use cairn_store::{Feeder, Store};
use rustix::mount::MountAttrFlags;

use crate::detached::{Context, Refused};
use crate::error::Result;

/// What goes into an overlay.
pub(super) struct Stack<'a> {
    /// Topmost first.
    pub lowers: &'a [OwnedFd],
    /// Lowers of which only the data is seen, through redirects of the others.
    pub data: &'a [PathBuf],
    pub head: Option<&'a Head>,
}

/// Mounts an overlay, detached.
pub(super) fn overlay(stack: &Stack<'_>) -> Result<OwnedFd, Refused> {
    let context = Context::open("overlay")?;
    for (key, value) in [
        ("source", "cairn"),
        // A chmod or rename of a large file writes no data, which a commit then need not read.
        ("metacopy", "on"),
        ("redirect_dir", "on"),
        // An index would tie the upper to inodes of its lowers, which an eviction makes anew.
        ("index", "off"),
        ("xino", "auto"),
    ] {
        context.set(key, Path::new(value))?;
    }
    for lower in stack.lowers {
        context.set_fd("lowerdir+", lower.as_fd())?;
    }
    for directory in stack.data {
        context.set("datadir+", directory)?;
    }
    if let Some(head) = stack.head {
        context.set("upperdir", &head.upper)?;
        context.set("workdir", &head.work)?;
    }
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, stack.head.is_none());
    context.mount(attributes)
}

/// Gives a new upper the attributes of its root, as overlayfs has to find them.
pub(super) fn start_head(store: &Store, upper: &Path, root: &Tree) -> Result<()> {
    checkout_for_overlay(store, root, upper)?;
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
    Ok(commit_upper(
        store,
        &super::upper(head),
        parent,
        feeder,
        limits,
    )?)
}
