//! Arguments of commands that run containers, or make images of them.

use std::ffi::OsString;
use std::path::PathBuf;

use cairn_model::ImageRef;
use clap::{Args, ValueEnum};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run in the background and print the container name
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Name of the container [default: its id]
    #[arg(long)]
    pub name: Option<String>,
    /// Mount a file or directory of the host in the container
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]")]
    pub volume: Vec<OsString>,
    /// Set an environment variable, or pass on the caller's if no value is given
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// User and group to run as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Program to run instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,
    /// Host name of the container
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Mount a temporary file system in memory
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Network of the container
    #[arg(long, value_enum, default_value_t = NetworkName::Host)]
    pub network: NetworkName,
    /// Signal that stops the container, instead of the image's
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Security option; no-new-privileges=false allows set-user-ID programs such as sudo
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Run an init process that forwards signals and reaps orphans
    #[arg(long)]
    pub init: bool,
    /// Image or committed snapshot, then a command with its arguments to run instead of the image's
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<OsString>,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The host's network
    Host,
    /// Loopback only
    None,
}

/// Arguments of `commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// Container; if it is running, it is paused during the commit
    pub container: String,
    /// Name of the new image
    pub name: Option<ImageRef>,
    /// Author, for example "Ann <ann@example.org>"
    #[arg(short, long)]
    pub author: Option<String>,
    /// Message for the image's history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Apply a Dockerfile instruction to the image's configuration: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
}
