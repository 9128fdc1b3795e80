//! Another process in a container that runs.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use cairn_image::ContainerConfig;
use cairn_repo::Repo;
use cairn_runtime::{Capabilities, LaunchSpec, State, Text, exec_command};

use crate::environment::environment;
use crate::error::{Error, Result, Step};

/// What the user wants to run.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// In which container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<Text>,
    /// Connect standard input.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Run in the background.
    pub detach: bool,
    /// `NAME[=VALUE]`
    pub env: Vec<Text>,
    /// Files with such lines.
    pub env_files: Vec<PathBuf>,
    /// Working directory, instead of the container's.
    pub workdir: Option<Text>,
    /// `USER[:GROUP]`, instead of the container's.
    pub user: Option<String>,
    /// All capabilities and system calls.
    pub privileged: bool,
}

/// A process that is ready to be started.
#[derive(Debug)]
#[must_use = "nothing runs yet"]
pub struct PreparedExec {
    spec: LaunchSpec,
    state: State,
}

/// Prepares a process with the container's own environment, user, directory and limits, and what the options
/// say instead.
pub fn exec(repo: &Repo, options: &ExecOptions) -> Result<PreparedExec> {
    let terminal = options.terminal && !options.detach;
    if options.interactive && terminal && !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Err(Error::Refused(
            "standard input is not a terminal; omit -t to use a pipe".into(),
        ));
    }
    let name = &options.container;
    let directory = repo.containers().dir(&repo.containers().find(name)?.id);
    let state = State::load(&directory);
    if !state.is_running() {
        return Err(Error::Refused(format!("container {name} is not running")));
    }
    if state.paused {
        return Err(Error::Refused(format!(
            "container {name} is paused; let it go on with \"cairn unpause {name}\""
        )));
    }
    let mut spec = LaunchSpec::load(&directory)?;
    let given = environment(
        &ContainerConfig::default(),
        &options.env_files,
        &options.env,
    )?;
    spec.env.extend(given);
    spec.args.clone_from(&options.command);
    if let Some(user) = &options.user {
        spec.user.clone_from(user);
    }
    if let Some(workdir) = &options.workdir {
        spec.cwd = match workdir.as_bytes().first() {
            Some(b'/') => workdir.clone(),
            _ => {
                return Err(Error::Usage(format!(
                    "working directory {:?} must start with /",
                    workdir.lossy()
                )));
            }
        };
    }
    if options.privileged {
        spec.capabilities = Capabilities::all();
        (spec.seccomp, spec.no_new_privileges) = (None, false);
    }
    (spec.interactive, spec.terminal, spec.detach) =
        (options.interactive, terminal, options.detach);
    (spec.init, spec.log, spec.after) = (false, None, Vec::new());
    Ok(PreparedExec { spec, state })
}

impl PreparedExec {
    /// Becomes whoever watches over the process, in the foreground; returns only what went wrong. Nothing may
    /// hold the database any more.
    pub fn become_watcher(self) -> Error {
        match exec_command(&self.spec, &self.state, None) {
            Ok((mut command, _order)) => Error::Step {
                step: "start the process".into(),
                source: command.exec(),
            },
            Err(e) => e.into(),
        }
    }

    /// Starts the process in the background.
    pub fn start_detached(self) -> Result<()> {
        let (mut reader, writer) = std::io::pipe().step("create a pipe")?;
        let writer = OwnedFd::from(writer);
        let (mut command, order) = exec_command(&self.spec, &self.state, Some(&writer))?;
        let child = command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.step("start the process")?;
        drop((writer, order));
        crate::start::answer(&mut reader, "the command that entered the container")
    }
}
