//! What a process must not inherit from whoever typed `cairn run`: one place undoes all of it.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};

use crate::error::{Result, Step};
use crate::ulimit::Ulimit;

/// Soft and hard limits of a process in a container, as systemd and recent container engines have them: few
/// descriptors for programs that still use select(2), many for those that ask.
const LIMITS: [(Resource, u64, u64); 11] = [
    (Resource::RLIMIT_NOFILE, 1024, 524_288),
    (Resource::RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
    (Resource::RLIMIT_CORE, 0, RLIM_INFINITY),
    (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
    (Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_RSS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_LOCKS, RLIM_INFINITY, RLIM_INFINITY),
];

/// Signals: none blocked, each with its default effect. To be called right before the program is executed,
/// in the process that executes it.
pub fn signals() -> Result<()> {
    cairn_sys::default_signals();
    SigSet::empty()
        .thread_set_mask()
        .step("unblock all signals")
}

/// The mask for new files.
pub fn umask_to(mask: u32) {
    umask(Mode::from_bits_truncate(mask));
}

/// Limits, the mask for new files, keys.
pub fn surroundings(ulimits: &[Ulimit]) -> Result<()> {
    umask_to(0o022);
    for (resource, soft, hard) in LIMITS {
        // What was lowered once could not be raised again.
        if ulimits
            .iter()
            .any(|u| u.resource().is_ok_and(|r| r == resource))
        {
            continue;
        }
        // No more than this process may give.
        let (_, most) = getrlimit(resource).step("read limits")?;
        let hard = hard.min(most);
        setrlimit(resource, soft.min(hard), hard).step("set limits")?;
    }
    for limit in ulimits {
        limit.set()?;
    }
    match cairn_sys::new_session_keyring() {
        // A kernel without keys, or one that has no room for more, is no reason not to run.
        Ok(()) | Err(_) => Ok(()),
    }
}
