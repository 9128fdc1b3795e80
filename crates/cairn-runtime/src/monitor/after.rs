//! The program that runs when the container has ended, however its monitor ends.
//!
//! A process of its own waits for it, forked before everything else: once the monitor is in a PID namespace whose
//! process 1 is gone it can start nothing any more. The program is executed when the container's process has
//! begun, so that it is not in the way of the start and is ready at the end.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::error::{Result, Step};
use crate::spec::LaunchSpec;

/// The process that waits.
pub struct After {
    process: Pid,
    /// Its standard input: the program begins its work at the end of that.
    input: OwnedFd,
}

impl After {
    /// Starts it, where the spec names a program. To be called while this process has one thread.
    pub fn start(spec: &LaunchSpec) -> Result<Option<Self>> {
        let [program, args @ ..] = &spec.after[..] else {
            return Ok(None);
        };
        let started = "start the cleanup after the container";
        let (theirs, input) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(started)?;
        if let Some(pid) = cairn_sys::fork_alone(false).step(started)? {
            let process = Pid::from_raw(pid);
            return Ok(Some(Self { process, input }));
        }
        let mut command = Command::new(program.as_os_str());
        command.args(args.iter().map(|arg| arg.as_os_str()));
        let Err(e) = wait_and_become(command, theirs);
        eprintln!("cairn: {}", cairn_model::one_line(&e));
        std::process::exit(1);
    }

    /// The container's process has begun.
    pub fn make_ready(&self) {
        // Where it is gone, there is nothing left to be made ready.
        let _ = rustix::io::write(&self.input, &[0]);
    }

    /// Has the program do its work, and waits for it. It reports its own errors.
    pub fn run(self) {
        drop(self.input);
        while waitpid(self.process, None) == Err(nix::errno::Errno::EINTR) {}
    }
}

/// Waits until the process has begun or the monitor is gone, and becomes the program. It has nothing of the
/// monitor's but standard error: a lock would be held, and a pipe kept open.
fn wait_and_become(mut command: Command, input: OwnedFd) -> Result<Infallible> {
    let waiting = "wait for the container's process";
    // Signals of the caller's terminal are not for it.
    rustix::process::setpgid(None, None).step(waiting)?;
    rustix::stdio::dup2_stdin(&input).step(waiting)?;
    drop(input);
    let nowhere = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .step(waiting)?;
    rustix::stdio::dup2_stdout(&nowhere).step(waiting)?;
    drop(nowhere);
    cairn_sys::close_all_from(3).step(waiting)?;
    let mut begun = [0];
    while rustix::io::read(rustix::stdio::stdin(), &mut begun) == Err(rustix::io::Errno::INTR) {}
    Err(command.stdin(Stdio::inherit()).exec()).step("start the cleanup after the container")
}
