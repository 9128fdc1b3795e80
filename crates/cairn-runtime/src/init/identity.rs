//! Who the process is and what it may do: groups, ids, capabilities (capabilities(7)).

use std::collections::HashSet;

use caps::{CapSet, Capability};
use nix::unistd::{Gid, Uid};

use super::user::User;
use crate::error::{Error, Result, Step};
use crate::spec::{LaunchSpec, Network};

/// Docker's default capabilities without CAP_MKNOD: there is no device control yet that would make a node
/// harmless. CAP_NET_RAW goes, too, where the network is the host's.
const CAPABILITIES: [Capability; 13] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// Becomes the user, for good.
pub fn assume(spec: &LaunchSpec, user: &User, privileged: bool) -> Result<()> {
    let failed = |e: caps::errors::CapsError| std::io::Error::other(e.to_string());
    let mut keep: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    if spec.network == Network::Host {
        keep.remove(&Capability::CAP_NET_RAW);
    }
    for capability in caps::all() {
        if !keep.contains(&capability)
            && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
        {
            caps::drop(None, CapSet::Bounding, capability)
                .map_err(failed)
                .step("drop capabilities")?;
        }
    }
    if privileged {
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        nix::unistd::setgroups(&groups).step("set groups")?;
    } else if (user.uid, user.gid) != (0, 0) {
        return Err(Error::Invalid(
            "only the user root is available when cairn is not run as root; omit -u".into(),
        ));
    }
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
    let have = caps::read(None, CapSet::Permitted)
        .map_err(failed)
        .step("read capabilities")?;
    let wanted = if user.uid == 0 {
        have.intersection(&keep).copied().collect()
    } else {
        HashSet::new()
    };
    caps::clear(None, CapSet::Inheritable)
        .map_err(failed)
        .step("drop capabilities")?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &wanted)
            .map_err(failed)
            .step("drop capabilities")?;
    }
    if spec.no_new_privileges {
        rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
    }
    Ok(())
}
