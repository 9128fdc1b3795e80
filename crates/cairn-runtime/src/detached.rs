//! Mounts that are attached nowhere yet (as `cairn_view::detached` makes them, with this crate's words for
//! what failed), and the attaching of them (move_mount(2)).

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_view::detached::{Context, Refused};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Error, Result, Step};

/// Neither programs, nor their set-user-id bits, nor devices.
pub const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, detached. `options` are `key=value` and flags, with commas.
pub fn filesystem(kind: &str, options: &str, attributes: MountAttrFlags) -> Result<OwnedFd> {
    let refused = |with: String| {
        // The kernel's own words say which option it did not like, and why.
        move |refused: Refused| Error::Step {
            step: format!("create a {kind} file system{with}{}", refused.hint),
            source: refused.source,
        }
    };
    let context = Context::open(kind).map_err(refused(String::new()))?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => context.set(key, Path::new(value)),
            None => context.flag(option),
        }
        .map_err(refused(format!(" with {option}")))?;
    }
    context.mount(attributes).map_err(refused(String::new()))
}

/// A mount of what `path` of this process's namespace shows, with all that is mounted below it.
pub fn clone(path: &Path, recursive: bool) -> Result<OwnedFd> {
    cairn_view::detached::clone(path, recursive).map_err(|refused| Error::Step {
        step: format!("open {}", path.display()),
        source: refused.source,
    })
}

/// A mount of what an open file or directory shows.
pub fn clone_fd(fd: &OwnedFd, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, "", flags).step("clone a mount")
}

/// Attaches a detached mount to an open file or directory.
pub fn attach(mount: &OwnedFd, target: &OwnedFd, name: &str) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags).step(format!("mount {name}"))
}

/// Opens a name of `directory` that leads through no link and into no other mount, without opening the file
/// itself; `None` where there is none.
pub fn open_exact(directory: &OwnedFd, name: &str) -> Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(directory, name, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => Ok(None),
        done => done.map(Some).step(format!("open {name}")),
    }
}
