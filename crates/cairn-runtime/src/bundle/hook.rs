//! Hooks: programs that a bundle names, run at fixed moments with the container's state as their input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};
use crate::init::program::Program;

/// What of its words is repeated at most.
const WORDS_MAX: u64 = 1000;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A program run at a fixed moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// At which moment, for people.
    pub moment: String,
    /// The program, absolute.
    pub path: PathBuf,
    /// Its arguments, its own name first; the path where there are none.
    pub args: Vec<String>,
    /// All of its environment.
    pub env: Vec<String>,
    /// Seconds after which it is killed, and has failed.
    pub timeout_secs: Option<u64>,
}

/// State of a container as its hooks read it (runtime-spec, "State").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: String,
    /// Its process 1; left out where it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its bundle's directory.
    pub bundle: PathBuf,
    /// Notes of whoever made the bundle.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl HookState {
    /// The same with this status and process.
    pub fn with(&self, status: &str, pid: Option<i32>) -> Self {
        Self {
            status: status.to_owned(),
            pid,
            ..self.clone()
        }
    }
}

impl Hook {
    fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::Invalid(format!(
            "{} hook {}: {why}",
            self.moment,
            self.path.display()
        ))
    }

    fn end(&self) -> Option<Instant> {
        let after = Duration::from_secs(self.timeout_secs?);
        Instant::now().checked_add(after)
    }

    /// Runs it in this process's namespaces.
    pub fn run(&self, state: &HookState) -> Result<()> {
        let mut command = Command::new(&self.path);
        if let [name, args @ ..] = &self.args[..] {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
            command.args(args);
        }
        let variables = self.env.iter().filter_map(|v| v.split_once('='));
        command.env_clear().envs(variables);
        // Files in memory: neither side waits for the other, whatever it reads or writes.
        let words = crate::sealed::memory("hook-stderr")?;
        command.stdin(input(state)?).stdout(Stdio::null());
        command.stderr(words.try_clone().step("start a hook")?);
        let mut child = command.spawn().map_err(|e| self.failed(e))?;
        let end = self.end();
        let status = loop {
            match child.try_wait().map_err(|e| self.failed(e))? {
                Some(status) => break status,
                None if end.is_some_and(|end| Instant::now() >= end) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self.failed("timed out"));
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(self.failed(format!("{status}{}", said(words))))
    }

    /// Runs it in a child of this process, which has one thread and is as the container's process is going to
    /// be; it is forked, so that it has all that and no more.
    pub fn run_inside(&self, state: &HookState) -> Result<()> {
        let input = input(state)?;
        let path = self.path.to_string_lossy().into_owned();
        let args = match &self.args[..] {
            [] => std::slice::from_ref(&path),
            args => args,
        };
        let program = Program::exact(&path, args, &self.env)?;
        let end = self.end();
        let Some(child) = cairn_sys::fork_alone(false).step("start a hook")? else {
            let connected = rustix::stdio::dup2_stdin(&input);
            if connected.is_ok() {
                let _ = program.execute();
            }
            std::process::exit(127);
        };
        let child = Pid::from_raw(child);
        loop {
            match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Ok(WaitStatus::Exited(_, code)) => {
                    return Err(self.failed(format!("exit status {code}")));
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return Err(self.failed(format!("killed by {signal}")));
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(self.failed(e)),
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                let _ = waitpid(child, None);
                return Err(self.failed("timed out"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The state as a hook's standard input.
fn input(state: &HookState) -> Result<File> {
    let bytes = serde_json::to_vec(state).map_err(std::io::Error::other);
    let mut file = crate::sealed::memory("hook-state")?;
    let written = bytes.and_then(|bytes| file.write_all(&bytes));
    let ready = written.and_then(|()| file.rewind());
    ready.step("write the state for a hook").map(|()| file)
}

/// What the hook wrote to its standard error.
fn said(mut file: File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind();
    let _ = file.take(WORDS_MAX).read_to_end(&mut bytes);
    let words = String::from_utf8_lossy(&bytes);
    match words.trim() {
        "" => String::new(),
        words => format!(": {words}"),
    }
}
