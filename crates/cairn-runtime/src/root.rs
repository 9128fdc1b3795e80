//! The root directory of a container, for somebody who copies from it or to it.
//!
//! What is returned stands for the directory itself. Its files are the container's, so nothing below it is to be
//! used but by descriptors, or by paths that the kernel resolves inside of it (openat2(2)).

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::MountPlan;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{Error, Result, Step};
use crate::init::read_in;
use crate::init::user::{User, look_up};
use crate::rootfs;
use crate::spec::Mount;
use crate::state::State;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Who `USER[:GROUP]` is in the files of a root directory.
pub fn user_in(root: &OwnedFd, wanted: &str) -> Result<User> {
    look_up(
        wanted,
        &read_in(root, "etc/passwd"),
        &read_in(root, "etc/group"),
    )
}

/// The root of a container that runs, with all that is mounted in it.
pub fn root_of_running(state: &State) -> Result<OwnedFd> {
    let gone = || Error::Invalid("the container is not running".into());
    let pid = state.live_pid().ok_or_else(gone)?;
    let root = openat(CWD, format!("/proc/{pid}/root"), DIRECTORY, Mode::empty());
    let root = root.step("open the container's root")?;
    // That very process still lives, so the number was its own all the time.
    state.live_pid().ok_or_else(gone)?;
    Ok(root)
}

/// The root of a container that does not run and is locked by the caller, mounted for this process alone.
pub fn root_at_rest(plan: &MountPlan) -> Result<OwnedFd> {
    if let MountPlan::Copy(plan) = plan {
        // A plain directory: also for those who may not mount.
        let root = openat(CWD, &plan.directory, DIRECTORY, Mode::empty());
        return root.step("open the container's root");
    }
    let root = cairn_view::mount(plan)?;
    cairn_sys::mount_no_devices(&root).step("disable device nodes of the image")?;
    Ok(root)
}

/// The same with what it mounts, attached at `place` in a mount namespace that this thread enters. The root itself
/// may be `read_only`.
pub fn root_at_rest_with(
    plan: &MountPlan,
    mounts: &[Mount],
    place: &Path,
    read_only: bool,
) -> Result<OwnedFd> {
    if mounts.is_empty() {
        return root_at_rest(plan);
    }
    rootfs::alone()?;
    let root = cairn_view::mount(plan)?;
    cairn_sys::mount_no_devices(&root).step("disable device nodes of the image")?;
    std::fs::create_dir_all(place).step(format!("create {}", place.display()))?;
    cairn_view::attach(&root, place)?;
    rootfs::add_all(&root, mounts)?;
    if read_only {
        cairn_sys::mount_read_only(&root, false).step("make the root read-only")?;
    }
    Ok(root)
}
