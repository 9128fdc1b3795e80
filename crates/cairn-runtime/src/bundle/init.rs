//! Process 1 of a container of a bundle, from its beginning to the moment it becomes the bundle's program.
//!
//! It is a child of whoever creates the container, without a process in between, and of nobody else's making when
//! that one is gone: the caller's reaper (conmon, a shim) inherits it.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use rustix::process::{DumpableBehavior, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::spec::BundleSpec;
use super::{process, rootfs, spaces, start};
use crate::error::{Error, Result, Step};
use crate::init::read_in;
use crate::wire;

/// What it is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The container.
    pub spec: BundleSpec,
    /// Number of the descriptor to whoever creates it.
    pub socket: i32,
    /// Number of the descriptor where it waits to be started.
    pub listener: i32,
}

/// Runs as this stage. Returns only when it failed, after it has said so.
pub fn main(order: Order) -> u8 {
    let (Ok(socket), Ok(listener)) = (
        cairn_sys::inherited(order.socket),
        cairn_sys::inherited(order.listener),
    ) else {
        return 125;
    };
    let mut socket = Some(socket);
    let Err(e) = launch(&order.spec, &mut socket, listener);
    // Where the other end is gone there is nobody left to tell.
    if let Some(socket) = &socket {
        let _ = wire::fail(socket, e.exit_code(), &cairn_model::one_line(&e));
    }
    e.exit_code()
}

fn launch(spec: &BundleSpec, slot: &mut Option<OwnedFd>, listener: OwnedFd) -> Result<Infallible> {
    let gone = || Error::Invalid("whoever creates the container exited".into());
    let socket = slot.as_ref().ok_or_else(gone)?;
    let _ = cairn_sys::close_on_exec_from(3 + spec.process.preserved);
    // Others in its PID namespace, which may be there already, do not get at this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("protect this process")?;
    let myself = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    wire::send_process(socket, &myself.step("open this process")?)?;
    // It is put into its groups, of which its namespace shows no others.
    wire::ready(socket)?;
    let places = crate::cgroup::places(&spec.group);
    let users = spaces::enter(spec)?;
    if let Some(users) = &users {
        let process = &spec.process;
        let ids = &users.ids;
        ids.check(process.uid, process.gid, &process.groups)?;
        ids.root()?.own_new_files()?;
    }
    before_the_root(spec)?;
    let label = process::label_file(&spec.process)?;
    let root = rootfs::build(spec, &places, users.as_ref())?;
    // Hooks of the host's run, and devices are restricted.
    wire::ready(socket)?;
    let myself = Some(rustix::process::getpid().as_raw_nonzero().get());
    let state = spec.state.with("creating", myself);
    spec.on_create
        .iter()
        .try_for_each(|hook| hook.run(&state))?;
    rustix::process::setsid().step("start a session")?;
    process::connect(&spec.process, users.as_ref(), socket, || root.terminal())?;
    root.make_directory(&spec.process.cwd)?;
    root.protect(spec)?;
    let passwd = read_in(&root.root, "etc/passwd");
    root.enter(spec)?;
    let prepared = process::Prepared::new(&spec.process, &passwd)?;
    wire::ready(socket)?;
    *slot = None;
    *slot = Some(start::wait(&listener)?);
    drop(listener);
    let state = spec.state.with("created", myself);
    prepared.begin(users.as_ref(), || {
        spec.on_start
            .iter()
            .try_for_each(|hook| hook.run_inside(&state))?;
        match label {
            Some((mut file, text)) => std::io::Write::write_all(&mut file, text.as_bytes())
                .step(format!("set the security label {text:?}")),
            None => Ok(()),
        }
    })
}

/// What needs the host's `/proc`.
fn before_the_root(spec: &BundleSpec) -> Result<()> {
    if let Some(score) = spec.process.oom_score_adj {
        let written = std::fs::write("/proc/self/oom_score_adj", score.to_string());
        written.step(format!("set oom_score_adj to {score}"))?;
    }
    if let Some(domain) = spec.personality {
        let wanted = nix::sys::personality::Persona::from_bits_retain(domain as i32);
        nix::sys::personality::set(wanted).step("set the personality")?;
    }
    Ok(())
}
