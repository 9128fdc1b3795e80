//! Arguments of `volume`.

use clap::Subcommand;

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Create a volume
    #[command(after_help = "Example:\n  cairn volume create --label app=web web-data")]
    Create {
        /// Name [default: a random one]
        name: Option<String>,
        /// Add a label
        #[arg(short, long, value_name = "NAME[=VALUE]")]
        label: Vec<String>,
    },
    /// List volumes
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  cairn volume ls --filter dangling=true"
    )]
    Ls {
        /// Show only volumes that match: name=TEXT, label=NAME[=VALUE] or dangling=true|false
        #[arg(short, long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Print only names
        #[arg(short, long)]
        quiet: bool,
        /// Print a template such as "{{.name}}" for each, with the fields of --json
        #[arg(long, value_name = "TEMPLATE", conflicts_with = "quiet")]
        format: Option<String>,
    },
    /// Display volumes as JSON
    #[command(after_help = "Example:\n  cairn volume inspect web-data")]
    Inspect {
        /// Volumes
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove volumes that no container uses
    #[command(after_help = "Example:\n  cairn volume rm web-data")]
    Rm {
        /// Volumes
        #[arg(required = true)]
        volumes: Vec<String>,
        /// Do not fail on volumes that do not exist
        #[arg(short, long)]
        force: bool,
    },
    /// Remove volumes without a name that no container uses
    #[command(after_help = "Example:\n  cairn volume prune --all")]
    Prune {
        /// Also remove named volumes that no container uses
        #[arg(short, long)]
        all: bool,
        /// Accepted for compatibility; there is never a prompt
        #[arg(short, long)]
        force: bool,
    },
}
