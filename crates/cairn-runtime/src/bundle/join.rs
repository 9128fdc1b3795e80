//! Another process in a container of a bundle: a stage that enters its namespaces and forks there, as that of
//! `exec` does. The stage ends at once; the caller's reaper inherits the process.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::ids::{IdMaps, Users};
use super::process;
use super::spaces::CLONE_NEWTIME;
use super::spec::BundleProcess;
use super::{Begun, Streams, spawn};
use crate::error::{Error, Result, Step};
use crate::init::read_in;
use crate::monitor::{pid_of, terminal::open_pair};
use crate::{Stage, cgroup, sealed, wire};

/// What the stage is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The process.
    pub process: BundleProcess,
    /// The container's groups.
    pub group: String,
    /// Ids of the container, where it has a user namespace of its own.
    pub ids: Option<IdMaps>,
    /// Number of the descriptor of the container's process 1.
    pub first: i32,
    /// Number of the descriptor to whoever asked for the process.
    pub socket: i32,
}

/// Starts a process in the container whose process 1 is `first`, up to the moment before its program begins.
/// `kept` is a claim on the number of process 1: whoever holds it has seen that it is the right one.
pub fn exec(
    process: &BundleProcess,
    group: &str,
    first: &OwnedFd,
    streams: Streams,
) -> Result<Begun> {
    let (mine, theirs) = super::pair()?;
    let program = sealed::program()?;
    let order = sealed::order(&Stage::BundleJoin(Order {
        process: process.clone(),
        group: group.to_owned(),
        ids: ids_of(first)?,
        first: first.as_raw_fd(),
        socket: theirs.as_raw_fd(),
    }))?;
    let passed = [&order, first, &theirs];
    let child = spawn("cairn-exec", &program, &order, &passed, process, streams)?;
    drop(theirs);
    let mut begun = Begun::new(mine, None);
    let done = begun.until_ready(&mut |_| Ok(()));
    // It forked, or has failed.
    let _ = nix::sys::wait::waitpid(child, None);
    done.map(|()| begun)
}

fn namespace(of: &str, kind: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{of}/ns/{kind}")).ok()
}

/// The ids of the container's own user namespace.
fn ids_of(first: &OwnedFd) -> Result<Option<IdMaps>> {
    let pid = pid_of(first)?.to_string();
    if namespace("self", "user") == namespace(&pid, "user") {
        return Ok(None);
    }
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).step(format!("read {path}"))
    };
    IdMaps::read(&read("uid_map")?, &read("gid_map")?).map(Some)
}

/// Runs as this stage.
pub fn main(order: Order) -> u8 {
    let Ok(socket) = cairn_sys::inherited(order.socket) else {
        return 125;
    };
    match enter(&order, &socket) {
        Ok(()) => 0,
        Err(e) => {
            // Where nobody waits there is nobody to tell.
            let _ = wire::fail(&socket, e.exit_code(), &cairn_model::one_line(&e));
            e.exit_code()
        }
    }
}

fn enter(order: &Order, socket: &OwnedFd) -> Result<()> {
    // Nothing in the container may look at this process before it has become the user's program.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("protect this process")?;
    let first = cairn_sys::inherited(order.first).step("take over the container's process")?;
    let _ = cairn_sys::close_on_exec_from(3 + order.process.preserved);
    // Limits and devices are the container's before anything of it can be reached.
    cgroup::join(&order.group)?;
    if let Some(score) = order.process.oom_score_adj {
        let written = std::fs::write("/proc/self/oom_score_adj", score.to_string());
        written.step(format!("set oom_score_adj to {score}"))?;
    }
    let label = process::label_file(&order.process)?;
    let pid = pid_of(&first)?.to_string();
    let mut namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    if namespace("self", "time") != namespace(&pid, "time") {
        namespaces |= CLONE_NEWTIME;
    }
    let users = match &order.ids {
        None => None,
        Some(ids) => {
            // It is entered last: up to then streams and terminals are given to the container.
            let path = format!("/proc/{pid}/ns/user");
            let namespace = File::open(&path).step(format!("open {path}"))?.into();
            Some(Users {
                namespace,
                ids: ids.clone(),
            })
        }
    };
    nix::sched::setns(&first, namespaces).step("join the container's namespaces")?;
    // The kernel made the container's root this process's; whatever happens, nothing of the host is kept.
    drop(first);
    std::env::set_current_dir("/").step("enter the container's root")?;
    if cairn_sys::fork_alone(false)
        .step("start the process")?
        .is_none()
    {
        let Err(e) = launch(&order.process, socket, users.as_ref(), label);
        let _ = wire::fail(socket, e.exit_code(), &cairn_model::one_line(&e));
        std::process::exit(i32::from(e.exit_code()));
    }
    Ok(())
}

fn launch(
    process: &BundleProcess,
    socket: &OwnedFd,
    users: Option<&Users>,
    label: Option<(File, &str)>,
) -> Result<Infallible> {
    let myself = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    wire::send_process(socket, &myself.step("open this process")?)?;
    rustix::process::setsid().step("start a session")?;
    if let Some(users) = users {
        users.ids.check(process.uid, process.gid, &process.groups)?;
        users.ids.root()?.own_new_files()?;
    }
    let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let passwd = read_in(&root.step("open the container's root")?, "etc/passwd");
    process::connect(process, users, socket, || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pts = openat(CWD, "/dev/pts", flags, Mode::empty()).step("open /dev/pts")?;
        match process::is_terminals(&pts) {
            true => open_pair(&pts),
            false => Err(Error::Invalid(
                "/dev/pts of the container holds no terminals".into(),
            )),
        }
    })?;
    let prepared = process::Prepared::new(process, &passwd)?;
    wire::ready(socket)?;
    prepared.begin(users, || match label {
        Some((mut file, text)) => std::io::Write::write_all(&mut file, text.as_bytes())
            .step(format!("set the security label {text:?}")),
        None => Ok(()),
    })
}
