//! The stage that enters a container, and the process in it up to the moment it becomes the user's program.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};
use crate::init::{identity, program::Program, read_in, reset, user};
use crate::monitor::streams::Ends;
use crate::monitor::terminal::open_pair;
use crate::spec::LaunchSpec;
use crate::{Stage, cgroup, sealed, wire};

/// Device number of `/dev/null`.
const NULL: u64 = 0x103;
/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS: u64 = 0x1cd1;

/// What this stage is told, by its sealed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The process.
    pub spec: LaunchSpec,
    /// Number of the descriptor of the container's process 1.
    pub first: i32,
    /// Number of the descriptor to whoever asked for the process.
    pub socket: i32,
}

/// Starts it. The descriptor is this end of the conversation with the process.
pub fn start(spec: &LaunchSpec, first: &OwnedFd, ends: Ends) -> Result<(Pid, OwnedFd)> {
    let (mine, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step("create a socket pair")?;
    let program = sealed::program()?;
    let order = sealed::order(&Stage::Join(Order {
        spec: spec.clone(),
        first: first.as_raw_fd(),
        socket: theirs.as_raw_fd(),
    }))?;
    let started = ends.start("cairn-exec", &program, &order, &[first, &theirs], None);
    Ok((started.step("start the process")?, mine))
}

/// Runs as this stage: waits for the process that it forks, and exits with its code.
pub fn main(order: Order) -> u8 {
    let Ok(socket) = cairn_sys::inherited(order.socket) else {
        return 125;
    };
    let mut socket = Some(socket);
    let failed = match enter(&order, &mut socket) {
        Ok(code) => return code,
        Err(e) => e,
    };
    // Where nobody waits there is nobody to tell.
    if let Some(socket) = &socket {
        let _ = wire::fail(socket, failed.exit_code(), &cairn_model::one_line(&failed));
    }
    failed.exit_code()
}

fn enter(order: &Order, slot: &mut Option<OwnedFd>) -> Result<u8> {
    // Nothing in the container may look at this process, however its ids come to be, before it has become
    // the user's program.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .step("protect this process")?;
    let first = cairn_sys::inherited(order.first).step("take over the container's process")?;
    let _ = cairn_sys::close_on_exec_from(3);
    // Limits and devices are the container's before anything of it can be reached.
    cgroup::join(&order.spec.group)?;
    let pid = crate::monitor::pid_of(&first)?;
    let mut namespaces = other_namespaces(pid);
    let mut users = None;
    if order.spec.ids.is_some() || order.spec.kept.is_some() {
        // It is entered last, as by init: up to then streams and terminals are given to the container.
        let path = format!("/proc/{pid}/ns/user");
        users = Some(OwnedFd::from(
            File::open(&path).step(format!("open {path}"))?,
        ));
        namespaces.remove(CloneFlags::CLONE_NEWUSER);
    }
    nix::sched::setns(&first, namespaces).step("join the container's namespaces")?;
    // The kernel made the container's root this process's; whatever happens, nothing of the host is kept.
    drop(first);
    std::env::set_current_dir("/").step("enter the container's root")?;
    match cairn_sys::fork_alone(false).step("start the process")? {
        None => {
            let Err(e) = launch(&order.spec, slot, users.as_ref());
            if let Some(socket) = slot.as_ref() {
                let _ = wire::fail(socket, e.exit_code(), &cairn_model::one_line(&e));
            }
            std::process::exit(i32::from(e.exit_code()));
        }
        Some(child) => {
            // The end of the socket tells the beginning of the process.
            *slot = None;
            Ok(wait(Pid::from_raw(child)))
        }
    }
}

/// Kinds of namespaces in which a process is and this one is not. One's own user namespace cannot be joined,
/// nor can the host's network by somebody other than root (setns(2)).
fn other_namespaces(pid: i32) -> CloneFlags {
    let kinds = [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWNS, "mnt"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWNET, "net"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    ];
    let link = |who: &str, name: &str| std::fs::read_link(format!("/proc/{who}/ns/{name}")).ok();
    let pid = pid.to_string();
    let others = kinds.into_iter().filter(|(_, name)| {
        let own = link("self", name);
        own.is_none() || own != link(&pid, name)
    });
    others.map(|(kind, _)| kind).collect()
}

fn wait(child: Pid) -> u8 {
    // Only the child uses the streams now.
    let _ = cairn_sys::close_all_from(0);
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => std::process::exit(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => std::process::exit(128 + signal as i32),
            Err(nix::errno::Errno::ECHILD) => std::process::exit(125),
            _ => {}
        }
    }
}

fn launch(
    spec: &LaunchSpec,
    slot: &Option<OwnedFd>,
    users: Option<&OwnedFd>,
) -> Result<Infallible> {
    let socket = slot.as_ref();
    let socket = socket.ok_or_else(|| Error::Invalid("nobody waits for the process".into()))?;
    let myself = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    wire::send_process(socket, &myself.step("open this process")?)?;
    rustix::process::setsid().step("start a session")?;
    if let Some(range) = &spec.ids {
        range.own_new_files()?;
    }
    let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.step("open the container's root")?;
    let user = user::look_up(
        &spec.user,
        &read_in(&root, "etc/passwd"),
        &read_in(&root, "etc/group"),
    )?;
    drop(root);
    spec.check_user(&user)?;
    connect(spec, &user, socket)?;
    let program = Program::new(spec, &user)?;
    // As root first: the directory may be one that only root may enter. Only the socket is open beside
    // standard streams.
    let entered = std::env::set_current_dir(spec.cwd.as_os_str());
    wire::ready(socket)?;
    reset::surroundings(&spec.ulimits)?;
    identity::assume(spec, &user, users)?;
    crate::init::stay_in(spec, entered.is_ok())?;
    cairn_sys::close_on_exec_from(3).step("close inherited descriptors")?;
    reset::signals()?;
    identity::shut(spec)?;
    program.execute()
}

/// The container's own `/dev/null`; `None` where it has another thing there.
fn null() -> Option<File> {
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, "/dev/null", flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok()?;
    (meta.file_type().is_char_device() && meta.rdev() == NULL).then_some(file)
}

/// Standard input, output and error: a terminal of the container, pipes, or its `/dev/null`.
fn connect(spec: &LaunchSpec, user: &user::User, socket: &OwnedFd) -> Result<()> {
    let connected = "connect standard streams";
    if spec.terminal {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pts = openat(CWD, "/dev/pts", flags, Mode::empty()).step("open /dev/pts")?;
        let kind = rustix::fs::fstatfs(&pts).step("open /dev/pts")?.f_type;
        if kind as u64 != DEVPTS {
            return Err(Error::Invalid(
                "/dev/pts of the container holds no terminals; omit -t".into(),
            ));
        }
        let (master, slave) = open_pair(&pts)?;
        wire::send_terminal(socket, &master)?;
        rustix::process::ioctl_tiocsctty(&slave).step("take the terminal")?;
        rustix::stdio::dup2_stdin(&slave).step(connected)?;
        rustix::stdio::dup2_stdout(&slave).step(connected)?;
        rustix::stdio::dup2_stderr(&slave).step(connected)?;
    }
    // Without one standard input is a pipe that is closed already.
    let null = null();
    if let (Some(null), false) = (&null, spec.terminal) {
        if !spec.interactive || spec.detach {
            rustix::stdio::dup2_stdin(null).step(connected)?;
        }
        if spec.detach {
            rustix::stdio::dup2_stdout(null).step(connected)?;
            rustix::stdio::dup2_stderr(null).step(connected)?;
        }
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
    for fd in [stdin, stdout, stderr] {
        let kind = rustix::fs::fstat(fd).step(connected)?.st_mode;
        let is_null = rustix::fs::FileType::from_raw_mode(kind).is_char_device() && !spec.terminal;
        if !is_null {
            // A terminal keeps its group, which is that of terminals.
            let group = (!spec.terminal).then_some(gid);
            rustix::fs::fchown(fd.as_fd(), Some(uid), group)
                .step("change the owner of standard streams")?;
        }
    }
    Ok(())
}
