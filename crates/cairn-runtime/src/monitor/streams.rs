//! The standard streams of a container: pipes or a terminal between it and the caller or its log, so that the
//! container never holds an inode of the host's (moby#45728).
//!
//! A thread copies each stream. Threads end with the stream they read, or, when the process has ended, with
//! what was written before that.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::event::EventfdFlags;
use rustix::io::Errno;

use crate::STAGE;
use crate::attach::server::{Clients, Input};
use crate::error::{Result, Step};
use crate::log::{LogStream, LogWriter};
use crate::monitor::ends::{Terminal, write_all};
use crate::spec::LaunchSpec;

const BUFFER_BYTES: usize = 32 << 10;

/// The ends of the container's standard streams that init starts with.
pub struct Ends {
    /// Standard input: ends at once where it is not connected.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Ends {
    /// Starts a stage under `name` with these as its standard streams and an empty environment, in a control
    /// group if that can be. It obeys `order` and inherits `passed`, which stay open across every later exec of
    /// the caller, too.
    pub fn start(
        self,
        name: &str,
        program: &OwnedFd,
        order: &OwnedFd,
        passed: &[&OwnedFd],
        group: Option<&OwnedFd>,
    ) -> std::io::Result<Pid> {
        for fd in passed.iter().chain(&[order]) {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command
            .arg0(name)
            .arg(STAGE)
            .arg(order.as_raw_fd().to_string())
            .env_clear()
            .stdin(Stdio::from(self.stdin))
            .stdout(Stdio::from(self.stdout))
            .stderr(Stdio::from(self.stderr));
        // An older kernel, or a group that takes no processes: then it is moved there later.
        match group.map(cairn_sys::fork_into) {
            Some(Ok(Some(pid))) => Ok(Pid::from_raw(pid)),
            Some(Ok(None)) => {
                let _refused = command.exec();
                // Its end of the socket tells the monitor.
                std::process::exit(125)
            }
            Some(Err(_)) | None => Ok(Pid::from_raw(command.spawn()?.id() as i32)),
        }
    }
}

/// The monitor's ends.
pub struct Streams {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Pipes for a container.
pub fn pipes(interactive: bool) -> Result<(Streams, Ends)> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("create a pipe");
    let ((stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr)) =
        (pipe()?, pipe()?, pipe()?);
    let ours = Streams {
        stdin: interactive.then_some(to_stdin),
        stdout: from_stdout,
        stderr: from_stderr,
    };
    let ends = Ends {
        stdin,
        stdout,
        stderr,
    };
    Ok((ours, ends))
}

/// Where output goes.
struct Sink {
    stream: LogStream,
    /// To this process's own stream of that name.
    shown: bool,
    log: Option<Arc<Mutex<LogWriter>>>,
    clients: Clients,
}

impl Sink {
    /// False where nobody takes it any more.
    fn write(&self, bytes: &[u8]) -> bool {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.write(self.stream, bytes);
        }
        self.clients.write(self.stream, bytes);
        !self.shown
            || match self.stream {
                LogStream::Stdout => write_all(rustix::stdio::stdout(), bytes),
                LogStream::Stderr => write_all(rustix::stdio::stderr(), bytes),
            }
    }
}

/// The threads that copy.
pub struct Pumps {
    output: Vec<JoinHandle<()>>,
    ended: Arc<OwnedFd>,
    clients: Clients,
    input: Arc<Input>,
}

impl Pumps {
    /// Starts copying between the container and this process's standard streams, unless it works in the
    /// background, and into the log in `directory`. The client, if there is one, misses nothing.
    pub fn start(
        spec: &LaunchSpec,
        directory: &Path,
        streams: Streams,
        terminal: Option<&Terminal>,
        client: Option<UnixStream>,
    ) -> Result<Self> {
        let log = spec.log.map(|limits| LogWriter::open(directory, limits));
        let log = log.transpose()?;
        let shown = !spec.detach;
        // In the background only clients type.
        let (mut pumps, outputs) = Self::new(spec.interactive, streams, terminal)?;
        if let Some(client) = client {
            pumps.attach(client, b"")?;
        }
        pumps.go(spec.interactive && shown, shown, log, outputs, terminal)?;
        Ok(pumps)
    }

    /// The same by what is copied: standard input where it is `interactive`, output where it is `shown`.
    pub fn copying(
        interactive: bool,
        shown: bool,
        log: Option<LogWriter>,
        streams: Streams,
        terminal: Option<&Terminal>,
    ) -> Result<Self> {
        let (mut all, outputs) = Self::new(interactive, streams, terminal)?;
        all.go(interactive, shown, log, outputs, terminal)
            .map(|()| all)
    }

    /// Nothing is copied yet. Terminals take input where they are `open`.
    fn new(
        open: bool,
        streams: Streams,
        terminal: Option<&Terminal>,
    ) -> Result<(Self, [OwnedFd; 2])> {
        let ended = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).step("create an eventfd")?;
        let input = match (terminal, streams.stdin) {
            (Some(terminal), _) => Input::Terminal {
                terminal: terminal.clone(),
                open,
            },
            (None, Some(stdin)) => Input::Pipe(Mutex::new(Some(stdin))),
            (None, None) => Input::None,
        };
        let pumps = Self {
            output: Vec::new(),
            ended: Arc::new(ended),
            clients: Clients::default(),
            input: Arc::new(input),
        };
        Ok((pumps, [streams.stdout, streams.stderr]))
    }

    fn go(
        &mut self,
        interactive: bool,
        shown: bool,
        log: Option<LogWriter>,
        [stdout, stderr]: [OwnedFd; 2],
        terminal: Option<&Terminal>,
    ) -> Result<()> {
        let log = log.map(|log| Arc::new(Mutex::new(log)));
        let clients = self.clients();
        let sink = |stream| Sink {
            stream,
            shown,
            log: log.clone(),
            clients: clients.clone(),
        };
        let (out, err) = (sink(LogStream::Stdout), sink(LogStream::Stderr));
        match terminal {
            Some(terminal) => {
                let shared = terminal.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(master) = shared.as_ref() {
                    let own = master.try_clone().step("share the terminal")?;
                    self.output(own, out, Some(terminal.clone()))?;
                }
            }
            None => {
                self.output(stdout, out, None)?;
                self.output(stderr, err, None)?;
            }
        }
        if interactive {
            let input = self.input.clone();
            spawn(move || {
                copy_input(|bytes| input.take(bytes));
                input.close();
            })?;
        }
        Ok(())
    }

    /// Who sees the output beside this process.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Shows the output to a client, and passes on what it types.
    pub fn attach(&self, client: UnixStream, greeting: &[u8]) -> Result<()> {
        self.clients.add(client, greeting, self.input.clone())
    }

    fn output(&mut self, from: OwnedFd, to: Sink, terminal: Option<Terminal>) -> Result<()> {
        let ended = self.ended.clone();
        self.output.push(spawn(move || {
            if !copy_output(&from, &to, &ended)
                && let Some(terminal) = terminal
            {
                // Nobody looks any more: the terminal hangs up, as a window that is closed.
                terminal
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
            }
        })?);
        Ok(())
    }

    /// Waits until everything that the process wrote before its end is written on.
    pub fn finish(self) {
        // Anything wakes them.
        let _ = rustix::io::write(&*self.ended, &1_u64.to_ne_bytes());
        for thread in self.output {
            let _ = thread.join();
        }
    }
}

fn spawn(act: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(act)
        .step("start a thread")
}

/// Copies output until its end; false where it could not be written on.
fn copy_output(from: &OwnedFd, to: &Sink, ended: &OwnedFd) -> bool {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut last = false;
    loop {
        if !last {
            let mut fds = [
                PollFd::new(from.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return true,
                Ok(_) if fds[0].any() == Some(true) => {}
                Ok(_) => {
                    // The process has ended. What it left is read without waiting for more: somebody
                    // outside may have been handed the other end.
                    last = true;
                    if rustix::io::ioctl_fionbio(from, true).is_err() {
                        return true;
                    }
                }
            }
        }
        match rustix::io::read(from, &mut buffer[..]) {
            // A terminal answers EIO when its last user is gone.
            Ok(0) | Err(Errno::IO | Errno::AGAIN) => return true,
            Ok(length) => {
                if !to.write(&buffer[..length]) {
                    return false;
                }
            }
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// Copies this process's standard input until its end, or until it is not taken any more.
pub(crate) fn copy_input(mut write: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
            Ok(0) => return,
            Ok(length) => {
                if !write(&buffer[..length]) {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let stdin = PollFd::new(rustix::stdio::stdin(), PollFlags::POLLIN);
                let _ = poll(&mut [stdin], PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}
