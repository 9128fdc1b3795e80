//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cairn_image::{Compression, Platform};
use cairn_model::{Driver, ImageRef, SnapshotKey};
use cairn_repo::Verify;
use cairn_snapshot::Filter;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::units;

/// A content-addressed snapshotter for container images: no daemon, every byte accounted for.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// The repository [default: /var/lib/cairn, for others than root $XDG_DATA_HOME/cairn]
    #[arg(long, env = "CAIRN_ROOT", global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Mount with this driver instead of the best that works: erofs, erofs-loop, overlay, copy
    #[arg(long, global = true, value_name = "NAME")]
    pub driver: Option<Driver>,

    /// When to verify the cached files of a view: boot (once after each boot), always, never
    #[arg(
        long,
        env = "CAIRN_VERIFY",
        global = true,
        value_name = "WHEN",
        default_value = "boot"
    )]
    pub verify: Verify,

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job from end to end on two small images of this machine's programs
    Quickstart {
        /// Leave the repository there
        #[arg(long)]
        keep: bool,
    },
    /// Create an empty repository
    #[command(name = "init")]
    Create,
    /// Import an archive, layout, root file system tar or directory
    Import(Import),
    /// Write an image out
    Export(Export),
    /// List images
    Images,
    /// Show an image or container as JSON
    Inspect {
        /// Image or container
        name: String,
        /// Show the values of environment variables, which may be secrets
        #[arg(long)]
        show_env: bool,
    },
    /// Show how an image came about
    History {
        /// Image
        image: String,
    },
    /// Give an image another name
    Tag {
        /// Image
        image: String,
        /// The new name
        name: ImageRef,
    },
    /// Remove image names, and images with their last name
    Rmi {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Run a command in a new container
    Run(Run),
    /// List containers
    Ps {
        /// Also those that do not run
        #[arg(short, long)]
        all: bool,
    },
    /// Remove containers
    Rm {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Kill those that run
        #[arg(short, long)]
        force: bool,
    },
    /// Stop containers: their stop signal (SIGTERM by default), then SIGKILL
    Stop {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Seconds before SIGKILL
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<u64>,
    },
    /// Send a signal to containers
    Kill {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Signal, by name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
        signal: String,
    },
    /// Show the output of a container in the background
    Logs {
        /// Container
        container: String,
        /// Go on until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Make an image of a container
    Commit(Commit),
    /// Write completions for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write man pages
    Man {
        /// Directory for them
        directory: PathBuf,
    },
    #[command(name = "__stage", hide = true)]
    Stage { order: i32 },
    #[command(name = "__after", hide = true)]
    After { id: String },
    /// Work with snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Mount a snapshot, or an image read-only
    Mount {
        /// Snapshot or image
        name: String,
        /// Directory to mount it at
        target: PathBuf,
        /// Let setuid programs and file capabilities work
        #[arg(long)]
        suid: bool,
        /// Let device nodes be opened
        #[arg(long)]
        dev: bool,
    },
    /// Take a mount away again
    #[command(alias = "umount")]
    Unmount {
        /// Where it is mounted
        target: PathBuf,
        /// Detach it even while it is in use
        #[arg(short, long)]
        lazy: bool,
    },
    /// Free what nothing needs any more
    Gc {
        /// Say what would go, and change nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Also drop cached views that nothing mounts
        #[arg(long)]
        prune_cache: bool,
        /// Rewrite every pack that holds dead data, however little; by default those with over a fifth
        #[arg(long)]
        all: bool,
    },
    /// Copy images and committed snapshots to a directory that is a repository of its own
    Backup {
        /// New or empty directory, or an earlier backup
        directory: PathBuf,
    },
    /// Show which driver mounts views here, and why no better one does
    Driver,
    /// Show where every byte is
    #[command(alias = "df")]
    Stats,
    /// Verify the repository
    Check(Check),
}

impl Command {
    /// True for the hidden stages of a launch, which become or start the process.
    pub fn is_step_of_launch(&self) -> bool {
        matches!(self, Self::Stage { .. })
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Check structures only, not content
    #[arg(long, group = "extent")]
    pub fast: bool,
    /// Read every byte of packs and cache (the default)
    #[arg(long, group = "extent")]
    pub full: bool,
    /// Check only the cache: images and files of views
    #[arg(long)]
    pub cache: bool,
    /// Read this share of all bytes, packs read longest ago first
    #[arg(long, value_name = "PERCENT", group = "extent", value_parser = units::percent)]
    pub sample: Option<f64>,
    /// Read packs that were not read for this long, as in 30d, 12h, 90m
    #[arg(long, value_name = "AGE", group = "extent", value_parser = units::duration)]
    pub max_age: Option<Duration>,
    /// Read no more than this a second, as in 20M
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub rate: Option<u64>,
    /// Make good what can be
    #[arg(long, conflicts_with_all = ["extent", "rate", "cache"])]
    pub repair: bool,
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Make a writable snapshot
    Prepare {
        /// Key for it
        key: SnapshotKey,
        /// Committed snapshot or image below it; none for an empty one
        parent: Option<String>,
        /// Labels, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Make a read-only snapshot
    View {
        /// Key for it
        key: SnapshotKey,
        /// Committed snapshot or image below it
        parent: Option<String>,
        /// Labels, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Make a writable snapshot a committed one
    Commit {
        /// Name of the committed snapshot
        name: SnapshotKey,
        /// Key of the writable one, which is gone afterwards
        key: SnapshotKey,
        /// Labels, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Remove snapshots
    Rm {
        /// Keys or names
        #[arg(required = true)]
        keys: Vec<SnapshotKey>,
    },
    /// List snapshots
    Ls {
        /// Only those that meet a filter, as kind==active,labels.\"a\"==b; several are alternatives
        filters: Vec<Filter>,
    },
    /// Show one snapshot
    Stat {
        /// Key or name
        key: SnapshotKey,
    },
    /// Show what a snapshot itself takes
    Usage {
        /// Key or name
        key: SnapshotKey,
    },
    /// Show how a snapshot is mounted
    Mounts {
        /// Key
        key: SnapshotKey,
    },
    /// Show what differs between two snapshots, or between one and its parent
    Diff {
        /// Key or name
        a: SnapshotKey,
        /// Key or name
        b: Option<SnapshotKey>,
    },
    /// Set labels (NAME=VALUE) and remove them (NAME=)
    Label {
        /// Key or name
        key: SnapshotKey,
        /// Labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Show all snapshots as a tree
    Tree,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// File, directory, or - for standard input
    pub source: PathBuf,
    /// Name for the image, instead of those in the archive
    #[arg(long)]
    pub name: Option<ImageRef>,
    /// Which image of a multi-platform index
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::host())]
    pub platform: Platform,
    /// Read every file of a directory and every layer of an archive, also those the repository has:
    /// a layer that is there is otherwise taken by its diff id, unread
    #[arg(long)]
    pub read_all: bool,
    /// Refuse layers with more entries than this
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub max_entries: u64,
    /// Refuse layers longer than this, bytes uncompressed; the same for a compressed archive, or one
    /// from a pipe, as a whole
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    pub max_bytes: u64,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// As `docker save` writes it
    Docker,
    /// OCI layout directory
    Oci,
    /// OCI layout in a tar
    OciArchive,
    /// The root file system as one tar
    Tar,
    /// The root file system as a directory
    Dir,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// File or directory to write; - for standard output
    #[arg(short, long)]
    pub output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Docker)]
    pub format: ExportFormat,
    /// Make the image's device nodes, which --format dir leaves out
    #[arg(long)]
    pub devices: bool,
    /// How layers of an OCI layout are compressed: none, gzip, zstd
    #[arg(long, default_value = "gzip")]
    pub compression: Compression,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The host's
    Host,
    /// Its own, with loopback only
    None,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Connect standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Name for the container
    #[arg(long)]
    pub name: Option<String>,
    /// Show a file or directory of the host in it
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]")]
    pub volume: Vec<OsString>,
    /// Set an environment variable; without a value, pass on ours
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// Run as this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Program to run instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,
    /// Host name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// No write access to the root file system
    #[arg(long)]
    pub read_only: bool,
    /// A directory in memory
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Network
    #[arg(long, value_enum, default_value_t = NetworkName::Host)]
    pub network: NetworkName,
    /// Signal that asks the container to end, instead of the image's
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Security option: no-new-privileges=false lets set-user-id programs work, as sudo and ping
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Put a small init before the command, which reaps orphans
    #[arg(long)]
    pub init: bool,
    /// Image or committed snapshot; then command and arguments, instead of the image's
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<OsString>,
}

/// Arguments of `commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// Container; one that runs is frozen meanwhile
    pub container: String,
    /// Name for the image
    pub name: Option<ImageRef>,
    /// Who made it
    #[arg(short, long)]
    pub author: Option<String>,
    /// A remark for the history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Change the image's configuration by a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
}
