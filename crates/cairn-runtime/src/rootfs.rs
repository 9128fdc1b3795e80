//! Builds the root file system: the view, and everything on it that is no part of the image.
//!
//! Every target is opened below the root's descriptor with openat2(RESOLVE_IN_ROOT | NO_MAGICLINKS) and
//! used by descriptor only, so that an image with hostile links in `/etc`, `/proc` or `/dev` stays inside.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    open_tree,
};

use crate::devices::{attach, mount_dev};
use crate::error::{Result, Step};
use crate::spec::LaunchSpec;

/// Files and directories of `/proc` and `/sys` that tell too much; they read as empty.
const MASKED: [&str; 9] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
];
/// What steers the kernel; it can be read.
const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// Opens a path below `root` as if it were the root directory, without opening the file itself.
pub fn open_in(root: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let path = path.trim_start_matches('/');
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(
        root,
        if path.is_empty() { "." } else { path },
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
    .step(format!("open /{path} in the container"))
}

/// A new file system, detached. `options` are `key=value` and flags, with commas.
pub fn filesystem(kind: &str, options: &str, attributes: MountAttrFlags) -> Result<OwnedFd> {
    let what = || format!("make a file system {kind}");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).step(what())?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, option),
        }
        .step(format!("{} with {option}", what()))?;
    }
    fsconfig_create(&context).step(what())?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(what())
}

fn clone(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).step(format!("open {}", path.display()))
}

/// Mounts everything; returns the root, attached at `place` in this process's own mount namespace.
pub fn build(spec: &LaunchSpec, place: &Path, privileged: bool) -> Result<OwnedFd> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("make mounts private")?;
    let root = cairn_view::mount(&spec.plan)?;
    // Device nodes of an image open nothing; those in /dev are the container's own.
    cairn_sys::mount_no_devices(&root).step("shut devices of the image off")?;
    cairn_view::attach(&root, place)?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach(
        &filesystem("proc", "", quiet)?,
        &open_in(&root, "proc")?,
        "/proc",
    )?;
    let sys = filesystem("sysfs", "", quiet | MountAttrFlags::MOUNT_ATTR_RDONLY);
    let sys = match sys {
        // A user namespace may not mount the host network's sysfs; it may show it.
        Err(_) if !privileged => {
            let sys = clone(Path::new("/sys"), true)?;
            cairn_sys::mount_read_only(&sys, true).step("make /sys read-only")?;
            sys
        }
        done => done?,
    };
    attach(&sys, &open_in(&root, "sys")?, "/sys")?;
    mount_dev(&open_in(&root, "dev")?, privileged)?;
    for tmpfs in &spec.tmpfs {
        let made = filesystem(
            "tmpfs",
            &tmpfs.options,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )?;
        attach(&made, &open_in(&root, &tmpfs.target)?, &tmpfs.target)?;
    }
    for bind in &spec.binds {
        let source = clone(&bind.source, true)?;
        if bind.read_only {
            cairn_sys::mount_read_only(&source, true)
                .step(format!("make {} read-only", bind.target))?;
        }
        attach(&source, &open_in(&root, &bind.target)?, &bind.target)?;
    }
    protect(&root)?;
    if spec.read_only {
        cairn_sys::mount_read_only(&root, false).step("make the root read-only")?;
    }
    Ok(root)
}

/// Hides and write-protects what does not belong to the container. What is not there needs neither.
fn protect(root: &OwnedFd) -> Result<()> {
    for path in READ_ONLY {
        if let Ok(target) = open_in(root, path) {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH
                | OpenTreeFlags::AT_RECURSIVE;
            let same = open_tree(&target, "", flags).step(format!("open /{path}"))?;
            cairn_sys::mount_read_only(&same, true).step(format!("make /{path} read-only"))?;
            attach(&same, &target, path)?;
        }
    }
    for path in MASKED {
        let Ok(target) = open_in(root, path) else {
            continue;
        };
        let is_directory = rustix::fs::fstat(&target)
            .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir());
        let cover = if is_directory {
            filesystem(
                "tmpfs",
                "size=0,mode=555",
                MountAttrFlags::MOUNT_ATTR_RDONLY,
            )?
        } else {
            // The container's own, and not to be changed: never an inode of the host's.
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let null = open_tree(open_in(root, "dev/null")?, "", flags).step("open /dev/null")?;
            cairn_sys::mount_read_only(&null, false).step("make a mask read-only")?;
            null
        };
        attach(&cover, &target, path)?;
    }
    Ok(())
}
