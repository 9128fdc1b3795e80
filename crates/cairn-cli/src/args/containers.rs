//! Arguments of commands that look into containers, or make images of them.

use std::ffi::OsString;
use std::path::PathBuf;

use cairn_model::{ImageRef, Moment, units};
use clap::Args;

use super::run::Changeable;

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Set an environment variable, or pass on the caller's if no value is given
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory in the container [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// User and group to run as, by name or number [default: the container's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Give the command all capabilities and system calls
    #[arg(long)]
    pub privileged: bool,
    /// Container, then a command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    pub container_and_command: Vec<OsString>,
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Container
    pub container: String,
    /// Keys that leave the container running: characters or ctrl-KEY, with commas [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Do not connect standard input
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub sig_proxy: bool,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Limits; 0 lifts one
    #[command(flatten)]
    pub limits: Changeable,
    /// Containers
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Show events from this time on, or from this long ago, for example 2026-11-26T08:30:00Z or 10m, and then
    /// go on
    #[arg(long, value_name = "TIME", value_parser = units::moment)]
    pub since: Option<Moment>,
    /// End at this time
    #[arg(long, value_name = "TIME", value_parser = units::moment)]
    pub until: Option<Moment>,
    /// Show only events that match: type=, event=, container=, image= or volume=
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
}

/// Arguments of `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Include stopped containers
    #[arg(short, long)]
    pub all: bool,
    /// Show only containers that match: name=TEXT, id=START, status=STATUS, label=NAME[=VALUE],
    /// ancestor=IMAGE, exited=CODE or volume=NAME
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// Show the last N created containers, stopped ones included
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Show the last created container
    #[arg(short, long, conflicts_with = "last")]
    pub latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub no_trunc: bool,
    /// Print only ids
    #[arg(short, long, conflicts_with = "format")]
    pub quiet: bool,
    /// Print a line for each container by a template such as "{{.name}} {{.status}}"
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}

/// Arguments of `cp`.
#[derive(Debug, Args)]
pub struct Cp {
    /// Keep owners instead of giving files to the container's root or to the caller
    #[arg(short, long)]
    pub archive: bool,
    /// Follow a symbolic link at the end of the source path
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// CONTAINER:PATH, a local path, or - for a tar on standard input; a directory's content if it ends in /.
    #[arg(value_name = "SOURCE", allow_hyphen_values = false)]
    pub source: OsString,
    /// CONTAINER:PATH, a local path, or - for a tar on standard output
    #[arg(value_name = "TARGET")]
    pub target: OsString,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Container
    pub container: String,
    /// Keep printing new output until the container exits
    #[arg(short, long)]
    pub follow: bool,
    /// Show only lines written after this time, or this long ago, for example 2026-11-26T08:30:00Z or 10m
    #[arg(long, value_name = "TIME", value_parser = units::moment)]
    pub since: Option<Moment>,
    /// Show only lines written before this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = units::moment)]
    pub until: Option<Moment>,
    /// Number of lines to show from the end of the log, or "all"
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = tail)]
    pub tail: Tail,
    /// Show the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
}

/// How many lines of the end are shown; all where there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        text => text
            .parse()
            .map(|lines| Tail(Some(lines)))
            .map_err(|_| "expected a number of lines or \"all\"".into()),
    }
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

/// What can be generated.
#[derive(Debug, clap::Subcommand)]
pub enum Generate {
    /// Print a systemd unit that runs a container as a service
    #[command(
        after_help = "Example:\n  cairn generate systemd web > /etc/systemd/system/web.service\n  systemctl enable --now web"
    )]
    Systemd {
        /// Container
        container: String,
    },
}
