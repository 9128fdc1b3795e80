//! The commands of `cairn snapshot`.

use std::time::Duration;

use cairn_image::Platform;
use cairn_model::{SnapshotKey, units};
use cairn_snapshot::Filter;
use clap::Subcommand;

use super::images::When;
use super::listing::Listing;

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Create a writable snapshot
    #[command(
        after_help = "Examples:\n  cairn snapshot prepare work example/app:1\n  cairn snapshot prepare ci/job-17 example/app:1 --expire 7d"
    )]
    Prepare {
        /// Key of the new snapshot
        key: SnapshotKey,
        /// Committed snapshot or image to start from [default: empty]
        parent: Option<String>,
        /// When to pull the image to start from
        #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Never)]
        pull: When,
        /// Platform that the image is to be for, also when it is pulled [default: any; the host's when pulled]
        #[arg(long, value_name = "OS/ARCH")]
        platform: Option<Platform>,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// Have gc remove it after this time, for example 7d, unless it is in use then
        #[arg(long, value_name = "AGE", value_parser = units::duration)]
        expire: Option<Duration>,
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
        /// Have gc remove it after this time, for example 7d, unless it is in use then
        #[arg(long, value_name = "AGE", value_parser = units::duration)]
        expire: Option<Duration>,
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
        /// Have gc remove it after this time, for example 7d, unless it is in use then
        #[arg(long, value_name = "AGE", value_parser = units::duration)]
        expire: Option<Duration>,
    },
    /// Save what a writable snapshot shows now as a committed one, and keep the writable one
    #[command(after_help = "Example:\n  cairn snapshot save work-1 work")]
    Save {
        /// Name of the committed snapshot
        name: SnapshotKey,
        /// Key of the writable snapshot; pause whatever writes to it
        key: SnapshotKey,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// Have gc remove it after this time, for example 7d, unless it is in use then
        #[arg(long, value_name = "AGE", value_parser = units::duration)]
        expire: Option<Duration>,
    },
    /// Create a writable snapshot that shows what was saved
    #[command(after_help = "Example:\n  cairn snapshot restore work-again work-1")]
    Restore {
        /// Key of the new snapshot
        key: SnapshotKey,
        /// Committed snapshot
        saved: SnapshotKey,
        /// Add a label, NAME=VALUE
        #[arg(short, long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// Have gc remove it after this time, for example 7d, unless it is in use then
        #[arg(long, value_name = "AGE", value_parser = units::duration)]
        expire: Option<Duration>,
    },
    /// Remove snapshots
    #[command(after_help = "Example:\n  cairn snapshot rm work")]
    Rm {
        /// Remove snapshots that containerd may still refer to
        #[arg(short, long)]
        force: bool,
        /// Keys or names
        #[arg(required = true)]
        keys: Vec<SnapshotKey>,
    },
    /// List snapshots
    #[command(after_help = "Example:\n  cairn snapshot ls kind==active,labels.owner==ci")]
    Ls {
        /// Show only snapshots that match any of these filters
        #[arg(value_name = "EXPRESSION")]
        any: Vec<Filter>,
        #[command(flatten)]
        listing: Listing,
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
