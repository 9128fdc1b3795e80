//! The caller's streams in place of those of a container that runs.

use std::path::PathBuf;

use cairn_repo::Repo;
use cairn_runtime::{AttachOptions, Attached, DetachKeys, LaunchSpec, State};

use crate::error::{Error, Result};

/// A container to attach to. Needs the repository no longer than this.
#[derive(Debug)]
#[must_use = "nothing is connected yet"]
pub struct Attaching {
    directory: PathBuf,
    options: AttachOptions,
}

impl Attaching {
    /// Finds a container that runs. `input` connects standard input where the container was created with `-i`.
    pub fn find(
        repo: &Repo,
        name: &str,
        input: bool,
        keys: DetachKeys,
        pass_signals: bool,
    ) -> Result<Self> {
        let directory = repo.containers().dir(&repo.containers().find(name)?.id);
        let state = State::load(&directory);
        if !state.is_running() {
            return Err(Error::Refused(format!(
                "container {name} is not running; \"cairn start -a {name}\" starts it, \"cairn logs {name}\" shows what it wrote"
            )));
        }
        if state.paused {
            return Err(Error::Refused(format!(
                "container {name} is paused; let it go on with \"cairn unpause {name}\""
            )));
        }
        let spec = LaunchSpec::load(&directory)?;
        let input = input && spec.interactive;
        if input && spec.terminal && !rustix::termios::isatty(rustix::stdio::stdin()) {
            return Err(Error::Refused(
                "standard input is not a terminal, but the container has one; use --no-stdin"
                    .into(),
            ));
        }
        Ok(Self {
            directory,
            options: AttachOptions {
                input,
                terminal: spec.terminal,
                keys,
                pass_signals,
            },
        })
    }

    /// Connects until the container ends or the caller leaves.
    pub fn attach(self) -> Result<Attached> {
        Ok(cairn_runtime::attach(&self.directory, &self.options)?)
    }
}
