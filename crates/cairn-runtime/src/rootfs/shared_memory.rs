//! `/dev/shm`: its own, the host's, or that of the container whose IPC namespace it has.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::detached::{QUIET, clone, clone_fd, filesystem};
use crate::error::{Result, Step};
use crate::init::namespaces::open_of;
use crate::spec::{LaunchSpec, Space};

/// A detached mount of it.
pub fn mount(spec: &LaunchSpec) -> Result<OwnedFd> {
    match spec.ipc {
        Space::Host => clone(Path::new("/dev/shm"), false),
        Space::Container { pid, ticks, .. } => of_container(pid, ticks),
        Space::Private => {
            let options = format!("mode=1777,size={}", spec.shm_bytes);
            filesystem("tmpfs", &options, QUIET)
        }
    }
}

/// What the other container shows there. A mount is cloned in its own namespace only, so this process, which has no other
/// thread, goes there and back; nothing is looked up there but this one directory, through no link.
fn of_container(pid: i32, ticks: u64) -> Result<OwnedFd> {
    let step = "take over /dev/shm of the container whose IPC namespace is shared";
    let theirs = open_of(pid, ticks, "mnt")?;
    let ours = File::open("/proc/self/ns/mnt").step(step)?;
    setns(theirs.as_fd(), CloneFlags::CLONE_NEWNS).step(step)?;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat2(CWD, "/dev/shm", flags, Mode::empty(), resolve);
    let cloned = found.step(step).and_then(|found| clone_fd(&found, false));
    setns(ours.as_fd(), CloneFlags::CLONE_NEWNS).step(step)?;
    let cloned = cloned?;
    cairn_sys::mount_quiet(&cloned).step(step)?;
    Ok(cloned)
}
