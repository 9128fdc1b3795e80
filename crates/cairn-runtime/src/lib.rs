//! Launches a process in a root file system: mount plan → rootfs → process.
//!
//! **Invariant:** nothing a process does reaches the image or the host beyond what its launch spec
//! names; a crash of any part leaves no mount behind, for every mount lives in the process's own mount
//! namespace, and no process, for the container dies with its monitor.
//!
//! A launch goes through stages of the same binary, each single-threaded, because namespaces and threads do
//! not mix. The command writes a [`LaunchSpec`] and becomes (or starts) the *monitor*, which forks the process
//! around the container, which starts *init* as process 1 of the container's PID namespace; init builds the
//! rootfs and becomes the user's program. The monitor relays signals and streams, and writes down how the
//! process ended. Nothing here knows a database.
//!
//! ```text
//! cairn run ─exec→ monitor ─fork→ outer (process 1 of a namespace around) ─exec→ init ─exec→ program
//!                  host's namespaces   dies with the monitor                sees only its own
//! ```
//!
//! ```
//! // As `kill -s` has it: with or without SIG, by number, and real-time signals by their distance.
//! assert_eq!(cairn_runtime::signal_named("SIGHUP"), Some(1));
//! assert_eq!(cairn_runtime::signal_named("15"), cairn_runtime::signal_named("TERM"));
//! assert_eq!(cairn_runtime::signal_named("NOSUCH"), None);
//! ```

mod attach;
pub mod bundle;
mod capability;
mod cgroup;
mod control;
mod detached;
mod error;
mod events;
mod exec;
mod init;
mod limits;
mod log;
mod monitor;
mod network;
mod notify;
mod processes;
mod root;
mod rootfs;
pub mod rootless;
mod sealed;
pub mod seccomp;
mod secret;
mod spec;
mod state;
mod text;
mod ulimit;
mod users;

mod wire;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

pub use attach::{AttachOptions, Attached, DetachKeys, attach, attach_over};
pub use capability::Capabilities;
pub use cgroup::{
    Figures, GroupPlace, can_control_devices, change as change_limits, figures,
    freeze as freeze_groups, group_name, is_frozen, kill_and_remove as remove_groups,
    limit as limit_groups, make_room as make_room_for_groups, members as group_members,
    places as group_places, sweep as sweep_groups, thaw as thaw_groups,
};
pub use control::{FrozenContainer, freeze, pause, unpause};
pub use error::{Error, Result};
pub use events::{Event, EventReader, note_name};
pub use init::user::User;
pub use limits::{
    DeviceKind, DeviceNode, DeviceRule, GroupFile, GroupSetting, Limits, PIDS_MAX, PIDS_USUAL,
    Pids, Swap,
};
pub use log::{LogLimits, LogReader, LogRecord, LogStream};
pub use monitor::{Ended, block_signals, pending_signal, signal_named};
pub use network::{NetworkHelper, Port, UserNetwork};
pub use notify::{Notify, SOCKET as NOTIFY_SOCKET, place as notify_place};
pub use processes::{Process, processes};
pub use root::{root_at_rest, root_at_rest_with, root_of_running, user_in};
pub use rootfs::protect::hidden_paths;
pub use secret::{Secret, SecretSource, SecretValue};
pub use spec::{LaunchSpec, Mount, MountKind, Network, Origin, Space};
pub use state::{ContainerLock, State, Status, start_ticks};
pub use text::Text;
pub use ulimit::Ulimit;
pub use users::{IdClaim, IdRange, KeptId, POOL_FIRST, POOL_LAST, POOL_SIZE};

/// The hidden verb that every stage is started with; its one argument is the number of a descriptor.
pub const STAGE: &str = "__stage";

/// What a stage has to do.
#[derive(Debug, Serialize, Deserialize)]
enum Stage {
    Monitor(monitor::Order),
    Init(init::Order),
    Exec(exec::Order),
    Join(exec::join::Order),
    BundleInit(Box<bundle::init::Order>),
    BundleJoin(bundle::join::Order),
}

/// Runs the stage that the sealed descriptor `fd` tells; how it ended. Anything else than such a descriptor
/// is refused, whoever calls.
pub fn stage(fd: i32) -> Result<Ended> {
    let foreign = |_| Error::Invalid("this is an internal step of \"cairn run\"".into());
    match sealed::read_order(cairn_sys::inherited(fd).map_err(foreign)?)? {
        Stage::Monitor(order) => monitor::main(order),
        Stage::Init(order) => Ok(init::main(order).into()),
        Stage::Exec(order) => exec::main(order).map(Ended::from),
        Stage::Join(order) => Ok(exec::join::main(order).into()),
        Stage::BundleInit(order) => Ok(bundle::init::main(*order).into()),
        Stage::BundleJoin(order) => Ok(bundle::join::main(order).into()),
    }
}

/// A command that becomes the monitor of the container in `directory`: to be executed by the process that
/// holds the container's lock and its range of ids, or spawned by it. `secrets` are the bytes of those that the
/// spec mounts, in its order. `started` is where the monitor says how
/// the start went, and `client` its end of a connection that is attached from the beginning. The descriptors are inherited and have to stay open until then.
pub fn monitor_command(
    spec: &LaunchSpec,
    secrets: &[SecretValue],
    directory: &Path,
    lock: &ContainerLock,
    claim: Option<&IdClaim>,
    started: Option<&OwnedFd>,
    client: Option<&OwnedFd>,
) -> Result<(Command, OwnedFd)> {
    use crate::error::Step;
    let order = sealed::order(&Stage::Monitor(monitor::Order {
        spec: spec.clone(),
        secrets: secrets.to_vec(),
        directory: directory.to_owned(),
        lock: lock.fd().as_raw_fd(),
        claim: claim.map(|claim| claim.fd().as_raw_fd()),
        started: started.map(AsRawFd::as_raw_fd),
        client: client.map(AsRawFd::as_raw_fd),
    }))?;
    let claim = claim.map(IdClaim::fd);
    for fd in [Some(&order), Some(lock.fd()), claim, started, client]
        .into_iter()
        .flatten()
    {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).step("pass on a descriptor")?;
    }
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "cairn-monitor");
    command.arg(STAGE).arg(order.as_raw_fd().to_string());
    Ok((command, order))
}

/// Sends a signal, real-time ones included, to the very process that a descriptor stands for.
pub fn send_signal(process: &OwnedFd, signal: i32) -> std::io::Result<()> {
    cairn_sys::send_signal(process, signal)
}

/// A command that becomes whoever watches over another process in the container that has this state: to be
/// executed or spawned. `spec` is the container's own launch with what the process has instead. `started` is
/// where it says how the start went. The descriptors are inherited and have to stay open until then.
pub fn exec_command(
    spec: &LaunchSpec,
    state: &State,
    started: Option<&OwnedFd>,
) -> Result<(Command, OwnedFd)> {
    use crate::error::Step;
    let order = sealed::order(&Stage::Exec(exec::Order {
        spec: spec.clone(),
        state: *state,
        started: started.map(AsRawFd::as_raw_fd),
    }))?;
    for fd in [Some(&order), started].into_iter().flatten() {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).step("pass on a descriptor")?;
    }
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "cairn-exec");
    command.arg(STAGE).arg(order.as_raw_fd().to_string());
    Ok((command, order))
}
