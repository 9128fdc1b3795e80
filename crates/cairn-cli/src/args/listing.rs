//! How lists are shown.

use clap::Args;

/// How a list is shown: the same options for all of them.
#[derive(Debug, Clone, Default, Args)]
pub struct Listing {
    /// Print only names or ids
    #[arg(short, long, conflicts_with = "format")]
    pub quiet: bool,
    /// Show only what matches FIELD=PATTERN, with the fields of --json and * for any text; repeat it for several
    #[arg(short, long = "filter", value_name = "FIELD=PATTERN")]
    pub filters: Vec<String>,
    /// Print a template such as "{{.name}}" for each, with the fields of --json
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}
