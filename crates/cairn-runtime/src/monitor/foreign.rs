//! A container that another OCI runtime makes (`run --runtime`).
//!
//! The process around the container calls the runtime, in a mount namespace of its own where the root is mounted.
//! It is process 1 of the PID namespace around: as soon as the runtime has created the container and is gone, the
//! container's process is its child, and ends with it. To the monitor it says what init says.

use std::convert::Infallible;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{PidfdFlags, pidfd_open};
use serde::Deserialize;

use super::outer::{code_of, die_with_monitor};
use super::streams::Ends;
use crate::detached::{QUIET, attach, filesystem};
use crate::error::{Error, Result, Step};
use crate::spec::LaunchSpec;
use crate::{init, rootfs, wire};

/// Where programs are that a runtime may call.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the runtime sends the terminal, in the container's directory.
const CONSOLE: &str = "console";
/// Of a runtime's log, from its end.
const LOG_BYTES_MAX: u64 = 64 << 10;

/// Runs as the process around the container; `socket` is closed when the process has begun.
pub fn live(order: &init::Order, socket: &mut Option<OwnedFd>, ends: Ends) -> Result<Infallible> {
    let closed = || Error::Invalid("the monitor exited".into());
    let monitor = socket.as_ref().ok_or_else(closed)?;
    die_with_monitor(monitor)?;
    // What the caller's terminal sends is for the monitor to pass on.
    rustix::process::setsid().step("start a session")?;
    mount(&order.spec, &order.place)?;
    let runtime = Runtime::of(order)?;
    let (pid, terminal) = runtime.create(order.spec.terminal, ends)?;
    let process = rustix::process::Pid::from_raw(pid).ok_or_else(closed)?;
    let process = pidfd_open(process, PidfdFlags::empty()).step("open the container's process")?;
    wire::send_process(monitor, &process)?;
    if let Some(terminal) = &terminal {
        wire::send_terminal(monitor, terminal)?;
    }
    drop((process, terminal));
    wire::ready(monitor)?;
    runtime.start()?;
    *socket = None;
    cairn_sys::close_all_from(0).step("close unneeded descriptors")?;
    let code = wait(Pid::from_raw(pid));
    runtime.delete();
    std::process::exit(code);
}

/// The root at its place, and the processes of this namespace in `/proc`; nobody else sees either.
fn mount(spec: &LaunchSpec, place: &Path) -> Result<()> {
    rootfs::alone()?;
    let root = cairn_view::mount(&spec.plan)?;
    if !spec.privileged {
        cairn_sys::mount_no_devices(&root).step("disable device nodes of the image")?;
    }
    cairn_view::attach(&root, place)?;
    show_processes()
}

fn show_processes() -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(CWD, "/proc", flags, Mode::empty()).step("open /proc")?;
    attach(&filesystem("proc", "", QUIET)?, &target, "/proc")
}

/// The end of the container's process, which is a child of this one; whoever else ends is reaped.
fn wait(process: Pid) -> i32 {
    loop {
        let waited = waitpid(None, None);
        let of_another = waited.is_ok_and(|status| status.pid() != Some(process));
        if let (false, Some(code)) = (of_another, code_of(waited)) {
            return code;
        }
    }
}

/// The other runtime, and where it keeps what it knows of this container.
struct Runtime {
    program: PathBuf,
    /// The container's own directory.
    directory: PathBuf,
    id: String,
}

impl Runtime {
    fn of(order: &init::Order) -> Result<Self> {
        let unknown = || Error::Invalid("the container has no name or runtime".into());
        let directory = order.place.parent().ok_or_else(unknown)?.to_owned();
        let id = directory.file_name().and_then(|name| name.to_str());
        let id = id.ok_or_else(unknown)?.to_owned();
        let program = order.spec.runtime.clone().ok_or_else(unknown)?;
        let runtime = Self {
            program,
            directory,
            id,
        };
        runtime.begin().map(|()| runtime)
    }

    /// Removes what an earlier start left, which was killed.
    fn begin(&self) -> Result<()> {
        let _ = fs::remove_dir_all(self.directory.join("runtime"));
        let _ = fs::remove_file(self.log());
        // The name of a socket has 108 bytes at most (unix(7)), so it is a short one.
        std::env::set_current_dir(&self.directory).step("enter the container's directory")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("runtime.log")
    }

    /// A command of the runtime's.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.directory.join("runtime"))
            .arg("--log")
            .arg(self.log())
            .args(["--log-format", "json", verb])
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Creates the container: the number of its process here, and the other end of its terminal.
    fn create(&self, terminal: bool, ends: Ends) -> Result<(i32, Option<OwnedFd>)> {
        let pid_file = self.directory.join("runtime.pid");
        let _ = fs::remove_file(CONSOLE);
        let listener = terminal.then(|| UnixListener::bind(CONSOLE));
        let listener = listener.transpose().step("wait for the terminal")?;
        let mut command = self.command("create");
        command
            .arg("--bundle")
            .arg(self.directory.join("bundle"))
            .arg("--pid-file")
            .arg(&pid_file);
        if terminal {
            command.args(["--console-socket", CONSOLE]);
        }
        command
            .arg(&self.id)
            .stdin(ends.stdin)
            .stdout(ends.stdout)
            .stderr(ends.stderr);
        self.run(command)?;
        let terminal = listener.map(|listener| take(&listener)).transpose()?;
        let text = fs::read_to_string(&pid_file).step("read the id of the container's process")?;
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| {
            Error::Invalid(format!("{} named no process", self.program.display()))
        })?;
        Ok((pid, terminal))
    }

    fn start(&self) -> Result<()> {
        let mut command = self.command("start");
        command.arg(&self.id);
        self.run(command)
    }

    /// Removes what the runtime keeps of a container that has ended.
    fn delete(&self) {
        let mut command = self.command("delete");
        // What is left of it is in the container's directory.
        let _ = command.args(["--force", &self.id]).status();
    }

    fn run(&self, mut command: Command) -> Result<()> {
        let program = self.program.display();
        let status = command.status().step(format!("execute {program}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed(status)),
        }
    }

    fn failed(&self, status: ExitStatus) -> Error {
        let said = last_error(&self.log());
        let words = said.unwrap_or_else(|| format!("it ended with {status}"));
        let code = code_for(&words);
        let words = format!("{}: {words}", self.program.display());
        Error::Init { code, words }
    }
}

/// The exit code that these words mean, as Docker has it.
fn code_for(words: &str) -> u8 {
    let missing = ["executable file not found", "no such file or directory"];
    match words {
        _ if missing.iter().any(|sign| words.contains(sign)) => 127,
        _ if words.contains("permission denied") => 126,
        _ => 125,
    }
}

/// A line of a runtime's log.
#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// The last error in a runtime's log.
fn last_error(log: &Path) -> Option<String> {
    let text = end_of(log).ok()?;
    let lines = text.lines().rev();
    let mut parsed = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let error = parsed.find(|line| matches!(&line.level[..], "error" | "fatal"))?;
    Some(error.msg.replace(['\n', '\r'], " "))
}

fn end_of(log: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The terminal that the runtime sent.
fn take(listener: &UnixListener) -> Result<OwnedFd> {
    let step = "receive the terminal";
    // It has connected before it returned, or it never will.
    listener.set_nonblocking(true).step(step)?;
    let (socket, _) = listener.accept().step(step)?;
    let (_, fd) = wire::receive_with(&socket, &mut [0; 4096]).step(step)?;
    fd.ok_or_else(|| Error::Invalid("the runtime sent no terminal".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        assert_eq!(last_error(&log), None);
        let lines = [
            r#"{"level":"error","msg":"first"}"#,
            r#"{"level":"error","msg":"exec: \"x\": executable file not found\nin $PATH"}"#,
            r#"{"level":"debug","msg":"later"}"#,
            "not json",
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        let words = last_error(&log).unwrap();
        assert_eq!(words, "exec: \"x\": executable file not found in $PATH");
        assert_eq!(code_for(&words), 127);
        assert_eq!(code_for("permission denied"), 126);
        assert_eq!(code_for("else"), 125);
    }
}
