//! `/dev` of a container: a small file system in memory with what every process may expect.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, makedev, mkdirat, mknodat, symlinkat,
};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Result, Step};
use crate::rootfs::{filesystem, open_in};

const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Builds `/dev` on the open directory `target`.
pub fn mount_dev(target: &OwnedFd, privileged: bool) -> Result<()> {
    let dev = filesystem(
        "tmpfs",
        "mode=755,size=64m",
        MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        if privileged {
            mknodat(
                &dev,
                name,
                FileType::CharacterDevice,
                mode,
                makedev(major, minor),
            )
            .step(format!("make /dev/{name}"))?;
            rustix::fs::chmodat(&dev, name, mode, AtFlags::empty())
                .step(format!("make /dev/{name}"))?;
        } else {
            mknodat(&dev, name, FileType::RegularFile, mode, 0)
                .step(format!("make /dev/{name}"))?;
        }
    }
    for (name, link) in LINKS {
        symlinkat(link, &dev, name).step(format!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).step(format!("make /dev/{name}"))?;
        chownat(
            &dev,
            name,
            Some(Uid::ROOT),
            Some(Gid::ROOT),
            AtFlags::empty(),
        )
        .step(format!("make /dev/{name}"))?;
    }
    mknodat(
        &dev,
        "console",
        FileType::RegularFile,
        Mode::from_raw_mode(0o600),
        0,
    )
    .step("make /dev/console")?;
    attach(&dev, target, "/dev")?;
    if !privileged {
        for (name, ..) in NODES {
            let node = open_tree(
                CWD,
                format!("/dev/{name}"),
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            );
            attach(
                &node.step(format!("take /dev/{name} of the host"))?,
                &open_in(&dev, name)?,
                name,
            )?;
        }
    }
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let group = if privileged { ",gid=5" } else { "" };
    let pts = filesystem(
        "devpts",
        &format!("newinstance,ptmxmode=0666,mode=0620{group}"),
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    attach(&pts, &open_in(&dev, "pts")?, "/dev/pts")?;
    attach(
        &filesystem("tmpfs", "mode=1777,size=64m", quiet)?,
        &open_in(&dev, "shm")?,
        "/dev/shm",
    )?;
    // A kernel without message queues is no reason not to run.
    if let Ok(queues) = filesystem("mqueue", "", quiet) {
        attach(&queues, &open_in(&dev, "mqueue")?, "/dev/mqueue")?;
    }
    Ok(())
}

/// Attaches a detached mount to an open file or directory.
pub fn attach(mount: &OwnedFd, target: &OwnedFd, name: &str) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags).step(format!("mount {name}"))
}
