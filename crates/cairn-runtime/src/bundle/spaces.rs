//! Namespaces of a container of a bundle.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use super::ids::{self, Users};
use super::spec::{BundleSpace, BundleSpec, Spaces};
use crate::error::{Result, Step};

/// Of linux/sched.h; nix has no name for it.
pub const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

fn open(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).step(format!("open the namespace {}", path.display()))?;
    Ok(file.into())
}

/// A namespace to be joined: what it is, and its kind, which the kernel checks.
struct There {
    namespace: OwnedFd,
    kind: CloneFlags,
    path: String,
}

impl There {
    fn join(&self) -> Result<()> {
        setns(self.namespace.as_fd(), self.kind).step(format!("join the namespace {}", self.path))
    }
}

/// What the process that creates the container's process 1 has changed for its children.
pub struct ForChildren {
    pid: Option<OwnedFd>,
    time: Option<OwnedFd>,
}

/// Makes or joins the namespaces that only children are in: of processes and clocks.
pub fn for_children(spaces: &Spaces) -> Result<ForChildren> {
    let mut before = ForChildren {
        pid: None,
        time: None,
    };
    if spaces.time != BundleSpace::Caller {
        before.time = Some(open(Path::new("/proc/self/ns/time"))?);
    }
    match &spaces.time {
        BundleSpace::Caller => {}
        BundleSpace::New => {
            unshare(CLONE_NEWTIME).step("create a time namespace")?;
            if !spaces.time_offsets.is_empty() {
                std::fs::write("/proc/self/timens_offsets", &spaces.time_offsets)
                    .step("set the offsets of clocks")?;
            }
        }
        BundleSpace::Path(path) => setns(open(path)?.as_fd(), CLONE_NEWTIME)
            .step(format!("join the namespace {}", path.display()))?,
    }
    if spaces.pid != BundleSpace::Caller {
        before.pid = Some(open(Path::new("/proc/self/ns/pid"))?);
    }
    match &spaces.pid {
        BundleSpace::Caller => {}
        BundleSpace::New => unshare(CloneFlags::CLONE_NEWPID).step("create a PID namespace")?,
        BundleSpace::Path(path) => setns(open(path)?.as_fd(), CloneFlags::CLONE_NEWPID)
            .step(format!("join the namespace {}", path.display()))?,
    }
    Ok(before)
}

impl ForChildren {
    /// Gives later children the namespaces of this process again.
    pub fn restore(self) -> Result<()> {
        if let Some(pid) = self.pid {
            setns(pid.as_fd(), CloneFlags::CLONE_NEWPID).step("go back to the PID namespace")?;
        }
        if let Some(time) = self.time {
            setns(time.as_fd(), CLONE_NEWTIME).step("go back to the time namespace")?;
        }
        Ok(())
    }
}

/// Makes and joins all others, and sets what belongs to them. The user namespace is handed out, to be entered
/// when nothing is left to do that takes privileges.
pub fn enter(spec: &BundleSpec) -> Result<Option<Users>> {
    let spaces = &spec.spaces;
    let (mut own, mut there) = (CloneFlags::empty(), Vec::new());
    for (space, kind) in [
        (&spaces.network, CloneFlags::CLONE_NEWNET),
        (&spaces.ipc, CloneFlags::CLONE_NEWIPC),
        (&spaces.uts, CloneFlags::CLONE_NEWUTS),
        (&spaces.cgroup, CloneFlags::CLONE_NEWCGROUP),
    ] {
        match space {
            BundleSpace::Caller => {}
            BundleSpace::New => own |= kind,
            BundleSpace::Path(path) => there.push(There {
                namespace: open(path)?,
                kind,
                path: path.display().to_string(),
            }),
        }
    }
    there.iter().try_for_each(There::join)?;
    // Those of control groups and mounts stay the host's: root of the container changes neither.
    let of_host = CloneFlags::CLONE_NEWNS | (own & CloneFlags::CLONE_NEWCGROUP);
    let of_users = own.difference(CloneFlags::CLONE_NEWCGROUP);
    let users = ids::enter(spaces, of_users)?;
    match &users {
        Some(_) => unshare(of_host),
        None => unshare(of_host | of_users),
    }
    .step("create namespaces")?;
    if spaces.network == BundleSpace::New {
        cairn_sys::loopback_up().step("bring the loopback interface up")?;
    }
    name(spec)?;
    set_parameters(spec, users.as_ref())?;
    Ok(users)
}

fn name(spec: &BundleSpec) -> Result<()> {
    if let Some(name) = &spec.hostname {
        nix::unistd::sethostname(name).step(format!("set the host name {name}"))?;
    }
    if let Some(name) = &spec.domainname {
        std::fs::write("/proc/sys/kernel/domainname", name)
            .step(format!("set the domain name {name}"))?;
    }
    Ok(())
}

/// Kernel parameters of the namespaces that this process is in now.
fn set_parameters(spec: &BundleSpec, users: Option<&Users>) -> Result<()> {
    for (name, value) in &spec.sysctls {
        let path = Path::new("/proc/sys").join(name);
        let written = match users {
            // Those of networks ask for a capability, the others for their owner.
            Some(users) if !name.starts_with("net/") => {
                users.ids.root()?.as_root(|| std::fs::write(&path, value))?
            }
            _ => std::fs::write(&path, value),
        };
        written.step(format!("set kernel parameter {name} to {value}"))?;
    }
    Ok(())
}
