//! Which namespaces the process is in: its own, or ones that are there.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result, Step};
use crate::spec::{LaunchSpec, Network, Space};
use crate::state::start_ticks;
use crate::users;

/// Makes and joins namespaces, and sets what belongs to them. A user namespace is made, and handed out to be
/// entered when nothing is left to do that takes privileges.
pub fn enter(spec: &LaunchSpec) -> Result<Option<OwnedFd>> {
    let own = join_others(spec)?;
    let made = match (&spec.ids, &spec.kept) {
        (Some(range), _) => Some(users::make(range, own)?),
        (None, Some(kept)) => {
            let (uids, gids) = kept.maps();
            Some(users::make_mapped(&uids, &gids, own)?)
        }
        (None, None) => None,
    };
    let users = match made {
        None => {
            unshare(own | CloneFlags::CLONE_NEWNS).step("create namespaces")?;
            None
        }
        Some(spaces) => {
            spaces.join()?;
            // The mounts are the host's: root of the container changes none of them.
            unshare(CloneFlags::CLONE_NEWNS).step("create namespaces")?;
            Some(spaces.user)
        }
    };
    if matches!(spec.network, Network::None | Network::User(_)) {
        cairn_sys::loopback_up().step("bring the loopback interface up")?;
    }
    if spec.uts == Space::Private {
        nix::unistd::sethostname(&spec.hostname)
            .step(format!("set the host name {}", spec.hostname))?;
    }
    for (name, value) in &spec.sysctls {
        // They are those of the namespaces that this process is in now.
        let path = Path::new("/proc/sys").join(name);
        let written = match &spec.ids {
            // Those of networks ask for a capability, the others for their owner.
            Some(range) if !name.starts_with("net/") => {
                range.as_root(|| std::fs::write(&path, value))?
            }
            _ => std::fs::write(&path, value),
        };
        written.step(format!("set kernel parameter {name} to {value}"))?;
    }
    Ok(users)
}

/// Joins namespaces that are there; the kinds of those that the container has for itself.
fn join_others(spec: &LaunchSpec) -> Result<CloneFlags> {
    let mut own = CloneFlags::empty();
    // Those that are there first, while all of them can still be seen.
    match &spec.network {
        Network::Host => {}
        Network::None | Network::User(_) => own |= CloneFlags::CLONE_NEWNET,
        Network::Namespace(path) => join(path, CloneFlags::CLONE_NEWNET)?,
        Network::Container { pid, ticks, .. } => {
            join_of(*pid, *ticks, "net", CloneFlags::CLONE_NEWNET)?;
        }
    }
    for (space, kind, file) in [
        (&spec.ipc, CloneFlags::CLONE_NEWIPC, "ipc"),
        (&spec.uts, CloneFlags::CLONE_NEWUTS, "uts"),
    ] {
        match space {
            Space::Private => own |= kind,
            Space::Host => {}
            Space::Container { pid, ticks, .. } => join_of(*pid, *ticks, file, kind)?,
        }
    }
    Ok(own)
}

/// Joins a namespace of the process that has this number and began at this time.
pub(crate) fn join_of(pid: i32, ticks: u64, file: &str, kind: CloneFlags) -> Result<()> {
    let namespace = open_of(pid, ticks, file)?;
    setns(namespace.as_fd(), kind).step(format!("join /proc/{pid}/ns/{file}"))
}

/// A namespace of the process that has this number and began at this time.
pub(crate) fn open_of(pid: i32, ticks: u64, file: &str) -> Result<File> {
    let gone = || {
        Error::Invalid(format!(
            "the container whose {file} namespace to join has exited"
        ))
    };
    let path = format!("/proc/{pid}/ns/{file}");
    let namespace = match File::open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
        opened => opened.step(format!("open {path}"))?,
    };
    // The number is still that process's, so the file was, too.
    if start_ticks(pid) != Some(ticks) {
        return Err(gone());
    }
    Ok(namespace)
}

fn join(path: &Path, kind: CloneFlags) -> Result<()> {
    let namespace = File::open(path).step(format!("open {}", path.display()))?;
    // The kind is checked: a namespace of another one is refused.
    setns(namespace.as_fd(), kind).step(format!("join the network namespace {}", path.display()))
}
