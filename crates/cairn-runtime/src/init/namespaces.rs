//! Which namespaces the process is in: its own, or ones that are there.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result, Step};
use crate::spec::{LaunchSpec, Network, Space};
use crate::state::start_ticks;

/// Makes and joins namespaces, and sets what belongs to them.
pub fn enter(spec: &LaunchSpec) -> Result<()> {
    let mut own = CloneFlags::CLONE_NEWNS;
    // Those that are there first, while all of them can still be seen.
    match &spec.network {
        Network::Host => {}
        Network::None => own |= CloneFlags::CLONE_NEWNET,
        Network::Namespace(path) => join(path, CloneFlags::CLONE_NEWNET)?,
    }
    for (space, kind, file) in [
        (&spec.ipc, CloneFlags::CLONE_NEWIPC, "ipc"),
        (&spec.uts, CloneFlags::CLONE_NEWUTS, "uts"),
    ] {
        match space {
            Space::Private => own |= kind,
            Space::Host => {}
            Space::Container(pid, ticks) => {
                let gone = || {
                    Error::Invalid(format!(
                        "the container whose {file} namespace to join has exited"
                    ))
                };
                let path = format!("/proc/{pid}/ns/{file}");
                let namespace = File::open(&path).map_err(|_| gone())?;
                // The number is still that process's, so the file was, too.
                if start_ticks(*pid) != Some(*ticks) {
                    return Err(gone());
                }
                setns(namespace.as_fd(), kind).step(format!("join {path}"))?;
            }
        }
    }
    unshare(own).step("create namespaces")?;
    if spec.network == Network::None {
        cairn_sys::loopback_up().step("bring the loopback interface up")?;
    }
    if spec.uts == Space::Private {
        nix::unistd::sethostname(&spec.hostname)
            .step(format!("set the host name {}", spec.hostname))?;
    }
    for (name, value) in &spec.sysctls {
        // They are those of the namespaces that this process is in now.
        let path = Path::new("/proc/sys").join(name);
        std::fs::write(&path, value).step(format!("set kernel parameter {name} to {value}"))?;
    }
    Ok(())
}

fn join(path: &Path, kind: CloneFlags) -> Result<()> {
    let namespace = File::open(path).step(format!("open {}", path.display()))?;
    // The kind is checked: a namespace of another one is refused.
    setns(namespace.as_fd(), kind).step(format!("join the network namespace {}", path.display()))
}
