//! The start of a container: its monitor takes over.

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use cairn_runtime::{AttachOptions, Attached, DetachKeys, attach_over, monitor_command};

use crate::error::{Error, Result, Step};
use crate::interrupt::Interrupts;
use crate::prepare::Prepared;

impl Prepared {
    /// Name of the container.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True where it has a terminal and keeps its standard input open.
    pub fn is_interactive(&self) -> bool {
        self.spec.terminal && self.spec.interactive
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What could not be had as it was asked for.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Leaves the container as it is, to be started later.
    pub fn leave(self, interrupts: &Interrupts) -> String {
        interrupts.over();
        self.name
    }

    /// Becomes the monitor, in the foreground; returns only what went wrong. Nothing may hold the database any
    /// more: the monitor is a fresh program image that never opens it.
    pub fn become_monitor(self, interrupts: &Interrupts) -> Error {
        tracing::info!(container = self.name, "become the monitor");
        // Before descriptors can be inherited: what takes the container back would hold its lock.
        interrupts.over();
        let made = monitor_command(
            &self.spec,
            &self.secrets,
            &self.directory,
            &self.lock,
            self.claim.as_ref(),
            None,
            None,
        );
        let (mut command, _order) = match made {
            Ok(made) => made,
            Err(e) => return e.into(),
        };
        let source = command.exec();
        Error::Step {
            step: "start the monitor".into(),
            source,
        }
    }

    /// Starts the monitor in the background and waits until the process has begun.
    pub fn start_detached(self, interrupts: &Interrupts) -> Result<()> {
        self.start_with(interrupts, None)
    }

    /// The same with the caller's terminal attached from the beginning, until the container ends or the keys are
    /// typed.
    pub fn start_attached(self, interrupts: &Interrupts, keys: DetachKeys) -> Result<Attached> {
        let (mine, theirs) = UnixStream::pair().step("create a socket pair")?;
        let (directory, terminal) = (self.directory.clone(), self.spec.terminal);
        self.start_with(interrupts, Some(theirs.into()))?;
        let options = AttachOptions {
            input: true,
            terminal,
            keys,
            pass_signals: true,
        };
        Ok(attach_over(mine, &directory, &options)?)
    }

    fn start_with(self, interrupts: &Interrupts, client: Option<OwnedFd>) -> Result<()> {
        tracing::info!(container = self.name, "start the monitor in the background");
        let (mut reader, writer) = std::io::pipe().step("create a pipe")?;
        let writer = OwnedFd::from(writer);
        interrupts.over();
        let (mut command, order) = monitor_command(
            &self.spec,
            &self.secrets,
            &self.directory,
            &self.lock,
            self.claim.as_ref(),
            Some(&writer),
            client.as_ref(),
        )?;
        // What this process was told as a service is the container's matter only where that was asked for.
        let socket = self
            .spec
            .notify
            .and_then(|_| std::env::var_os("NOTIFY_SOCKET"));
        let child = command
            .env_clear()
            .envs(socket.map(|socket| ("NOTIFY_SOCKET", socket)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.step("start the monitor")?;
        cairn_runtime::rootless::leave_to(child.id());
        // The monitor's own are the only ones now: they tell its end.
        drop((writer, client, order, self.lock, self.claim));
        answer(&mut reader, "the monitor")
    }
}

/// Waits for how a start in the background went, which `who` says.
pub(crate) fn answer(reader: &mut PipeReader, who: &str) -> Result<()> {
    let mut answer = Vec::new();
    reader
        .read_to_end(&mut answer)
        .step("wait for the process to start")?;
    match &answer[..] {
        [0] => Ok(()),
        [code, words @ ..] => Err(Error::NotStarted {
            code: *code,
            words: String::from_utf8_lossy(words).into_owned(),
        }),
        [] => Err(Error::Refused(format!(
            "{who} was killed before the process started"
        ))),
    }
}
