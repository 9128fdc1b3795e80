//! Mounts at their places: what is done with one once it is made, and how it goes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount};

use crate::error::{At, Result};

/// Takes away what only a container should have: setuid programs, and devices.
pub fn restrict(mount: &OwnedFd, no_setuid: bool, no_devices: bool) -> Result<()> {
    let place = Path::new("the mount");
    if no_setuid {
        cairn_sys::mount_no_setuid(mount).at("forbid setuid programs in", place)?;
    }
    if no_devices {
        cairn_sys::mount_no_devices(mount).at("forbid devices in", place)?;
    }
    Ok(())
}

/// Attaches a detached mount to `target`.
pub fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved = move_mount(mount, "", rustix::fs::CWD, target, flags);
    moved.at("attach the mount to", target)
}

/// True where something is mounted on just this directory.
pub fn is_mountpoint(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let escaped = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(Vec::new(), |mut out, byte| {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => {
                    out.extend_from_slice(format!("\\{byte:03o}").as_bytes())
                }
                _ => out.push(*byte),
            }
            out
        });
    table
        .split(|b| *b == b'\n')
        .any(|line| line.split(|b| *b == b' ').nth(4) == Some(&escaped))
}

/// Unmounts `target`. An answer "busy" is tried again for a moment; `lazy` then detaches it all the same.
pub fn unmount(target: &Path, lazy: bool) -> Result<()> {
    tracing::debug!(target = %target.display(), lazy, "unmount");
    for _ in 0..20 {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            done => return done.at("unmount", target),
        }
    }
    let flags = if lazy {
        UnmountFlags::NOFOLLOW | UnmountFlags::DETACH
    } else {
        UnmountFlags::NOFOLLOW
    };
    rustix::mount::unmount(target, flags).at("unmount", target)
}
