//! Starts a helper where it ends with the container, and waits until it has done its work.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{NetworkHelper, Port, UserNetwork, place, slirp};
use crate::error::{Error, Result, Step};
use crate::init::reset;

/// The address at which pasta takes questions for names.
pub(super) const NAME_SERVER: &str = "169.254.1.1";

/// How long a helper may take, in milliseconds: it waits for nobody.
const START_MS: u16 = 15_000;
/// Of what a helper says about an error, bytes.
const WORDS_BYTES_MAX: u64 = 4096;

/// Connects the network namespace of process `init`. The helper is put into the PID namespace of `outer`.
pub(crate) fn attach(network: &UserNetwork, init: i32, outer: Pid, directory: &Path) -> Result<()> {
    let begun = Begun::start(network, init, outer, directory)?;
    begun.finish(network, directory)
}

/// What a helper needs beside its arguments, made before it is forked.
pub(super) struct Ends {
    /// Where it says what went wrong.
    pub words: OwnedFd,
    /// Where slirp4netns says that it is ready.
    pub ready: OwnedFd,
    /// The container's directory.
    pub directory: OwnedFd,
}

/// A helper that was started.
struct Begun {
    child: Pid,
    words: PipeReader,
    ready: PipeReader,
}

impl Begun {
    fn start(network: &UserNetwork, init: i32, outer: Pid, directory: &Path) -> Result<Self> {
        let step = || format!("start {}", network.program.display());
        let (words, words_end) = std::io::pipe().step(step())?;
        let (ready, ready_end) = std::io::pipe().step(step())?;
        let ends = Ends {
            words: words_end.into(),
            ready: ready_end.into(),
            directory: File::open(directory).step(step())?.into(),
        };
        let outer = rustix::process::Pid::from_raw(outer.as_raw());
        let outer = outer.ok_or_else(|| Error::Invalid("the container has ended".into()))?;
        let outer = pidfd_open(outer, PidfdFlags::empty()).step(step())?;
        let Some(child) = cairn_sys::fork_alone(false).step(step())? else {
            drop((words, ready));
            let code = between(&outer, &ends, || {
                become_helper(network, init, directory, &ends)
            });
            std::process::exit(code);
        };
        Ok(Self {
            child: Pid::from_raw(child),
            words,
            ready,
        })
    }

    /// Waits until the network is there.
    fn finish(self, network: &UserNetwork, directory: &Path) -> Result<()> {
        let program = network.helper.program();
        let mut watched = [PollFd::new(self.words.as_fd(), PollFlags::POLLIN)];
        if network.helper == NetworkHelper::Slirp4netns {
            watched[0] = PollFd::new(self.ready.as_fd(), PollFlags::POLLIN);
        }
        let came = loop {
            match poll(&mut watched, PollTimeout::from(START_MS)) {
                Err(nix::errno::Errno::EINTR) => continue,
                done => break done.step(format!("wait for {program}"))?,
            }
        };
        if came == 0 {
            // It ends with the container, which does not start.
            return Err(Error::Invalid(format!(
                "{program} did not connect the container's network within {} s",
                START_MS / 1000
            )));
        }
        if network.helper == NetworkHelper::Slirp4netns {
            // It stays in the background of a process that is gone at once.
            let _ = waitpid(self.child, None);
            let mut ready = self.ready;
            if ready.read(&mut [0]).unwrap_or(0) == 1 {
                return slirp::forward(&network.ports, directory);
            }
            return Err(refused(program, &text(self.words)));
        }
        // It goes into the background when all is done, and closes what it says things to.
        let words = text(self.words);
        match waitpid(self.child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            _ => Err(refused(program, &words)),
        }
    }
}

fn text(words: impl Read) -> String {
    let mut bytes = Vec::new();
    // What there is of it.
    let _ = words.take(WORDS_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refused(program: &str, words: &str) -> Error {
    // Where there is no system log, it complains of that first.
    let lines = words.lines().map(str::trim);
    let mut last = lines.filter(|line| !line.is_empty() && !line.starts_with("Failed to send"));
    let last = last.next_back().unwrap_or("it said nothing").to_owned();
    Error::Invalid(format!(
        "{program} cannot connect the container's network: {last}"
    ))
}

/// In the child: starts the helper in the PID namespace of `outer`, and waits until it has gone into the background
/// there. That namespace takes the children of this process only, and an ordinary user's monitor could not come back
/// from it (setns(2)). What the helper leaves behind belongs to `outer`, for a PID namespace does not end before
/// the last process in it is waited for.
fn between(outer: &OwnedFd, ends: &Ends, become_it: impl FnOnce() -> Result<Infallible>) -> i32 {
    let say = |e: Error| {
        // Whoever reads it is the monitor.
        let _ = rustix::io::write(&ends.words, cairn_model::one_line(&e).as_bytes());
        1
    };
    let entered = setns(outer.as_fd(), CloneFlags::CLONE_NEWPID);
    let forked = entered
        .map_err(std::io::Error::from)
        .and_then(|()| cairn_sys::fork_alone(false));
    match forked.step("enter the container's PID namespace") {
        Err(e) => say(e),
        Ok(None) => {
            let Err(e) = become_it();
            say(e)
        }
        Ok(Some(helper)) => {
            // The monitor waits for the end of what is said.
            let _ = cairn_sys::close_all_from(0);
            match waitpid(Pid::from_raw(helper), None) {
                Ok(WaitStatus::Exited(_, code)) => code,
                _ => 1,
            }
        }
    }
}

/// In the child's child: becomes the helper, with the namespace at a path that it may open.
fn become_helper(
    network: &UserNetwork,
    init: i32,
    directory: &Path,
    ends: &Ends,
) -> Result<Infallible> {
    unshare(CloneFlags::CLONE_NEWNS).step("create a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).step("make mounts private")?;
    let place = place(directory);
    File::create(&place).step(format!("create {}", place.display()))?;
    let namespace = format!("/proc/{init}/ns/net");
    mount_bind(&namespace, &place).step(format!("mount {namespace}"))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.step("open /dev/null")?;
    let connected = "connect the helper's streams";
    rustix::stdio::dup2_stdin(&null).step(connected)?;
    rustix::stdio::dup2_stdout(&ends.words).step(connected)?;
    rustix::stdio::dup2_stderr(&ends.words).step(connected)?;
    cairn_sys::close_on_exec_from(3).step("close inherited descriptors")?;
    reset::signals()?;
    let args = match network.helper {
        NetworkHelper::Pasta => pasta(&network.ports, &place),
        NetworkHelper::Slirp4netns => {
            if cairn_sys::fork_alone(false)
                .step("start slirp4netns")?
                .is_some()
            {
                std::process::exit(0);
            }
            slirp::arguments(ends, &place)?
        }
    };
    let program = CString::new(network.program.as_os_str().as_bytes());
    let program = program.map_err(|_| Error::Invalid("the helper's path has a NUL".into()))?;
    let args = [network.helper.program().to_owned()]
        .into_iter()
        .chain(args);
    let args: std::result::Result<Vec<CString>, _> = args.map(CString::new).collect();
    let args = args.map_err(|_| Error::Invalid("an argument of the helper has a NUL".into()))?;
    let search = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let Err(e) = nix::unistd::execve(&program, &args, &[search]);
    Err(e).step(format!("execute {}", network.program.display()))
}

/// Arguments of pasta: nothing but what is asked for leads in, and nothing leads to the host's own services.
fn pasta(ports: &[Port], place: &Path) -> Vec<String> {
    let mut args: Vec<String> = [
        "--config-net",
        "--quiet",
        "--netns-only",
        "--no-map-gw",
        "--dns-forward",
        NAME_SERVER,
    ]
    .map(str::to_owned)
    .into();
    if crate::rootless::has_all_ids() {
        // As nobody it could not enter a namespace that belongs to root.
        args.extend(["--runas".into(), "0".into()]);
    }
    for (option, udp) in [("-t", false), ("-u", true)] {
        let wanted = ports.iter().filter(|port| port.udp == udp);
        let specs: Vec<String> = wanted.map(pasta_port).collect();
        for spec in if specs.is_empty() {
            vec!["none".into()]
        } else {
            specs
        } {
            args.extend([option.to_owned(), spec]);
        }
    }
    args.extend(["-T", "none", "-U", "none", "--netns"].map(str::to_owned));
    args.push(place.display().to_string());
    args
}

fn pasta_port(port: &Port) -> String {
    let address = port.address.map(|address| format!("{address}/"));
    format!(
        "{}{}:{}",
        address.unwrap_or_default(),
        port.host,
        port.container
    )
}

impl Ends {
    /// A path by which the helper finds a name in the container's directory, however long that one's path is; its
    /// descriptor stays open.
    pub(super) fn short_path(&self, name: &str) -> Result<String> {
        rustix::io::fcntl_setfd(&self.directory, rustix::io::FdFlags::empty())
            .step("pass on a descriptor")?;
        Ok(format!(
            "/proc/self/fd/{}/{name}",
            self.directory.as_raw_fd()
        ))
    }
}
