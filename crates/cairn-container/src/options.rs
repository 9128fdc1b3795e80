//! What can be asked of a new container.

use std::path::PathBuf;

use cairn_runtime::{LogLimits, Network, Text};

use crate::generated::Names;
use crate::limits::LimitOptions;
use crate::security::Security;
use crate::surroundings::Surroundings;

impl RunOptions {
    /// A container of an image with nothing said about it, which is not started yet.
    pub fn of_image(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            command: Vec::new(),
            name: None,
            interactive: false,
            terminal: false,
            detach: true,
            remove: false,
            volumes: Vec::new(),
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            secrets: Vec::new(),
            tmpfs: Vec::new(),
            env: Vec::new(),
            env_files: Vec::new(),
            workdir: None,
            user: None,
            entrypoint: None,
            hostname: None,
            read_only: false,
            network: Network::Host,
            init: false,
            security: Security::default(),
            limits: LimitOptions::default(),
            surroundings: Surroundings::default(),
            names: Names::default(),
            labels: Vec::new(),
            stop_timeout_secs: None,
            stop_signal: None,
            log: LogLimits::default(),
            runtime: None,
            sdnotify: None,
        }
    }
}

/// What the user wants.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Image or committed snapshot.
    pub image: String,
    /// Words after it.
    pub command: Vec<Text>,
    /// Name of the container.
    pub name: Option<String>,
    /// Connect standard input.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Run in the background.
    pub detach: bool,
    /// Remove it when it has ended.
    pub remove: bool,
    /// `[HOST|NAME:]CONTAINER[:OPTIONS]`
    pub volumes: Vec<Text>,
    /// `KEY=VALUE,…`
    pub mounts: Vec<String>,
    /// `CONTAINER[:ro|rw]`
    pub volumes_from: Vec<String>,
    /// `id=NAME,src=FILE|env=VARIABLE`
    pub secrets: Vec<String>,
    /// `CONTAINER[:OPTIONS]`
    pub tmpfs: Vec<String>,
    /// `NAME[=VALUE]`
    pub env: Vec<Text>,
    /// Files with such lines.
    pub env_files: Vec<PathBuf>,
    /// Working directory.
    pub workdir: Option<Text>,
    /// `USER[:GROUP]`
    pub user: Option<String>,
    /// Program instead of the image's entrypoint.
    pub entrypoint: Option<Text>,
    /// Host name.
    pub hostname: Option<String>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Network.
    pub network: Network,
    /// A small init stays process 1.
    pub init: bool,
    /// What the process may do.
    pub security: Security,
    /// What it may use.
    pub limits: LimitOptions,
    /// Namespaces, kernel parameters and limits of the process.
    pub surroundings: Surroundings,
    /// What is added to its files of names.
    pub names: Names,
    /// `NAME[=VALUE]`
    pub labels: Vec<String>,
    /// Seconds between the stop signal and the end.
    pub stop_timeout_secs: Option<u64>,
    /// Signal that asks it to end, instead of the image's.
    pub stop_signal: Option<String>,
    /// How much of its output is kept.
    pub log: LogLimits,
    /// Another OCI runtime that makes the container, by name or path.
    pub runtime: Option<String>,
    /// Who tells the service manager that it is ready: `container`, `conmon` (the monitor) or `ignore`.
    pub sdnotify: Option<String>,
}
