//! Containers of bundles: a directory and a document that somebody else made, created by one command and started
//! by another, with nobody of ours to watch over them.
//!
//! The stages and rooms are those of every launch: an order in a sealed memory file, the same program image that
//! nothing can change, mounts made detached and placed by descriptors, the same groups, filter and last steps.
//! What differs is what a bundle's document decides: which namespaces, mounts, devices and rights there are, in
//! which order, what runs in between, and that process 1 waits until it is started.
//!
//! ```text
//! create ─exec→ init: groups, namespaces, root, hooks, rights … waits    create exits, the caller's reaper has init
//! start  ─connects→ init becomes the program, which closes the connection
//! ```

mod attend;
mod copy_up;
mod groups;
mod hook;
mod ids;
pub(crate) mod init;
pub(crate) mod join;
mod mount;
mod nodes;
mod process;
mod rootfs;
mod spaces;
mod spec;
mod start;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

pub use self::attend::Attendance;
pub use self::hook::{Hook, HookState};
pub use self::ids::{IdMap, IdMaps};
pub use self::join::exec as exec_in_bundle;
pub use self::spec::{
    BundleMount, BundleMountKind, BundleProcess, BundleSpace, BundleSpec, CapabilitySets,
    Propagation, PropagationWay, Scheduler, Spaces,
};
pub use self::start::{is_waiting, start as start_bundle};
use crate::error::{Error, Result, Step};
use crate::monitor::pid_of;
use crate::monitor::streams::Ends;
use crate::wire::Message;
use crate::{STAGE, Stage, cgroup, sealed, wire};

/// Standard streams of a process that is being started.
pub enum Streams {
    /// Those of this process.
    Inherited,
    /// Pipes.
    Piped(Ends),
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step("create a socket pair")
}

/// Starts a stage that obeys `order` and inherits `passed`, beside what its process is to keep.
fn spawn(
    name: &str,
    program: &OwnedFd,
    order: &OwnedFd,
    passed: &[&OwnedFd],
    process: &BundleProcess,
    streams: Streams,
) -> Result<Pid> {
    for fd in passed {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).step("pass on a descriptor")?;
    }
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0(name).arg(STAGE);
    command.arg(order.as_raw_fd().to_string()).env_clear();
    match streams {
        Streams::Inherited if process.terminal => {
            command.stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Streams::Inherited => {}
        Streams::Piped(ends) => {
            command.stdin(ends.stdin).stdout(ends.stdout);
            command.stderr(ends.stderr);
        }
    }
    let child = command.spawn().step("start the process")?;
    for fd in passed {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)
            .step("keep a descriptor from others")?;
    }
    Ok(Pid::from_raw(child.id() as i32))
}

/// A process that waits for the last word before it goes on; it is killed where that does not come.
pub struct Begun {
    socket: Option<OwnedFd>,
    child: Option<Pid>,
    process: Option<(OwnedFd, i32)>,
    terminal: Option<OwnedFd>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.socket.take().is_none() {
            return;
        }
        if let Some((process, _)) = &self.process {
            let _ = cairn_sys::send_signal(process, nix::sys::signal::Signal::SIGKILL as i32);
        }
        if let Some(child) = self.child {
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
        }
    }
}

impl Begun {
    fn new(socket: OwnedFd, child: Option<Pid>) -> Self {
        Self {
            socket: Some(socket),
            child,
            process: None,
            terminal: None,
        }
    }

    /// The process's number.
    pub fn pid(&self) -> Result<i32> {
        let gone = || Error::Invalid("the process exited before it began".into());
        self.process.as_ref().map(|(_, pid)| *pid).ok_or_else(gone)
    }

    /// The other end of its terminal.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// A descriptor of the process.
    pub fn take_process(&mut self) -> Result<OwnedFd> {
        let (process, _) = self
            .process
            .as_ref()
            .ok_or_else(|| Error::Invalid("the process exited before it began".into()))?;
        process.try_clone().step("share a process")
    }

    /// The next moment at which it waits; `false` where it has begun. `known` is called with its number.
    fn until_ready(&mut self, known: &mut dyn FnMut(i32) -> Result<()>) -> Result<()> {
        let gone = || Error::Invalid("the process exited before it began".into());
        loop {
            let socket = self.socket.as_ref().ok_or_else(gone)?;
            match wire::receive(socket)? {
                Message::Process(fd) => {
                    // Where it has failed since, it said why; that comes next.
                    if let Ok(pid) = pid_of(&fd) {
                        self.process = Some((fd, pid));
                        known(pid)?;
                    }
                }
                Message::Terminal(fd) => self.terminal = Some(fd),
                Message::Ready => return Ok(()),
                Message::Failed(code, words) => return Err(Error::Init { code, words }),
                Message::Begun => return Err(gone()),
            }
        }
    }

    fn go(&self) -> Result<()> {
        let gone = || Error::Invalid("the process exited before it began".into());
        wire::go(self.socket.as_ref().ok_or_else(gone)?)
    }

    /// Says the last word. A container now waits to be started; another process has begun when this returns.
    pub fn finish(mut self, wait: bool) -> Result<()> {
        self.go()?;
        let gone = || Error::Invalid("the process exited before it began".into());
        let socket = self.socket.as_ref().ok_or_else(gone)?;
        if wait {
            match wire::receive(socket)? {
                Message::Begun => {}
                Message::Failed(code, words) => return Err(Error::Init { code, words }),
                _ => return Err(Error::Invalid("the process sent an invalid message".into())),
            }
        }
        self.socket = None;
        Ok(())
    }
}

/// What is done while a container is created.
pub trait Creation {
    /// It has a process 1, which has done nothing yet.
    fn begun(&mut self, pid: i32) -> Result<()>;
    /// Its namespaces and mounts are there; its root is not entered.
    fn built(&mut self, pid: i32) -> Result<()>;
}

/// Creates a container, whose start socket is in `directory`, up to the moment before it waits there.
pub fn create_bundle(
    spec: &BundleSpec,
    directory: &Path,
    streams: Streams,
    creation: &mut dyn Creation,
) -> Result<Begun> {
    let (mine, theirs) = pair()?;
    let listener = start::listen_in(directory)?;
    let program = sealed::program()?;
    let order = sealed::order(&Stage::BundleInit(Box::new(init::Order {
        spec: spec.clone(),
        socket: theirs.as_raw_fd(),
        listener: listener.as_raw_fd(),
    })))?;
    let passed = [&order, &theirs, &listener];
    let before = spaces::for_children(&spec.spaces)?;
    let started = spawn(
        "cairn-init",
        &program,
        &order,
        &passed,
        &spec.process,
        streams,
    );
    before.restore()?;
    let mut begun = Begun::new(mine, Some(started?));
    drop((theirs, listener));
    begun.until_ready(&mut |pid| {
        creation.begun(pid)?;
        cgroup::place(&spec.group, &spec.limits, pid)
    })?;
    begun.go()?;
    begun.until_ready(&mut |_| Ok(()))?;
    creation.built(begun.pid()?)?;
    // In a user namespace no device can be opened but those of the host that are shown.
    if let (Some(rules), true) = (&spec.devices, crate::rootless::has_all_ids()) {
        cgroup::restrict_devices(&spec.group, rules)?;
    }
    begun.go()?;
    begun.until_ready(&mut |_| Ok(()))?;
    Ok(begun)
}
