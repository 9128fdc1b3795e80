//! Process 1 of the container, until it becomes the process the user asked for.

pub(crate) mod identity;
pub(crate) mod namespaces;
pub(crate) mod program;
mod reap;
pub(crate) mod reset;
pub(crate) mod user;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::UnmountFlags;
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use serde::{Deserialize, Serialize};

use self::program::Program;
use self::user::{User, look_up};
use crate::cgroup;
use crate::error::{Error, Result, Step};
use crate::rootfs::{Rootfs, build};
use crate::secret::SecretValue;
use crate::spec::LaunchSpec;
use crate::wire;

const PASSWD_BYTES_MAX: u64 = 4 << 20;

/// What init is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The launch.
    pub spec: LaunchSpec,
    /// Bytes of the secrets that it mounts.
    #[serde(default)]
    pub secrets: Vec<SecretValue>,
    /// An empty directory, to mount the root at in a mount namespace of its own.
    pub place: PathBuf,
    /// Number of the descriptor to the monitor.
    pub socket: i32,
}

/// Runs as init. Returns only when it failed, after it has said so.
pub fn main(order: Order) -> u8 {
    let socket = match cairn_sys::inherited(order.socket) {
        Ok(socket) => socket,
        Err(_) => return 125,
    };
    let mut socket = Some(socket);
    let Err(e) = launch(&order, &mut socket);
    // Where the monitor is gone there is nobody left to tell.
    if let Some(socket) = &socket {
        let _ = wire::fail(socket, e.exit_code(), &cairn_model::one_line(&e));
    }
    e.exit_code()
}

fn launch(order: &Order, slot: &mut Option<OwnedFd>) -> Result<Infallible> {
    let spec = &order.spec;
    let closed = || Error::Invalid("the monitor exited".into());
    let socket = slot.as_ref().ok_or_else(closed)?;
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)
        .step("mark the socket close-on-exec")?;
    // The monitor puts this process into groups that it cannot enter by itself, while the root is being built.
    cgroup::enter_alone(&spec.group);
    end_with_parent(spec)?;
    let myself = rustix::process::getpid();
    let pidfd = pidfd_open(myself, PidfdFlags::empty()).step("open this process")?;
    wire::send_process(socket, &pidfd)?;
    drop(pidfd);
    let privileged = crate::rootless::has_all_ids();
    let users = namespaces::enter(spec)?;
    if let Some(range) = &spec.ids {
        range.own_new_files()?;
    }
    let rootfs = build(
        spec,
        &order.secrets,
        &order.place,
        privileged,
        // With kept ids mounts are as the namespace around has them.
        users.as_ref().filter(|_| spec.ids.is_some()),
    )?;
    // A session of its own, so that no terminal of the caller's can be reached through /dev/tty.
    rustix::process::setsid().step("start a session")?;
    let user = look_up(
        &spec.user,
        &read_in(&rootfs.root, "etc/passwd"),
        &read_in(&rootfs.root, "etc/group"),
    )?;
    spec.check_user(&user)?;
    connect(spec, &rootfs, &user, socket)?;
    enter(rootfs)?;
    let program = Program::new(spec, &user)?;
    // As root first: the directory may be one that only root may enter (runc#2894, crun#794). Only the
    // socket is open beside standard streams now, so that no path leads to a descriptor of the host's.
    let entered = std::env::set_current_dir(spec.cwd.as_os_str());
    wire::ready(socket)?;
    // Now that it is in groups of its own, they are all it can see; a kernel without is no reason not to run.
    let _ = nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP);
    reset::surroundings(&spec.ulimits)?;
    identity::assume(spec, &user, users.as_ref())?;
    // A change of ids takes it away.
    end_with_parent(spec)?;
    stay_in(spec, entered.is_ok())?;
    cairn_sys::close_on_exec_from(3).step("close inherited descriptors")?;
    if spec.init {
        // Process 1 is within reach of the processes beside it: it is under the filter, too.
        reap::block_signals()?;
        if spec.shares_processes() {
            reap::adopt()?;
        }
        identity::shut(spec)?;
        return stay(&program, slot);
    }
    reset::signals()?;
    identity::shut(spec)?;
    program.execute()
}

/// Where no namespace ends this process with the one around the container, a signal does.
fn end_with_parent(spec: &LaunchSpec) -> Result<()> {
    let signal = spec.shares_processes().then_some(Signal::KILL);
    match signal {
        None => Ok(()),
        signal => rustix::process::set_parent_process_death_signal(signal)
            .step("tie the container to its monitor"),
    }
}

/// A small file of the container as text; empty where it is missing or not a file.
pub(crate) fn read_in(root: &OwnedFd, path: &str) -> String {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(fd) = openat2(root, path, flags, Mode::empty(), resolve) else {
        return String::new();
    };
    let file = std::fs::File::from(fd);
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    match std::io::Read::read_to_end(&mut std::io::Read::take(file, PASSWD_BYTES_MAX), &mut bytes) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// Standard input, output and error: the container's terminal, or pipes to the monitor. They belong to the
/// user, so that `/dev/stdout` opens for others than root, too (moby#31243). Nothing of them is the host's.
fn connect(spec: &LaunchSpec, rootfs: &Rootfs, user: &User, socket: &OwnedFd) -> Result<()> {
    let connected = "connect standard streams";
    if spec.terminal {
        let (master, slave) = rootfs.dev.terminal()?;
        wire::send_terminal(socket, &master)?;
        rustix::process::ioctl_tiocsctty(&slave).step("take the terminal")?;
        rustix::stdio::dup2_stdin(&slave).step(connected)?;
        rustix::stdio::dup2_stdout(&slave).step(connected)?;
        rustix::stdio::dup2_stderr(&slave).step(connected)?;
    } else if !spec.interactive {
        let path = rootfs.dev.null()?;
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&path));
        let null = rustix::fs::open(&name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .step("open /dev/null of the container")?;
        rustix::stdio::dup2_stdin(&null).step(connected)?;
    }
    let on_host = spec.owner(user.uid, user.gid);
    let (uid, gid) = on_host.unwrap_or((user.uid, user.gid));
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    );
    let (stdin, stdout, stderr) = (
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    );
    let null = !spec.terminal && !spec.interactive;
    for fd in [(!null).then_some(stdin), Some(stdout), Some(stderr)]
        .into_iter()
        .flatten()
    {
        // A terminal keeps its group, which is that of terminals.
        let group = (!spec.terminal).then_some(gid);
        rustix::fs::fchown(fd.as_fd(), Some(uid), group)
            .step("change the owner of standard streams")?;
    }
    Ok(())
}

fn enter(rootfs: Rootfs) -> Result<()> {
    pivot(&rootfs.root)
}

/// Makes the root the root, and lets go of the host's (pivot_root(2), "." over ".").
pub(crate) fn pivot(root: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(root).step("enter the root")?;
    rustix::process::pivot_root(".", ".").step("change the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("unmount the host's root")?;
    rustix::process::chdir("/").step("enter the root")
}

/// Enters the working directory as the user, unless root could before, and sees to it that it is one of the
/// container.
pub(crate) fn stay_in(spec: &LaunchSpec, entered: bool) -> Result<()> {
    stay_in_directory(spec.cwd.as_os_str(), entered)
}

/// The same for a directory by its path.
pub(crate) fn stay_in_directory(cwd: &OsStr, entered: bool) -> Result<()> {
    let place = || cwd.to_string_lossy();
    if !entered {
        std::env::set_current_dir(cwd).step(format!("enter the working directory {}", place()))?;
    }
    // What is reached through a descriptor of the host's has no path here.
    if !std::env::current_dir().is_ok_and(|cwd| cwd.is_absolute()) {
        return Err(Error::Invalid(format!(
            "the working directory {} is outside the container",
            place()
        )));
    }
    Ok(())
}

/// Stays process 1 and has a child become the program.
fn stay(program: &Program, socket: &mut Option<OwnedFd>) -> Result<Infallible> {
    let Some(child) = cairn_sys::fork_alone(false).step("start the process")? else {
        // In the child, whose end of the socket closes as it executes, or says why it did not.
        reset::signals()?;
        return program.execute();
    };
    // The monitor takes the end of the socket for the beginning of the process.
    *socket = None;
    let code = reap::reap(child);
    std::process::exit(i32::from(code));
}
