//! Watches over one container: relays signals and its streams, answers its control socket, and writes down
//! how its process ended.
//!
//! It holds the container's lock from the command that created the container on. The order of the end is
//! fixed: the process is gone, its log is whole, its groups are gone, the code is written down, the lock is
//! free. Whoever waits for the lock finds all of that done.

mod after;
mod beside;
pub(crate) mod ends;
mod foreign;
mod outer;
pub(crate) mod relay;
pub(crate) mod signals;
pub(crate) mod streams;
pub(crate) mod terminal;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cairn_model::clock;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use self::after::After;
use self::relay::Watched;
use self::signals::{Signals, Started};
use self::streams::{Pumps, Streams, pipes};
use self::terminal::Raw;
use crate::error::{Error, Result, Step};
use crate::events::{self, Event};
use crate::notify::{Heard, Notify};
use crate::secret::SecretValue;
use crate::spec::{LaunchSpec, Network};
use crate::state::{ContainerLock, State, Status, start_ticks};
use crate::users::IdClaim;
use crate::{cgroup, control, init, network, notify};

pub use signals::{block as block_signals, named as signal_named, pending as pending_signal};

/// What a monitor is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The launch.
    pub spec: LaunchSpec,
    /// Bytes of the secrets that it mounts.
    #[serde(default)]
    pub secrets: Vec<SecretValue>,
    /// The container's own directory.
    pub directory: PathBuf,
    /// Number of the descriptor that holds the container's lock.
    pub lock: i32,
    /// Number of the descriptor that holds the container's range of ids, if it has one of the pool.
    pub claim: Option<i32>,
    /// Number of the descriptor where it says how the start went, for a container in the background.
    pub started: Option<i32>,
    /// Number of the descriptor of a client that is attached from the beginning.
    #[serde(default)]
    pub client: Option<i32>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code of its process.
    pub code: u8,
    /// The kernel killed a process of it because its memory was used up.
    pub out_of_memory: bool,
}

impl From<u8> for Ended {
    fn from(code: u8) -> Self {
        Self {
            code,
            out_of_memory: false,
        }
    }
}

/// Runs as monitor, and returns the process's exit code. In the background, what went wrong was said to
/// whoever started it; else it is for the caller to say.
pub fn main(order: Order) -> Result<Ended> {
    cairn_sys::ignore_broken_pipe();
    let lock = cairn_sys::inherited(order.lock).step("take over the container's lock")?;
    let lock = ContainerLock::from_inherited(lock);
    let mut started = order.started.and_then(|fd| cairn_sys::inherited(fd).ok());
    let mut client = order.client.and_then(|fd| cairn_sys::inherited(fd).ok());
    let claim = order.claim.and_then(|fd| cairn_sys::inherited(fd).ok());
    let claim = claim.map(IdClaim::from_inherited);
    let claimed = claim.as_ref().map(IdClaim::fd);
    let kept = [Some(lock.fd()), claimed, started.as_ref(), client.as_ref()];
    let kept: Vec<i32> = kept.iter().flatten().map(|fd| fd.as_raw_fd()).collect();
    if order.spec.detach {
        leave_the_caller(&kept);
    }
    // Before anything else is started.
    let _ = cairn_sys::close_on_exec_from(3);
    let after = After::start(&order.spec);
    let done = match &after {
        Ok(after) => {
            let mut callers = Callers {
                started: started.take(),
                client: client.take().map(UnixStream::from),
            };
            let done = watch(&order, after.as_ref(), &mut callers, lock, claim);
            started = callers.started;
            done
        }
        Err(e) => Err(Error::Invalid(cairn_model::one_line(e))),
    };
    if let Ok(Some(after)) = after {
        after.run();
    }
    match (done, started) {
        (Err(e), Some(fd)) => {
            let words = cairn_model::one_line(&e);
            // The one who waits has gone; then nobody does.
            let _ = rustix::io::write(fd, &[&[e.exit_code()], words.as_bytes()].concat());
            Ok(e.exit_code().into())
        }
        (done, _) => done,
    }
}

/// A container in the background keeps nothing of whoever started it: no descriptor (it might be a lock), no
/// working directory, no session.
pub(crate) fn leave_the_caller(kept: &[i32]) {
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| !kept.contains(fd))
        .collect();
    // The one that listed them is closed already, and says so.
    open.into_iter()
        .for_each(|fd| drop(cairn_sys::inherited(fd)));
}

/// Who started a container in the background: where they wait, and what they see of it.
struct Callers {
    started: Option<OwnedFd>,
    client: Option<UnixStream>,
}

fn watch(
    order: &Order,
    after: Option<&After>,
    callers: &mut Callers,
    lock: ContainerLock,
    claim: Option<IdClaim>,
) -> Result<Ended> {
    let (spec, directory) = (&order.spec, &order.directory);
    tracing::info!(group = spec.group, "monitor");
    let signals = Signals::watch()?;
    let mut state = State::created();
    state.save(directory)?;
    let mut begun = None;
    let done = begin(
        order,
        &signals,
        &mut state,
        &mut begun,
        callers.client.take(),
    );
    let code = match (done, &mut begun) {
        (Ok(()), Some(watched)) => {
            if let Some(after) = after {
                after.make_ready();
            }
            if matches!(spec.notify, None | Some(Notify::Monitor)) {
                notify::ready();
            }
            tell(directory, "start", |event| event);
            if let Some(fd) = callers.started.take() {
                // The one who waits has gone; the container runs all the same.
                let _ = rustix::io::write(fd, &[0]);
            }
            watched.relay(&signals, &mut |paused| {
                state.paused = paused;
                state.save(directory)
            })
        }
        (Err(e), _) => Err(e),
        (Ok(()), None) => Err(Error::Invalid("the container did not start".into())),
    };
    let pumps = begun.and_then(|watched| watched.pumps);
    let clients = pumps.as_ref().map(Pumps::clients);
    // A log is whole before the container counts as ended; a caller may read as slowly as it likes.
    let waiting = match pumps {
        Some(pumps) if spec.detach => {
            pumps.finish();
            None
        }
        pumps => pumps,
    };
    state.out_of_memory = cgroup::ran_out_of_memory(&spec.group);
    match spec.shares_processes() {
        true => cgroup::kill_and_remove(&spec.group),
        false => cgroup::remove(&spec.group),
    }
    state.status = Status::Exited(match &code {
        Ok(code) => *code,
        Err(e) => e.exit_code(),
    });
    match &code {
        Ok(code) => tracing::info!(code, "the container's process ended"),
        Err(e) => tracing::info!(class = ?e.class(), "the container did not start"),
    }
    state.paused = false;
    state.finished = clock::secs();
    if state.started == 0 {
        state.started = state.finished;
    }
    tell_end(directory, &state, code.is_ok());
    let saved = state.save(directory);
    let _ = std::fs::remove_file(directory.join("control"));
    // No process has an id of the range any more.
    drop(claim);
    drop(lock);
    if let Some(pumps) = waiting {
        pumps.finish();
    }
    if let (Some(clients), Status::Exited(code)) = (clients, state.status) {
        clients.end(code);
    }
    saved?;
    code.map(|code| Ended {
        code,
        out_of_memory: state.out_of_memory,
    })
}

/// Writes down what happened to the container, where it is one of a repository.
fn tell(directory: &Path, action: &str, more: impl Fn(Event) -> Event) {
    if let Some(root) = events::repository_of(directory) {
        more(events::of_container(directory, action)).write(root);
    }
}

fn tell_end(directory: &Path, state: &State, began: bool) {
    if state.out_of_memory {
        tell(directory, "oom", |event| event);
    }
    if let Status::Exited(code) = state.status
        && began
    {
        tell(directory, "die", |event| event.with("exit_code", code));
    }
}

/// Starts the container up to the moment its process has begun.
fn begin(
    order: &Order,
    signals: &Signals,
    state: &mut State,
    begun: &mut Option<Watched>,
    client: Option<UnixStream>,
) -> Result<()> {
    let (spec, directory) = (&order.spec, &order.directory);
    let listener = control::listen(directory)?;
    let heard = spec.notify == Some(Notify::Container);
    let heard = heard.then(|| Heard::listen(directory)).transpose()?;
    let (outer, started, streams) = launch(order, signals)?;
    tracing::debug!("the container's process has begun");
    state.pid = started.pid;
    state.start_ticks = start_ticks(started.pid).unwrap_or(0);
    state.status = Status::Running;
    state.started = clock::secs();
    let terminal = started
        .terminal
        .map(|master| Arc::new(Mutex::new(Some(master))));
    let interactive = spec.interactive && !spec.detach;
    let raw = (terminal.is_some() && interactive)
        .then(Raw::enter)
        .flatten();
    let watched = begun.insert(Watched {
        outer,
        process: started.process,
        pid: started.pid,
        group: spec.group.clone(),
        listener,
        heard,
        terminal: terminal.clone().filter(|_| !spec.detach),
        pumps: None,
        raw,
        paused: None,
    });
    let copying = Pumps::start(spec, directory, streams, terminal.as_ref(), client)
        .and_then(|pumps| state.save(directory).map(|()| pumps));
    match copying {
        Ok(pumps) => {
            watched.pumps = Some(pumps);
            Ok(())
        }
        Err(e) => {
            watched.kill();
            Err(e)
        }
    }
}

/// Starts the process around the container and talks to init until the program is executed. What was started
/// does not outlive an error.
fn launch(order: &Order, signals: &Signals) -> Result<(Pid, Started, Streams)> {
    let (spec, directory) = (&order.spec, &order.directory);
    let place = directory.join("root");
    std::fs::create_dir_all(&place).step(format!("create {}", place.display()))?;
    enter_user_namespace()?;
    let (streams, ends) = pipes(spec.interactive && !spec.terminal)?;
    let group = cgroup::prepare(&spec.group);
    let (outer, socket) = outer::start(
        init::Order {
            spec: spec.clone(),
            secrets: order.secrets.clone(),
            place,
            socket: 0,
        },
        ends,
        group.as_ref(),
    )?;
    drop(group);
    let init = std::cell::Cell::new(0);
    let started = signals.converse(
        &socket,
        |pid| {
            init.set(pid);
            cgroup::place(&spec.group, &spec.limits, pid)?;
            beside::check(spec, pid)
        },
        || {
            if let Some(rules) = &spec.devices {
                cgroup::restrict_devices(&spec.group, rules)?;
            }
            match &spec.network {
                Network::User(network) => network::attach(network, init.get(), outer, directory),
                _ => Ok(()),
            }
        },
    );
    match started {
        Ok(started) => Ok((outer, started, streams)),
        Err(e) => {
            // Whatever there is of the container goes with the process around it.
            let _ = nix::sys::signal::kill(outer, nix::sys::signal::Signal::SIGKILL);
            let _ = waitpid(outer, None);
            Err(e)
        }
    }
}

/// Without root, a user namespace for all that follows, in which this user is root.
fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if uid == 0 {
        return Ok(());
    }
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER)
        .step("create a user namespace (they may be disabled on this system)")?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .step(format!("write {file} of the user namespace"))?;
    }
    Ok(())
}

/// The number of the process a descriptor stands for.
pub(crate) fn pid_of(process: &OwnedFd) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let info = std::fs::read_to_string(&path).step("read the id of the container's process")?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.and_then(|pid| pid.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| Error::Invalid("the container's process exited before it started".into()))
}

pub(crate) fn wait_for(outer: Pid) -> Option<u8> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus};
    match waitpid(outer, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(code as u8),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as u8),
        Err(nix::errno::Errno::ECHILD) => Some(125),
        _ => None,
    }
}
