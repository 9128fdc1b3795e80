//! `cairn oci`: the command line of runc, which tools that drive a runtime take for granted. Its global options are
//! its own, and come between `oci` and the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run containers from OCI bundles, for tools that drive a runtime
#[derive(Debug, Parser)]
#[command(
    name = "cairn oci",
    bin_name = "cairn oci",
    max_term_width = 100,
    disable_version_flag = true
)]
pub struct OciCli {
    /// Directory for the state of containers [default: /run/cairn/oci, or below $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// File that errors are written to as well
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Form of that file
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub log_format: LogForm,

    /// Accepted and without effect; use CAIRN_LOG
    #[arg(long)]
    pub debug: bool,

    /// Refused: control groups are managed as files (cgroupfs)
    #[arg(long)]
    pub systemd_cgroup: bool,

    /// Accepted and without effect: what this process may do is found out
    #[arg(long, value_name = "WHETHER")]
    pub rootless: Option<String>,

    /// Accepted and without effect: there are no checkpoints
    #[arg(long, value_name = "PROGRAM")]
    pub criu: Option<String>,

    /// Print versions
    #[arg(short, long)]
    pub version: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Option<Oci>,
}

/// Form of the file that errors are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// Lines for people
    Text,
    /// One JSON object a line, as podman and containerd read it
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Oci {
    /// Create a container from a bundle; its process waits for "start"
    #[command(
        after_help = "Example:\n  cairn oci create --bundle /srv/bundle --pid-file web.pid web"
    )]
    Create(OciCreate),
    /// Start the process of a created container
    #[command(after_help = "Example:\n  cairn oci start web")]
    Start {
        /// Container
        id: String,
    },
    /// Create and start a container, and stay until it exits
    #[command(after_help = "Example:\n  cairn oci run --bundle /srv/bundle web")]
    Run {
        #[command(flatten)]
        create: OciCreate,
        /// Do not stay
        #[arg(short, long)]
        detach: bool,
        /// Accepted and without effect
        #[arg(long)]
        no_subreaper: bool,
    },
    /// Print the state of a container as JSON
    #[command(after_help = "Example:\n  cairn oci state web")]
    State {
        /// Container
        id: String,
    },
    /// Send a signal to the process of a container
    #[command(after_help = "Example:\n  cairn oci kill web KILL")]
    Kill {
        /// Send it to all processes of the container
        #[arg(short, long)]
        all: bool,
        /// Container
        id: String,
        /// Signal name or number
        #[arg(default_value = "TERM")]
        signal: String,
    },
    /// Delete a container that is not running
    #[command(after_help = "Example:\n  cairn oci delete --force web")]
    Delete {
        /// Kill it first if it is running; a missing container is no error
        #[arg(short, long)]
        force: bool,
        /// Container
        id: String,
    },
    /// Run another process in a container
    #[command(after_help = "Example:\n  cairn oci exec -t web sh")]
    Exec(OciExec),
    /// Show the processes of a container
    #[command(after_help = "Example:\n  cairn oci ps --format json web")]
    Ps {
        /// As a table of ps(1), or as JSON
        #[arg(short, long, value_name = "FORM", default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Container
        id: String,
        /// Options of ps(1) [default: -ef]
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "OPTION"
        )]
        options: Vec<String>,
    },
    /// Pause all processes of a container
    #[command(after_help = "Example:\n  cairn oci pause web")]
    Pause {
        /// Container
        id: String,
    },
    /// Resume a paused container
    #[command(after_help = "Example:\n  cairn oci resume web")]
    Resume {
        /// Container
        id: String,
    },
    /// Change the limits of a container
    #[command(after_help = "Example:\n  cairn oci update --memory 67108864 web")]
    Update(OciUpdate),
    /// Print figures of a container as JSON lines, and when it runs out of memory
    #[command(after_help = "Example:\n  cairn oci events --stats web")]
    Events {
        /// Print figures once
        #[arg(long)]
        stats: bool,
        /// Seconds between figures, as 5s
        #[arg(long, value_name = "TIME", default_value = "5s")]
        interval: String,
        /// Container
        id: String,
    },
    /// Print what this runtime can do as JSON
    #[command(after_help = "Example:\n  cairn oci features")]
    Features,
    /// List containers
    #[command(after_help = "Example:\n  cairn oci list --format json")]
    List {
        /// As a table, or as JSON
        #[arg(short, long, value_name = "FORM", default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Names only
        #[arg(short, long)]
        quiet: bool,
    },
}

/// How a container is created.
#[derive(Debug, Args)]
pub struct OciCreate {
    /// Directory of the bundle [default: the current one]
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = ".",
        hide_default_value = true
    )]
    pub bundle: PathBuf,
    /// Unix socket that takes the terminal's other end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// File for the number of the process
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Move the root over the host's, where the host runs from a ramfs; less safe
    #[arg(long)]
    pub no_pivot: bool,
    /// Leave the process the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the process inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Container
    pub id: String,
}

/// How a process is started in a container.
#[derive(Debug, Args)]
pub struct OciExec {
    /// Unix socket that takes the terminal's other end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Variable beside those of the container, NAME=VALUE
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User and group by number: UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Supplementary group by number
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// JSON document that describes the process
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not stay
    #[arg(short, long)]
    pub detach: bool,
    /// File for the number of the process
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// It may not gain privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Capability beside those of the container
    #[arg(short, long, value_name = "CAPABILITY")]
    pub cap: Vec<String>,
    /// Descriptors from 3 on that the process inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Also in a paused container, where it waits
    #[arg(long)]
    pub ignore_paused: bool,
    /// Container
    pub id: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Limits that are changed.
#[derive(Debug, Args)]
pub struct OciUpdate {
    /// JSON document of limits, - for standard input; other options count for nothing then
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Bytes of memory, -1 for no limit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Bytes of memory that are taken away last
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// Share of processor time beside others
    #[arg(long, alias = "cpu-shares", value_name = "N")]
    pub cpu_share: Option<u64>,
    /// Microseconds of each period
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// Microseconds of a period
    #[arg(long, value_name = "N")]
    pub cpu_period: Option<u64>,
    /// Microseconds of each real-time period
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Microseconds of a real-time period
    #[arg(long, value_name = "N")]
    pub cpu_rt_period: Option<u64>,
    /// Processors, as 0-3,6
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Share of disk time beside others
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Processes and threads, -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Container
    pub id: String,
}
