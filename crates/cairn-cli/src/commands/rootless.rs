//! Commands of ordinary users: which of them enter the user's namespace, and where their repository is.

use std::path::PathBuf;

use anyhow::{Context, Result};
use cairn_runtime::rootless::{self, Rootless};

use crate::args::Command;

/// Whose command it is.
#[derive(Debug)]
pub enum Caller {
    /// Root's, or one that needs no privilege.
    Plain,
    /// An ordinary user's, in a user namespace.
    Rootless(Rootless),
    /// An ordinary user's, who can have no user namespace.
    Shut(cairn_runtime::Error),
}

impl Caller {
    /// Enters the namespace of an ordinary user where the command needs it. To be called before threads are
    /// started.
    pub fn enter(command: &Command) -> Self {
        if rustix::process::geteuid().is_root() || !command.takes_ids() {
            return Self::Plain;
        }
        match rootless::enter() {
            Ok(entered) => Self::Rootless(entered),
            // What cannot be done without says so.
            Err(e) => Self::Shut(e),
        }
    }

    /// Where the repository is that no option names.
    pub fn default_root(&self) -> Result<PathBuf> {
        // In a namespace an ordinary user is root.
        if matches!(self, Self::Plain) && rustix::process::geteuid().is_root() {
            return Ok("/var/lib/cairn".into());
        }
        let data = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        Ok(data
            .or_else(home)
            .context("neither XDG_DATA_HOME nor HOME is set; use --root")?
            .join("cairn"))
    }
}
