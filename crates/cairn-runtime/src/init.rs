//! Process 1 of the container, until it becomes the process the user asked for.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use caps::{CapSet, Capability};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::UnmountFlags;

use crate::devices::attach;
use crate::error::{Error, Result, Step};
use crate::rootfs::{build, open_in};
use crate::spec::{LaunchSpec, Network};
use crate::user::{User, look_up};
use crate::{terminal, wire};

/// Docker's default capabilities without CAP_MKNOD: there is no device control yet that would make a node
/// harmless.
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
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD_BYTES_MAX: u64 = 4 << 20;

/// Runs as init for the container in `directory`; `socket` is the number of the descriptor to the
/// monitor. Returns only when it failed, after it has said so.
pub fn main(directory: &Path, socket: i32) -> u8 {
    let socket = match cairn_sys::inherited(socket) {
        Ok(socket) => socket,
        Err(_) => return 125,
    };
    let mut socket = Some(socket);
    let done = launch(directory, &mut socket);
    let Err(e) = done;
    let mut words = e.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&e);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    // Where the monitor is gone there is nobody left to tell.
    if let Some(socket) = &socket {
        let _ = wire::fail(socket, e.exit_code(), &words);
    }
    e.exit_code()
}

fn launch(directory: &Path, slot: &mut Option<OwnedFd>) -> Result<std::convert::Infallible> {
    let closed = || Error::Invalid("the monitor went away".into());
    let socket = slot.as_ref().ok_or_else(closed)?;
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)
        .step("keep the socket to ourselves")?;
    // A container without its monitor would run on unwatched and end unrecorded.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("tie the container to its monitor")?;
    let spec = LaunchSpec::load(directory)?;
    let privileged = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let mut namespaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    if spec.network == Network::None {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    nix::sched::unshare(namespaces).step("make namespaces")?;
    if spec.network == Network::None {
        cairn_sys::loopback_up().step("bring the loopback interface up")?;
    }
    nix::unistd::sethostname(&spec.hostname).step("set the host name")?;
    let place = directory.join("root");
    let root = build(&spec, &place, privileged)?;
    // A session of its own, so that no terminal of the caller's can be reached through /dev/tty.
    rustix::process::setsid().step("begin a session")?;
    if spec.terminal {
        take_terminal(&root, socket)?;
    }
    let user = look_up(
        &spec.user,
        &read_in(&root, "etc/passwd"),
        &read_in(&root, "etc/group"),
    )?;
    enter(&root)?;
    let command = command(&spec, &user)?;
    become_user(&user, privileged)?;
    // Changing the user has undone it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("tie the container to its monitor")?;
    std::env::set_current_dir(&spec.cwd)
        .step(format!("enter the working directory {}", spec.cwd))?;
    if !std::env::current_dir().is_ok_and(|cwd| cwd.is_absolute()) {
        return Err(Error::Invalid(format!(
            "the working directory {} is outside of the container",
            spec.cwd
        )));
    }
    wire::ready(socket)?;
    cairn_sys::close_on_exec_from(3).step("close what is not the process's")?;
    run(command, &spec, slot)
}

/// A small file of the container as text; empty where it is missing or no file.
fn read_in(root: &OwnedFd, path: &str) -> String {
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

fn take_terminal(root: &OwnedFd, socket: &OwnedFd) -> Result<()> {
    let (master, slave) = terminal::open_pair(root)?;
    wire::send_terminal(socket, &master)?;
    let name = rustix::termios::ttyname(&slave, Vec::new());
    if let Some(number) = name
        .ok()
        .and_then(|name| name.to_string_lossy().rsplit('/').next().map(str::to_owned))
    {
        let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if let Ok(console) = rustix::mount::open_tree(open_in(root, "dev/pts")?, number, flags) {
            attach(&console, &open_in(root, "dev/console")?, "/dev/console")?;
        }
    }
    rustix::process::ioctl_tiocsctty(&slave).step("take the terminal")?;
    rustix::stdio::dup2_stdin(&slave).step("connect the terminal")?;
    rustix::stdio::dup2_stdout(&slave).step("connect the terminal")?;
    rustix::stdio::dup2_stderr(&slave).step("connect the terminal")
}

/// Makes the root the root, and lets go of the host's (pivot_root(2), "." over ".").
fn enter(root: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(root).step("enter the root")?;
    rustix::process::pivot_root(".", ".").step("change the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("let go of the host's root")?;
    rustix::process::chdir("/").step("enter the root")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(())
}

/// The program, its arguments and its environment.
fn command(spec: &LaunchSpec, user: &User) -> Result<(String, Vec<(String, String)>)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        env.retain(|(n, _)| n != name);
        env.push((name.to_owned(), value.to_owned()));
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", &spec.hostname);
    set("HOME", &user.home);
    if spec.terminal {
        set("TERM", "xterm");
    }
    for variable in &spec.env {
        if let Some((name, value)) = variable.split_once('=') {
            set(name, value);
        }
    }
    let program = spec
        .args
        .first()
        .ok_or_else(|| Error::Invalid("no command was given and the image names none".into()))?;
    if program.contains('/') {
        return Ok((program.clone(), env));
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, path)| path);
    let mut refused = None;
    for directory in path.split(':') {
        let candidate = format!(
            "{}/{program}",
            if directory.is_empty() { "." } else { directory }
        );
        let Ok(meta) = std::fs::metadata(&candidate) else {
            continue;
        };
        if meta.is_file()
            && std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0
        {
            return Ok((candidate, env));
        }
        refused.get_or_insert(candidate);
    }
    match refused {
        Some(_) => Err(Error::NotExecutable {
            command: program.clone(),
            source: std::io::Error::from_raw_os_error(13),
        }),
        None => Err(Error::NotFound(program.clone())),
    }
}

fn become_user(user: &User, privileged: bool) -> Result<()> {
    let failed = |e: caps::errors::CapsError| std::io::Error::other(e.to_string());
    let keep: std::collections::HashSet<Capability> = CAPABILITIES.into_iter().collect();
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
            "without root only the user root exists in a container; leave -u away".into(),
        ));
    }
    nix::unistd::setresgid(
        Gid::from_raw(user.gid),
        Gid::from_raw(user.gid),
        Gid::from_raw(user.gid),
    )
    .step("set the group")?;
    nix::unistd::setresuid(
        Uid::from_raw(user.uid),
        Uid::from_raw(user.uid),
        Uid::from_raw(user.uid),
    )
    .step("set the user")?;
    let have = caps::read(None, CapSet::Permitted)
        .map_err(failed)
        .step("read capabilities")?;
    let wanted = if user.uid == 0 {
        have.intersection(&keep).copied().collect()
    } else {
        Default::default()
    };
    caps::clear(None, CapSet::Inheritable)
        .map_err(failed)
        .step("drop capabilities")?;
    caps::set(None, CapSet::Effective, &wanted)
        .map_err(failed)
        .step("drop capabilities")?;
    caps::set(None, CapSet::Permitted, &wanted)
        .map_err(failed)
        .step("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).step("give up new privileges")
}

fn run(
    (program, env): (String, Vec<(String, String)>),
    spec: &LaunchSpec,
    socket: &mut Option<OwnedFd>,
) -> Result<std::convert::Infallible> {
    let refused = |source: std::io::Error| match source.raw_os_error() {
        Some(2) => Error::NotFound(program.clone()),
        _ => Error::NotExecutable {
            command: program.clone(),
            source,
        },
    };
    if spec.init {
        let mut child = Command::new(&program);
        child
            .arg0(&spec.args[0])
            .args(&spec.args[1..])
            .env_clear()
            .envs(env.iter().map(|(n, v)| (n, v)));
        let mut signals = SigSet::all();
        signals.remove(Signal::SIGTTIN);
        signals.remove(Signal::SIGTTOU);
        signals.thread_block().step("block signals")?;
        let child = child.spawn().map_err(refused)?;
        // The monitor takes the end of the socket for the beginning of the process.
        *socket = None;
        // This process stays, without an exec that would close what it inherited.
        cairn_sys::close_all_from(3).step("close what is not the process's")?;
        let pid = Pid::from_raw(child.id() as i32);
        std::process::exit(i32::from(reap(pid, &signals)));
    }
    let text =
        |s: &str| CString::new(s).map_err(|_| Error::Invalid(format!("{s:?} has a NUL byte")));
    let args = spec
        .args
        .iter()
        .map(|arg| text(arg))
        .collect::<Result<Vec<_>>>()?;
    let env = env
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<Result<Vec<_>>>()?;
    let Err(e) = nix::unistd::execve(&text(&program)?, &args, &env);
    Err(refused(e.into()))
}

/// Process 1 of `--init`: passes signals on and reaps whoever ends, until the child has.
fn reap(child: Pid, signals: &SigSet) -> u8 {
    loop {
        let signal = signals.wait();
        if let Ok(signal) = signal
            && signal != Signal::SIGCHLD
        {
            // It may have ended just now.
            let _ = nix::sys::signal::kill(child, signal);
            continue;
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == child => return code as u8,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    return 128 + signal as u8;
                }
                Ok(WaitStatus::StillAlive) => break,
                Err(nix::errno::Errno::ECHILD) => return 125,
                _ => {}
            }
        }
    }
}
