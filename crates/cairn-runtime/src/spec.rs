//! The launch spec: everything init and monitor have to know, as data.

use std::path::{Path, PathBuf};

use cairn_model::MountPlan;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};

/// A file or directory of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the container, absolute; exists in the rootfs.
    pub target: String,
    /// Without write access.
    pub read_only: bool,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// In the container, absolute; exists in the rootfs.
    pub target: String,
    /// Mount options, as `size=64m,mode=1777`.
    pub options: String,
}

/// Which network the process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// That of the host.
    Host,
    /// Its own, with loopback only.
    None,
}

/// All that a launch needs. Holds environment values, so it is stored readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Id of the container, for the cgroup's name.
    pub id: String,
    /// How to mount the root file system.
    pub plan: MountPlan,
    /// Command line, not empty.
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `user[:group]` by name or number, looked up in the container; empty for root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Files and directories of the host.
    pub binds: Vec<Bind>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// The network.
    pub network: Network,
    /// The process gets a terminal of its own.
    pub terminal: bool,
    /// Standard input is connected.
    pub interactive: bool,
    /// The monitor works in the background and output goes to the file `log`.
    pub detach: bool,
    /// A small init stays process 1 and reaps.
    pub init: bool,
    /// Program and arguments that the monitor runs when the process has ended (removal, for `--rm`).
    pub after: Vec<String>,
}

impl LaunchSpec {
    fn path(directory: &Path) -> PathBuf {
        directory.join("spec.json")
    }

    /// Writes the spec into the container's directory.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let path = Self::path(directory);
        let bytes = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .step("encode the launch spec")?;
        let mut options = std::fs::File::options();
        std::os::unix::fs::OpenOptionsExt::mode(
            options.write(true).create(true).truncate(true),
            0o600,
        );
        let mut file = options
            .open(&path)
            .step(format!("create {}", path.display()))?;
        std::io::Write::write_all(&mut file, &bytes).step(format!("write {}", path.display()))
    }

    /// Reads the spec of the container in `directory`.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = Self::path(directory);
        let bytes = std::fs::read(&path).step(format!("read {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Invalid(format!("{} is not a launch spec: {e}", path.display())))
    }
}
