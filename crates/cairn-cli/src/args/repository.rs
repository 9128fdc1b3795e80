//! Arguments of commands that look after a repository.

use std::time::Duration;

use cairn_model::units;
use clap::{Args, Subcommand};

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Show what removing these images together, and then gc, would free
    #[arg(
        long,
        value_name = "IMAGE,…",
        value_delimiter = ',',
        conflicts_with = "recount"
    )]
    pub what_if_removed: Vec<String>,
    /// Count from the layers themselves, not from what is remembered of them, and compare
    #[arg(long)]
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
