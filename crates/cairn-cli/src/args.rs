//! The command line: what can be given, and how help describes it.
//!
//! `command()` is the definition to parse with: derived from the types here, with commands listed under
//! headings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use cairn_image::{Compression, Platform};
use cairn_model::{Driver, ImageRef, SnapshotKey};
use cairn_repo::Verify;
use cairn_snapshot::Filter;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::units;

const GLOBAL: &str = "Global options";

/// Under which heading each command is listed.
const HEADINGS: [(&str, &[&str]); 5] = [
    (
        "Images",
        &[
            "import", "export", "images", "inspect", "history", "tag", "rmi",
        ],
    ),
    (
        "Containers",
        &["run", "ps", "logs", "stop", "kill", "commit", "rm"],
    ),
    ("Snapshots", &["snapshot", "mount", "unmount"]),
    (
        "Repository",
        &["init", "stats", "gc", "check", "backup", "driver"],
    ),
    ("Other", &["quickstart", "completions", "man", "help"]),
];

/// The definition of the command line.
pub fn command() -> clap::Command {
    let mut built = Cli::command();
    built.build();
    let styles = clap::builder::Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in HEADINGS {
        template.push_str(&format!("\n{header}{heading}:{header:#}\n"));
        for name in names {
            let about = built.find_subcommand(name).and_then(|c| c.get_about());
            let about = about.map(ToString::to_string).unwrap_or_default();
            template.push_str(&format!("  {literal}{name:<12}{literal:#} {about}\n"));
        }
    }
    template.push_str(&format!(
        "\n{header}{GLOBAL}:{header:#}\n{{options}}\n\nRun \"cairn help COMMAND\" for more about a command."
    ));
    Cli::command().help_template(template)
}

fn drivers() -> impl TypedValueParser<Value = Driver> {
    PossibleValuesParser::new(["erofs", "erofs-loop", "overlay", "copy"])
        .try_map(|name| name.parse::<Driver>())
}

fn verifications() -> impl TypedValueParser<Value = Verify> {
    PossibleValuesParser::new(["boot", "always", "never"]).try_map(|when| when.parse::<Verify>())
}

fn compressions() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(["none", "gzip", "zstd"]).try_map(|name| name.parse::<Compression>())
}

/// A content-addressed snapshotter for container images
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// Repository directory [default: /var/lib/cairn, or $XDG_DATA_HOME/cairn for non-root users]
    #[arg(
        long,
        env = "CAIRN_ROOT",
        global = true,
        value_name = "DIR",
        help_heading = GLOBAL
    )]
    pub root: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Mount driver to use [default: the best one that works]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        value_parser = drivers(),
        help_heading = GLOBAL
    )]
    pub driver: Option<Driver>,

    /// How often to verify cached files: once after each boot, on every mount, or never
    #[arg(
        long,
        env = "CAIRN_VERIFY",
        global = true,
        value_name = "WHEN",
        default_value = "boot",
        value_parser = verifications(),
        help_heading = GLOBAL
    )]
    pub verify: Verify,

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try the main workflow on two small images built from local programs
    #[command(after_help = "Example:\n  cairn quickstart --keep")]
    Quickstart {
        /// Keep the repository afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Create an empty repository
    #[command(name = "init", after_help = "Example:\n  cairn --root /srv/cairn init")]
    Create,
    /// Import an image from an archive, OCI layout, tar file or directory
    #[command(
        after_help = "Examples:\n  cairn import image.tar\n  docker save example/app | cairn import -\n  cairn import rootfs/ --name example/base:1"
    )]
    Import(Import),
    /// Export images to an archive, OCI layout, tar file or directory
    #[command(
        after_help = "Examples:\n  cairn export example/app:2 -o app.tar\n  cairn export example/app:2 -o layout/ --format oci --compression zstd\n  cairn export example/app:2 -o - | docker load"
    )]
    Export(Export),
    /// List images
    #[command(after_help = "Example:\n  cairn images --json")]
    Images,
    /// Display an image or container as JSON
    #[command(after_help = "Example:\n  cairn inspect example/app:2")]
    Inspect {
        /// Image or container
        name: String,
        /// Show the values of environment variables, which may contain secrets
        #[arg(long)]
        show_env: bool,
    },
    /// Show the history of an image
    #[command(after_help = "Example:\n  cairn history example/app:2")]
    History {
        /// Image
        image: String,
    },
    /// Add a name to an image
    #[command(after_help = "Example:\n  cairn tag example/app:2 example/app:stable")]
    Tag {
        /// Image
        image: String,
        /// New name, as NAME or NAME:TAG
        name: ImageRef,
    },
    /// Remove image names, and images that have no name left
    #[command(after_help = "Example:\n  cairn rmi example/app:1")]
    Rmi {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Create and run a container from an image
    #[command(
        after_help = "Examples:\n  cairn run --rm -it example/app:1 sh\n  cairn run -d --name web -v /srv/www:/www:ro example/web:1\n  cairn run --rm -e DEBUG=1 -w /src example/app:1 make test"
    )]
    Run(Run),
    /// List containers
    #[command(after_help = "Example:\n  cairn ps -a")]
    Ps {
        /// Include stopped containers
        #[arg(short, long)]
        all: bool,
    },
    /// Remove containers
    #[command(after_help = "Example:\n  cairn rm -f web")]
    Rm {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Kill running containers before removing them
        #[arg(short, long)]
        force: bool,
    },
    /// Stop running containers
    #[command(after_help = "Example:\n  cairn stop -t 30 web")]
    Stop {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Seconds between the stop signal and SIGKILL [default: 10]
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<u64>,
    },
    /// Send a signal to running containers
    #[command(after_help = "Example:\n  cairn kill -s HUP web")]
    Kill {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Signal name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
        signal: String,
    },
    /// Print the output of a detached container
    #[command(after_help = "Example:\n  cairn logs -f web")]
    Logs {
        /// Container
        container: String,
        /// Keep printing new output until the container exits
        #[arg(short, long)]
        follow: bool,
    },
    /// Create an image from a container's changes
    #[command(
        after_help = "Example:\n  cairn commit -m \"add config\" -c 'CMD [\"app\", \"-v\"]' work example/app:2"
    )]
    Commit(Commit),
    /// Generate a shell completion script
    #[command(after_help = "Example:\n  cairn completions bash > /etc/bash_completion.d/cairn")]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Generate man pages
    #[command(after_help = "Example:\n  cairn man /usr/local/share/man/man1")]
    Man {
        /// Directory to write them to
        directory: PathBuf,
    },
    #[command(name = "__stage", hide = true)]
    Stage { order: i32 },
    #[command(name = "__after", hide = true)]
    After { id: String },
    /// Manage snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Mount a snapshot, or an image read-only
    #[command(after_help = "Example:\n  cairn mount example/app:2 /mnt")]
    Mount {
        /// Snapshot or image
        name: String,
        /// Directory to mount it on
        target: PathBuf,
        /// Honor set-user-ID programs and file capabilities
        #[arg(long)]
        suid: bool,
        /// Allow device nodes to be opened
        #[arg(long)]
        dev: bool,
    },
    /// Unmount a snapshot or image
    #[command(alias = "umount", after_help = "Example:\n  cairn unmount /mnt")]
    Unmount {
        /// Directory it is mounted on
        target: PathBuf,
        /// Detach it even if it is in use
        #[arg(short, long)]
        lazy: bool,
    },
    /// Delete unreferenced data and reclaim disk space
    #[command(after_help = "Example:\n  cairn gc --dry-run")]
    Gc {
        /// Show what would be deleted without deleting anything
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Also delete cached views that are not mounted
        #[arg(long)]
        prune_cache: bool,
        /// Rewrite every pack that contains dead data [default: packs that are more than a fifth dead]
        #[arg(long)]
        all: bool,
    },
    /// Back up images and committed snapshots to another directory
    #[command(after_help = "Example:\n  cairn backup /backup/cairn")]
    Backup {
        /// Empty or new directory, or an earlier backup to update
        directory: PathBuf,
    },
    /// Show which driver mounts views, and why no better one does
    #[command(after_help = "Example:\n  cairn driver")]
    Driver,
    /// Show how disk space is used
    #[command(alias = "df", after_help = "Example:\n  cairn stats --json")]
    Stats,
    /// Verify the repository, and repair it on request
    #[command(
        after_help = "Examples:\n  cairn check --fast\n  cairn check --max-age 30d --rate 50M\n  cairn check --repair"
    )]
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
    /// Check structures only, without reading content
    #[arg(long, group = "extent")]
    pub fast: bool,
    /// Read all packs and cached files (the default)
    #[arg(long, group = "extent")]
    pub full: bool,
    /// Check only the cache of mountable views
    #[arg(long)]
    pub cache: bool,
    /// Read this percentage of the data, starting with the packs not checked for longest
    #[arg(long, value_name = "PERCENT", group = "extent", value_parser = units::percent)]
    pub sample: Option<f64>,
    /// Read only packs not checked for this long, for example 30d, 12h or 90m
    #[arg(long, value_name = "AGE", group = "extent", value_parser = units::duration)]
    pub max_age: Option<Duration>,
    /// Limit the read rate, in bytes per second, for example 20M
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub rate: Option<u64>,
    /// Repair what can be repaired
    #[arg(long, conflicts_with_all = ["extent", "rate", "cache"])]
    pub repair: bool,
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Create a writable snapshot
    #[command(after_help = "Example:\n  cairn snapshot prepare work example/app:1")]
    Prepare {
        /// Key of the new snapshot
        key: SnapshotKey,
        /// Committed snapshot or image to start from [default: empty]
        parent: Option<String>,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Create a read-only snapshot
    #[command(after_help = "Example:\n  cairn snapshot view look example/app:1")]
    View {
        /// Key of the new snapshot
        key: SnapshotKey,
        /// Committed snapshot or image to show [default: empty]
        parent: Option<String>,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Commit a writable snapshot, so that others can build on it
    #[command(after_help = "Example:\n  cairn snapshot commit work-1 work")]
    Commit {
        /// Name of the committed snapshot
        name: SnapshotKey,
        /// Key of the writable snapshot, which is removed
        key: SnapshotKey,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
    },
    /// Remove snapshots
    #[command(after_help = "Example:\n  cairn snapshot rm work")]
    Rm {
        /// Keys or names
        #[arg(required = true)]
        keys: Vec<SnapshotKey>,
    },
    /// List snapshots
    #[command(after_help = "Example:\n  cairn snapshot ls kind==active,labels.owner==ci")]
    Ls {
        /// Show only snapshots that match any of these filters
        filters: Vec<Filter>,
    },
    /// Show a snapshot
    #[command(after_help = "Example:\n  cairn snapshot stat work")]
    Stat {
        /// Key or name
        key: SnapshotKey,
    },
    /// Show the disk usage of a snapshot, without its parents
    #[command(after_help = "Example:\n  cairn snapshot usage work")]
    Usage {
        /// Key or name
        key: SnapshotKey,
    },
    /// Show the mounts that a snapshot needs
    #[command(after_help = "Example:\n  cairn snapshot mounts work --json")]
    Mounts {
        /// Key
        key: SnapshotKey,
    },
    /// Show the changes between two snapshots, or between a snapshot and its parent
    #[command(after_help = "Example:\n  cairn snapshot diff container/work")]
    Diff {
        /// Key or name
        a: SnapshotKey,
        /// Key or name to compare it with [default: its parent]
        b: Option<SnapshotKey>,
    },
    /// Set or remove labels of a snapshot
    #[command(after_help = "Example:\n  cairn snapshot label work owner=ci stage=")]
    Label {
        /// Key or name
        key: SnapshotKey,
        /// NAME=VALUE sets a label, NAME= removes it
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Show all snapshots as a tree
    #[command(after_help = "Example:\n  cairn snapshot tree")]
    Tree,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// File or directory to import, or - for standard input
    pub source: PathBuf,
    /// Name of the image, instead of the names in the archive
    #[arg(long)]
    pub name: Option<ImageRef>,
    /// Platform to choose from a multi-platform image
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::host())]
    pub platform: Platform,
    /// Read and verify everything again, including layers that are already present and directories
    /// that have not changed
    #[arg(long)]
    pub read_all: bool,
    /// Largest number of entries allowed in a layer
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub max_entries: u64,
    /// Largest uncompressed size allowed for a layer, and for a compressed or piped archive
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    pub max_bytes: u64,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// Archive as written by docker save
    Docker,
    /// OCI layout, as a directory
    Oci,
    /// OCI layout, as a tar file
    OciArchive,
    /// Root file system, as a tar file
    Tar,
    /// Root file system, as a directory
    Dir,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// File or directory to write, or - for standard output
    #[arg(short, long)]
    pub output: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t = ExportFormat::Docker)]
    pub format: ExportFormat,
    /// Create device nodes, which --format dir leaves out by default
    #[arg(long)]
    pub devices: bool,
    /// Compression of layers in an OCI layout
    #[arg(long, default_value = "gzip", value_name = "NAME", value_parser = compressions())]
    pub compression: Compression,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The host's network
    Host,
    /// Loopback only
    None,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_listed_under_one_heading() {
        let mut listed: Vec<&str> = HEADINGS.iter().flat_map(|h| h.1).copied().collect();
        listed.sort_unstable();
        let mut built = command();
        built.build();
        let shown = built.get_subcommands().filter(|c| !c.is_hide_set());
        let mut shown: Vec<&str> = shown.map(|c| c.get_name()).collect();
        shown.sort_unstable();
        assert_eq!(listed, shown);
    }

    fn assert_explained(command: &clap::Command) {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{command} {argument}");
        }
        let mut below = command.get_subcommands().peekable();
        assert!(
            below.peek().is_some() || command.get_after_help().is_some(),
            "{command}"
        );
        for command in below.filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            assert!(command.get_about().is_some(), "{command}");
            assert_explained(command);
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_option_an_explanation() {
        assert_explained(&Cli::command());
    }
}
