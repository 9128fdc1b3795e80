//! Arguments of commands that look after a repository.

use std::time::Duration;

use clap::Args;

use crate::units;

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
