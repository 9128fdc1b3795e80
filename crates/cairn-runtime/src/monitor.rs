//! Watches over one container: relays signals and the terminal, and writes down how its process ended.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::cgroup;
use crate::error::{Error, Result, Step};
use crate::spec::LaunchSpec;
use crate::state::{State, Status, now, start_ticks};
use crate::terminal::{Raw, copy_size};
use crate::wire::{self, Message};

/// Signals that are passed on to the process.
const FORWARDED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Runs as monitor of the container in `directory`, and returns the process's exit code. With
/// `started` (the number of a descriptor), it says there whether the process began, and detaches.
pub fn main(directory: &Path, started: Option<i32>) -> u8 {
    let started = started.and_then(|fd| cairn_sys::inherited(fd).ok());
    let mut after = None;
    let done = watch(directory, started.as_ref(), &mut after);
    let code = match done {
        Ok(code) => code,
        Err(e) => {
            report(started.as_ref(), &e);
            let lost = State {
                pid: 0,
                start_ticks: 0,
                status: Status::Exited(e.exit_code()),
                started: now(),
                finished: now(),
            };
            // The error that is being reported counts.
            let _ = lost.save(directory);
            if let Ok(spec) = LaunchSpec::load(directory) {
                cgroup::remove(&spec.id);
            }
            e.exit_code()
        }
    };
    if let Some(After(mut child)) = after {
        drop(child.stdin.take());
        // It reports its own errors; the exit code stays that of the process.
        let _ = child.wait();
    }
    code
}

/// The program that runs when the process has ended. It is started before everything else and waits for
/// the end of its standard input, because once the monitor is in a PID namespace whose process 1 is gone
/// it can start nothing any more.
struct After(std::process::Child);

impl After {
    fn start(spec: &LaunchSpec) -> Result<Option<Self>> {
        let [program, args @ ..] = &spec.after[..] else {
            return Ok(None);
        };
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        Ok(Some(Self(
            child.step("start what comes after the container")?,
        )))
    }
}

fn report(started: Option<&OwnedFd>, e: &Error) {
    let mut words = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    match started {
        // The one who waits has gone; then nobody does.
        Some(fd) => drop(rustix::io::write(
            fd,
            format!("{}{words}", char::from(e.exit_code())).as_bytes(),
        )),
        None => eprintln!("cairn: {words}"),
    }
}

fn watch(directory: &Path, started: Option<&OwnedFd>, after: &mut Option<After>) -> Result<u8> {
    let spec = LaunchSpec::load(directory)?;
    *after = After::start(&spec)?;
    let place = directory.join("root");
    std::fs::create_dir_all(&place).step(format!("create {}", place.display()))?;
    if spec.detach {
        rustix::process::setsid().step("leave the session")?;
    }
    let mut signals = SigSet::empty();
    FORWARDED
        .into_iter()
        .chain([Signal::SIGCHLD])
        .for_each(|signal| signals.add(signal));
    signals.thread_block().step("block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .step("watch signals")?;
    enter_namespaces()?;
    let (child, socket) = start(&spec, directory)?;
    let mut master = None;
    loop {
        match wire::receive(&socket)? {
            Message::Terminal(fd) => {
                copy_size(std::io::stdin(), &fd);
                master = Some(fd);
            }
            Message::Ready => {
                cgroup::place(&spec.id, child.as_raw());
                wire::go(&socket)?;
            }
            Message::Failed(code, words) => {
                let _ = waitpid(child, None);
                return Err(Error::Init { code, words });
            }
            Message::Begun => break,
        }
    }
    drop(socket);
    let mut state = State {
        pid: child.as_raw(),
        start_ticks: start_ticks(child.as_raw()).unwrap_or(0),
        status: Status::Running,
        started: now(),
        finished: 0,
    };
    state.save(directory)?;
    if let Some(fd) = started {
        rustix::io::write(fd, &[0]).step("say that the process began")?;
    }
    let code = relay(&spec, child, &signals, master)?;
    cgroup::remove(&spec.id);
    state.status = Status::Exited(code);
    state.finished = now();
    state.save(directory)?;
    Ok(code)
}

/// The PID namespace for the child; without root, a user namespace around it.
fn enter_namespaces() -> Result<()> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if uid == 0 {
        return nix::sched::unshare(CloneFlags::CLONE_NEWPID).step("make a PID namespace");
    }
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
        .step("make a user namespace (are they allowed here?)")?;
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

/// Starts init as process 1 of the new namespace.
fn start(spec: &LaunchSpec, directory: &Path) -> Result<(Pid, OwnedFd)> {
    let (mine, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step("make a socket pair")?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).step("pass on the socket")?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("__init")
        .env_clear()
        .arg(directory)
        .arg(theirs.as_raw_fd().to_string());
    let connected = spec.interactive && !spec.detach;
    command.stdin(if connected {
        Stdio::inherit()
    } else {
        Stdio::null()
    });
    let child = command.spawn().step("start the container's init")?;
    Ok((Pid::from_raw(child.id() as i32), mine))
}

/// Passes on signals and terminal bytes until the process has ended; its exit code.
fn relay(spec: &LaunchSpec, child: Pid, signals: &SignalFd, master: Option<OwnedFd>) -> Result<u8> {
    let attached = master.is_some() && !spec.detach;
    let raw = if attached && spec.interactive {
        Raw::enter()
    } else {
        None
    };
    let stdin = std::io::stdin();
    let mut input_open = attached && spec.interactive;
    let mut master_open = master.is_some();
    let mut code = None;
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(master) = master.as_ref().filter(|_| master_open) {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
            if input_open {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        // Once the process has ended, only what it wrote before is still waited for.
        let timeout = if code.is_some() {
            PollTimeout::ZERO
        } else {
            PollTimeout::NONE
        };
        let ready = match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => continue,
            done => done.step("wait for the container")?,
        };
        if let (Some(code), true) = (code, ready == 0 || !master_open) {
            drop(raw);
            return Ok(code);
        }
        let events: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if events[0] {
            while let Some(info) = signals.read_signal().step("read a signal")? {
                let signal = Signal::try_from(info.ssi_signo as i32).unwrap_or(Signal::SIGTERM);
                match signal {
                    Signal::SIGCHLD => code = code.or(ended(child)?),
                    Signal::SIGWINCH if attached => {
                        if let Some(master) = &master {
                            copy_size(&stdin, master);
                        }
                    }
                    // It may have ended just now.
                    other => drop(nix::sys::signal::kill(child, other)),
                }
            }
        }
        let Some(master) = &master else { continue };
        if events.get(1) == Some(&true) {
            master_open = copy(master, rustix::stdio::stdout());
        }
        if events.get(2) == Some(&true) {
            input_open = copy(rustix::stdio::stdin(), master);
        }
    }
}

/// Copies what is there; false at the end.
fn copy(from: impl AsFd, to: impl AsFd) -> bool {
    let mut buffer = [0; 16384];
    let Ok(length @ 1..) = rustix::io::read(from, &mut buffer[..]) else {
        return false;
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Reaps whoever ended; the code of `child` if it was among them.
fn ended(child: Pid) -> Result<Option<u8>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, exit)) if pid == child => code = Some(exit as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(128 + signal as u8)
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(code),
            Err(nix::errno::Errno::EINTR) | Ok(_) => {}
            Err(e) => return Err(e).step("wait for the process"),
        }
    }
}
