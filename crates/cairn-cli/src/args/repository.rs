//! Arguments of commands that look after a repository.

use std::path::PathBuf;
use std::time::Duration;

use cairn_model::units;
use cairn_repo::Rule;
use clap::{Args, Subcommand, ValueEnum};

/// How rules are written.
pub const GC_HELP: &str = "\
Rules say which images go. The first that fits an image name decides. Terms of a rule:
  match=PATTERN      names like this, for example ci/*
  label=KEY[=VALUE]  images with this label
  unnamed            images without a name
  snapshots          snapshots, and no images; match= is about their names, keep-within= about when they were made
  keep-last=N        keep the newest N of each name
  keep-within=AGE    keep what was imported within this time
  unused-for=AGE     keep what was used within this time
  keep, remove       keep or remove all that fit
Pinned images and those of containers always stay. Set lasting rules and limits with \"cairn config set gc.rules\",
gc.max-used and gc.min-free.

Examples:
  cairn gc --dry-run
  cairn gc --rule match=ci/*,keep-last=3,unused-for=14d --rule unnamed,remove
  cairn gc --for 10m --metrics /var/lib/node_exporter/cairn.prom";

/// Arguments of `gc`.
#[derive(Debug, Args)]
pub struct Gc {
    /// Show what would be deleted and by which rule, without deleting anything
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also delete cached views that are not mounted, and unfinished downloads of any age
    #[arg(long)]
    pub prune_cache: bool,
    /// Rewrite every pack that contains dead data [default: packs that are more than a fifth dead]
    #[arg(long)]
    pub all: bool,
    /// Use these rules in place of those of the repository; repeat it for several
    #[arg(long = "rule", value_name = "RULE", value_parser = str::parse::<Rule>)]
    pub rules: Vec<Rule>,
    /// Remove no images, whatever rules and limits say
    #[arg(long, conflicts_with = "rules")]
    pub no_rules: bool,
    /// Stop after about this time, for example 10m; the next gc goes on
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    pub time: Option<Duration>,
    /// Use processors and disks only when nothing else does
    #[arg(long)]
    pub idle: bool,
    /// Then recompress what is left as far as the time allows, as "cairn optimize" does; see its help
    #[arg(long)]
    pub optimize: bool,
    /// Write figures of the repository to this file, for Prometheus
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}

/// What stands below the help of `optimize`.
pub const OPTIMIZE_HELP: &str = "\
It runs at low priority and takes many times as long as the import did. What was recompressed once is not looked at
again. Files that views of the driver packs read in place stay as they are. Programs older than this command cannot
read the repository afterwards.

Examples:
  cairn optimize
  cairn optimize --for 10m --idle";

/// Arguments of `optimize`.
#[derive(Debug, Args)]
pub struct Optimize {
    /// Show how much there is to recompress, without doing it
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Stop after about this time, for example 10m; the next one goes on
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    pub time: Option<Duration>,
    /// Use processors and disks only when nothing else does
    #[arg(long)]
    pub idle: bool,
}

/// A time from now, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgeOrNever {
    /// After this time.
    After(Duration),
    /// Not at all.
    Never,
}

/// Reads an age, or the word "never".
pub fn age_or_never(text: &str) -> Result<AgeOrNever, String> {
    match text {
        "never" => Ok(AgeOrNever::Never),
        text => units::duration(text).map(AgeOrNever::After),
    }
}

/// What the rows of a view of `stats` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ViewBy {
    /// Images
    Image,
    /// Layers
    Layer,
    /// Committed snapshots
    Snapshot,
    /// Writable directories of active snapshots
    Head,
    /// Directories, down to --depth
    Path,
    /// Single files
    File,
    /// Kinds of files, by their names
    Type,
    /// Packages of dpkg, rpm, apk, Python and Node
    Package,
    /// Days on which layers came
    Time,
}

/// What else `stats` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// What each image carries and never shows
    Waste,
    /// What layers have in common
    Sharing,
    /// Chunks, files and references by size
    Histograms,
    /// How the repository grew
    Growth,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Divide what is stored by this: each byte counts for the row that had it first, so columns add up
    #[arg(long, value_name = "WHAT", group = "view")]
    pub by: Option<ViewBy>,
    /// Show something else
    #[arg(long, value_name = "WHAT", group = "view")]
    pub show: Option<Show>,
    /// Write all of it as one page for a browser, which needs no network
    #[arg(long, value_name = "FILE", group = "view")]
    pub html: Option<PathBuf>,
    /// Look around on the terminal: images, layers and files by size, and what removing images would free
    #[arg(short, long, group = "view", conflicts_with = "top")]
    pub interactive: bool,
    /// With --by: only the layers of this image
    #[arg(long, value_name = "IMAGE", requires = "by")]
    pub image: Option<String>,
    /// With --by path: how many parts of a path a row has
    #[arg(long, value_name = "N", requires = "by", default_value_t = 1)]
    pub depth: usize,
    /// With --by: only what nothing had before this time, for example 7d
    #[arg(long, value_name = "AGE", requires = "by", value_parser = units::duration)]
    pub since: Option<Duration>,
    /// Show the largest N rows, and the others as one; 0 for all [default: 30]
    #[arg(long, value_name = "N", requires = "view")]
    pub top: Option<usize>,
    /// Show what removing these images together, and then gc, would free
    #[arg(
        long,
        value_name = "IMAGE,…",
        value_delimiter = ',',
        conflicts_with_all = ["recount", "view"]
    )]
    pub what_if_removed: Vec<String>,
    /// Write figures of the repository to this file, for Prometheus
    #[arg(long, value_name = "FILE", conflicts_with = "what_if_removed")]
    pub metrics: Option<PathBuf>,
    /// Containers, to show what they use now instead of the repository's disk space
    #[arg(conflicts_with_all = ["what_if_removed", "recount", "metrics", "view"])]
    pub containers: Vec<String>,
    /// With containers: print once instead of again each second
    #[arg(long, requires = "containers")]
    pub no_stream: bool,
    /// Count from the layers themselves, not from what is remembered of them, and compare
    #[arg(long, conflicts_with = "view")]
    pub recount: bool,
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

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the value of a setting
    #[command(after_help = "Example:\n  cairn config get import.max-bytes")]
    Get {
        /// Setting
        key: String,
    },
    /// Change a setting
    #[command(after_help = "Example:\n  cairn config set verify always")]
    Set {
        /// Setting
        key: String,
        /// New value
        value: String,
    },
    /// List all settings, their values, and where each value comes from
    #[command(after_help = "Example:\n  cairn config list")]
    List,
    /// Return a setting to its default
    #[command(after_help = "Example:\n  cairn config unset verify")]
    Unset {
        /// Setting
        key: String,
    },
}
