//! Device nodes of a container of a bundle, and links that programs expect in `/dev`.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mknodat, openat,
    statat, symlinkat,
};

use super::ids::Users;
use super::spec::{BundleMountKind, BundleSpec};
use crate::detached::{attach, clone};
use crate::error::{Error, Result, Step};
use crate::limits::{DeviceKind, DeviceNode};
use crate::rootfs::dev::{LINKS, NODES};
use crate::rootfs::place;

/// Nodes that were made.
pub struct Nodes {
    null: OwnedFd,
}

/// Gives the root of a mount to root of the container: some begin as the host's.
pub fn give(mount: &OwnedFd, users: &Users) -> Result<()> {
    let (uid, gid) = users.ids.owner(0, 0)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(mount, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .step("give a file system to the container")
}

impl Nodes {
    /// Makes what the document asks for, and the usual ones unless its `/dev` is one of the host's.
    pub fn make(root: &OwnedFd, spec: &BundleSpec, users: Option<&Users>) -> Result<Self> {
        let is_hosts = |mount: &super::spec::BundleMount| {
            mount.target.trim_end_matches('/') == "/dev"
                && matches!(mount.what, BundleMountKind::Bind { .. })
        };
        if !spec.mounts.iter().any(is_hosts) {
            for (name, major, minor) in NODES {
                let path = format!("/dev/{name}");
                let named = |node: &DeviceNode| node.path == path;
                if !spec.nodes.iter().any(named) {
                    let usual = DeviceNode {
                        path,
                        kind: DeviceKind::Character,
                        major,
                        minor,
                        mode: 0o666,
                        uid: 0,
                        gid: 0,
                    };
                    add(root, &usual, users)?;
                }
            }
            for node in &spec.nodes {
                add(root, node, users)?;
            }
            link(root)?;
        }
        Ok(Self { null: null(root)? })
    }

    /// What covers files: a `/dev/null`.
    pub fn null(&self) -> &OwnedFd {
        &self.null
    }
}

/// The container's own; the host's where it has something else there, which is shown read-only then.
fn null(root: &OwnedFd) -> Result<OwnedFd> {
    let is_null = |fd: &OwnedFd| {
        rustix::fs::fstat(fd).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && stat.st_rdev == makedev(1, 3)
        })
    };
    let placed = place::resolve(root, b"/dev/null")?;
    if let Some(null) = place::open(root, &placed)?.filter(is_null) {
        return Ok(null);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = openat(CWD, "/dev/null", flags, Mode::empty()).step("open /dev/null")?;
    match is_null(&null) {
        true => Ok(null),
        false => Err(Error::Invalid("the host's /dev/null is not one".into())),
    }
}

fn add(root: &OwnedFd, node: &DeviceNode, users: Option<&Users>) -> Result<()> {
    let made = || format!("make the device {}", node.path);
    let placed = place::resolve(root, node.path.as_bytes())?;
    let Some((name, above)) = placed.components().split_last() else {
        return Err(Error::Invalid(
            "a device cannot take the root's place".into(),
        ));
    };
    let above = place::Placed::of(above);
    let directory = place::make_anywhere(root, &above, true)?;
    let kind = match node.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Character => FileType::CharacterDevice,
    };
    let mode = Mode::from_raw_mode(node.mode);
    let device = makedev(node.major, node.minor);
    match mknodat(&directory, name.as_slice(), kind, mode, device) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            let there = statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            let same = |mode: u32| FileType::from_raw_mode(mode) == kind;
            return match there {
                Ok(stat) if stat.st_rdev == device && same(stat.st_mode) => Ok(()),
                _ => bind(root, &placed, node),
            };
        }
        // Without the right to make devices the host's are shown.
        Err(rustix::io::Errno::PERM) => return bind(root, &placed, node),
        Err(e) => return Err(e).step(made()),
    }
    chmodat(&directory, name.as_slice(), mode, AtFlags::empty()).step(made())?;
    let (uid, gid) = match users {
        Some(users) => users.ids.owner(node.uid, node.gid)?,
        None => (node.uid, node.gid),
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(&directory, name.as_slice(), Some(uid), Some(gid), flags).step(made())
}

fn bind(root: &OwnedFd, placed: &place::Placed, node: &DeviceNode) -> Result<()> {
    let host = clone(Path::new(&node.path), false)?;
    let stat = rustix::fs::fstat(&host).step(format!("look at {}", node.path))?;
    if stat.st_rdev != makedev(node.major, node.minor) {
        return Err(Error::Invalid(format!(
            "the device {} cannot be made, and the host has another one there",
            node.path
        )));
    }
    let target = place::make_anywhere(root, placed, false)?;
    attach(&host, &target, &node.path)
}

fn link(root: &OwnedFd) -> Result<()> {
    let placed = place::resolve(root, b"/dev")?;
    let dev = place::make_anywhere(root, &placed, true)?;
    for (name, to) in LINKS {
        match symlinkat(to, &dev, name) {
            // The bundle has one of its own there.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e).step(format!("make /dev/{name}")),
        }
    }
    Ok(())
}
