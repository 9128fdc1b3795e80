//! Who the process is and what it may do: groups, ids, capabilities, system calls (capabilities(7)).

use std::os::fd::{AsFd, OwnedFd};

use cairn_sys::IdMap;
use caps::{CapSet, CapsHashSet};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid};

use super::user::User;
use crate::error::{Error, Result, Step};
use crate::seccomp::Filter;
use crate::spec::LaunchSpec;

fn failed(e: caps::errors::CapsError) -> std::io::Error {
    std::io::Error::other(e.to_string())
}

/// What a process may do once it is its user's.
pub struct Rights<'a> {
    /// Capabilities that it and its children can have at most.
    pub bounding: CapsHashSet,
    /// Those that count.
    pub effective: CapsHashSet,
    /// Those that it can take into effect.
    pub permitted: CapsHashSet,
    /// Those that programs with capabilities of their own may keep.
    pub inheritable: CapsHashSet,
    /// Those that all programs keep.
    pub ambient: CapsHashSet,
    /// Neither it nor its children may gain privileges.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub seccomp: Option<&'a Filter>,
}

impl<'a> Rights<'a> {
    fn of(spec: &'a LaunchSpec, user: &User) -> Self {
        let (keep, ambient) = (spec.capabilities.set(), spec.ambient.set());
        let root = user.uid == 0;
        let wanted = if root { keep.clone() } else { ambient.clone() };
        let inherited = if root { CapsHashSet::new() } else { ambient };
        Self {
            bounding: keep,
            effective: wanted.clone(),
            permitted: wanted,
            inheritable: inherited.clone(),
            ambient: inherited,
            no_new_privileges: spec.no_new_privileges,
            seccomp: spec.seccomp.as_ref(),
        }
    }
}

/// Becomes the user, for good. Where the process may gain privileges later, its filter of system calls is
/// installed as long as there is the privilege to do so; else [`shut`] does it at the very end.
pub fn assume(spec: &LaunchSpec, user: &User, users: Option<&OwnedFd>) -> Result<()> {
    become_one(&Rights::of(spec, user), user, users)
}

/// The same with rights of any kind.
pub fn become_one(rights: &Rights<'_>, user: &User, users: Option<&OwnedFd>) -> Result<()> {
    if let Some(users) = users {
        // It gives all capabilities over what belongs to the namespace, and takes all others.
        setns(users.as_fd(), CloneFlags::CLONE_NEWUSER).step("enter the user namespace")?;
    }
    for capability in caps::all() {
        if !rights.bounding.contains(&capability)
            && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
        {
            caps::drop(None, CapSet::Bounding, capability)
                .map_err(failed)
                .step("drop capabilities")?;
        }
    }
    set_groups(user)?;
    if let (false, Some(filter)) = (rights.no_new_privileges, rights.seccomp) {
        filter.install()?;
    }
    // What is permitted is chosen below, for root and for others.
    rustix::thread::set_keep_capabilities(true).step("keep capabilities")?;
    become_user(user)?;
    let have = caps::read(None, CapSet::Permitted)
        .map_err(failed)
        .step("read capabilities")?;
    let within = |set: &CapsHashSet, limit: &CapsHashSet| -> CapsHashSet {
        set.intersection(limit).copied().collect()
    };
    let permitted = within(&rights.permitted, &have);
    let inheritable = within(&rights.inheritable, &have);
    for (set, capabilities) in [
        // First what may come out of the permitted ones that there still are.
        (CapSet::Inheritable, &inheritable),
        (CapSet::Effective, &within(&rights.effective, &permitted)),
        (CapSet::Permitted, &permitted),
    ] {
        caps::set(None, set, capabilities)
            .map_err(failed)
            .step("set capabilities")?;
    }
    caps::clear(None, CapSet::Ambient)
        .map_err(failed)
        .step("set capabilities")?;
    for capability in within(&within(&rights.ambient, &permitted), &inheritable) {
        caps::raise(None, CapSet::Ambient, capability)
            .map_err(failed)
            .step("set capabilities")?;
    }
    rustix::thread::set_keep_capabilities(false).step("keep capabilities")?;
    if rights.no_new_privileges {
        rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
    }
    Ok(())
}

/// Sets the supplementary groups. Where the namespace has one id those of the caller stay, which have no name
/// in it: the kernel forbids to change them, so that nobody drops a group that forbids them something.
fn set_groups(user: &User) -> Result<()> {
    if IdMap::of_this_process().is_single() {
        return Ok(());
    }
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups).step("set groups")
}

fn become_user(user: &User) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    nix::unistd::setresgid(gid, gid, gid).step("set the group")?;
    nix::unistd::setresuid(uid, uid, uid).step("set the user")?;
    let uids = nix::unistd::getresuid().step("read the user back")?;
    let gids = nix::unistd::getresgid().step("read the group back")?;
    if [uids.real, uids.effective, uids.saved] != [uid; 3]
        || [gids.real, gids.effective, gids.saved] != [gid; 3]
    {
        return Err(Error::Invalid(format!(
            "could not switch to user {uid} and group {gid}"
        )));
    }
    Ok(())
}

/// The last step before the program is executed, or forked from: from here on only what the filter lets
/// through.
pub fn shut(spec: &LaunchSpec) -> Result<()> {
    shut_with(spec.no_new_privileges, spec.seccomp.as_ref())
}

/// The same for a process with this filter.
pub fn shut_with(no_new_privileges: bool, seccomp: Option<&Filter>) -> Result<()> {
    match seccomp {
        Some(filter) if no_new_privileges => filter.install(),
        _ => Ok(()),
    }
}
