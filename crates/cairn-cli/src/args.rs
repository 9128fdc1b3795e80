//! The command line.

use std::path::PathBuf;

use cairn_image::{Compression, Platform};
use cairn_model::{Driver, ImageRef, SnapshotKey};
use cairn_snapshot::Filter;
use clap::{Args, Parser, Subcommand, ValueEnum};

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

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
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
    /// Work with snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Mount a snapshot, or an image read-only
    Mount {
        /// Snapshot or image
        name: String,
        /// Directory to mount it at
        target: PathBuf,
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
    },
    /// Show where every byte is
    #[command(alias = "df")]
    Stats,
    /// Verify the repository
    Check {
        /// Check structures only, not every byte of content
        #[arg(long)]
        fast: bool,
        /// Make good what can be
        #[arg(long, conflicts_with = "fast")]
        repair: bool,
    },
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
    /// Refuse layers with more entries than this
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub max_entries: u64,
    /// Refuse layers longer than this, bytes uncompressed
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
    /// How layers of an OCI layout are compressed: none, gzip, zstd
    #[arg(long, default_value = "gzip")]
    pub compression: Compression,
}
