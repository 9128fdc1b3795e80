//! Arguments of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use cairn_image::Platform;
use cairn_model::units;
use clap::Args;

use super::images::When as Pull;

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
    /// When to pull the image from its registry
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        env = "CAIRN_PULL",
        default_value_t = Pull::Missing
    )]
    pub pull: Pull,
    /// Platform that the image is to be for, also when it is pulled [default: any; the host's when pulled]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Name of the container [default: its id]
    #[arg(long)]
    pub name: Option<String>,
    /// Mount a file or directory of the host, a named volume, or a new volume of the container's own
    #[arg(short, long, value_name = "[HOST|NAME:]CONTAINER[:ro]")]
    pub volume: Vec<OsString>,
    /// Mount something: type=bind|volume|tmpfs|image,source=…,target=…,readonly
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub mount: Vec<String>,
    /// Mount what another container has mounted of the host and of volumes
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub volumes_from: Vec<String>,
    /// Show a secret as a file in memory, /run/secrets/NAME; it is read again at every start
    #[arg(
        long,
        value_name = "id=NAME,src=FILE|env=VARIABLE[,target=…,uid=…,gid=…,mode=…]"
    )]
    pub secret: Vec<String>,
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
    /// Network of the container: the host's, loopback only, its own by pasta or slirp4netns, another
    /// container's, or a network namespace [default: host, with -p user]
    #[arg(long, value_name = "host|none|user|container:NAME|ns:PATH")]
    pub network: Option<String>,
    /// Make a port of the container a port of the host
    #[arg(short = 'p', long, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    pub publish: Vec<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// DNS server, instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// DNS search domain, instead of the host's; "." for none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// DNS resolver option, instead of the host's
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Add a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Write the id of the container to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Seconds that "cairn stop" waits for the container [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<u64>,
    /// Signal that stops the container, instead of the image's
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Size at which the file of the container's log is rotated, for example 512K or 20M [default: 10M]
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub log_max_size: Option<u64>,
    /// Number of log files to keep [default: 3]
    #[arg(long, value_name = "N")]
    pub log_max_files: Option<u32>,
    /// Keys that leave the container running in the background, with -it: characters or ctrl-KEY, with commas
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Who tells the service manager that the container is ready: the program in it, or the monitor when that has
    /// begun [default: conmon in the foreground]
    #[arg(long, value_name = "container|conmon|ignore")]
    pub sdnotify: Option<String>,
    /// OCI runtime that makes the container instead of Cairn itself, such as runc
    #[arg(long, value_name = "NAME|PATH")]
    pub runtime: Option<String>,
    /// Run an init process that forwards signals and reaps orphans
    #[arg(long)]
    pub init: bool,
    /// What it may use.
    #[command(flatten)]
    pub limits: Limits,
    /// What the process may do.
    #[command(flatten)]
    pub security: Security,
    /// Image or committed snapshot, then a command with its arguments to run instead of the image's
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<OsString>,
}

/// What a process in a container may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct Security {
    /// Give all capabilities and devices, and hide and filter nothing: such a container can take over the
    /// host
    #[arg(long)]
    pub privileged: bool,
    /// Security option: seccomp=FILE or seccomp=unconfined choose which system calls are allowed;
    /// no-new-privileges=false allows set-user-ID programs such as sudo
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Whose System V objects and message queues the container uses: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// Whose host name the container has: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// Whose processes the container sees: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// Whose user and group ids the container has: the host's, a free range of ids that no other container
    /// has, or a range of your choice; files keep their ids on disk [default: host]
    #[arg(long, value_name = "host|auto|keep-id|UID:GID:SIZE")]
    pub userns: Option<String>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
}

/// What a container may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits and devices")]
pub struct Limits {
    /// Limits that can be changed later.
    #[command(flatten)]
    pub changeable: Changeable,
    /// Limit of a process, for example nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Make a device of the host available
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]")]
    pub device: Vec<String>,
    /// Allow access to devices, for example "c 13:* rwm"
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
}

/// Limits that can be changed while a container runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits and devices")]
pub struct Changeable {
    /// Memory limit, for example 512m or 1g
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Limit of memory and swap together; -1 for unlimited swap [default: twice --memory]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Memory to leave to the container when the host runs short
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Number of processors it may use, for example 1.5
    #[arg(long, value_name = "N")]
    pub cpus: Option<String>,
    /// Share of processor time when others want it too [default: 1024]
    #[arg(short = 'c', long, value_name = "N")]
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, for example 0-3,6
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Largest number of processes and threads; -1 for unlimited [default: 4096]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Share of disk time when others want it too, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u64>,
}
