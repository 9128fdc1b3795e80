//! The command line: what can be given, and how help describes it.
//!
//! `command()` is the definition to parse with: derived from the types here and in the files below, with
//! commands listed under headings.

mod command;
mod containers;
mod images;
mod listing;
mod oci;
mod quick;
mod repository;
mod run;
mod serve;
mod snapshots;
mod volumes;

use std::path::PathBuf;

use cairn_model::Driver;
use cairn_repo::Verify;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser};
use tracing_subscriber::filter::Targets;

use crate::logging::{self, LogFormat};

pub use command::Command;
pub use containers::{Attach, Commit, Cp, Events, Exec, Generate, Logs, Ps, Update};
pub use images::{
    Diff, DiffOrder, Estimate, Export, ExportFormat, FILES_SHOWN, Flatten, Have, Import, Login,
    Logout, Progress, Pull, Push, Rebase, Sign, VerifyImage, When, Which, Wire,
};
pub use listing::Listing;
pub use oci::{LogForm, Oci, OciCli, OciCreate, OciExec, OciUpdate};
pub use quick::{is_version, quickly};
pub use repository::{AgeOrNever, Check, Config, Gc, Optimize, Show, Stats, ViewBy};
pub use run::Run;
pub use serve::Serve;
pub use snapshots::Snapshot;
pub use volumes::Volume;

const GLOBAL: &str = "Global options";

/// Under which heading each command is listed.
const HEADINGS: [(&str, &[&str]); 5] = [
    (
        "Images",
        &[
            "import", "estimate", "pull", "push", "export", "have", "images", "inspect", "history",
            "tag", "rmi", "rebase", "flatten", "which", "pin", "unpin", "expire", "sign", "verify",
            "login", "logout",
        ],
    ),
    (
        "Containers",
        &[
            "run", "create", "start", "attach", "exec", "cp", "ps", "top", "logs", "wait", "pause",
            "unpause", "update", "stop", "restart", "kill", "rename", "diff", "port", "commit",
            "rm", "volume", "generate",
        ],
    ),
    ("Snapshots", &["snapshot", "mount", "unmount"]),
    (
        "Repository",
        &[
            "init", "config", "stats", "why", "orphans", "events", "gc", "optimize", "check",
            "backup", "restore", "serve", "driver", "doctor",
        ],
    ),
    (
        "Other",
        &["bundle", "oci", "quickstart", "completions", "man", "help"],
    ),
];

/// The definition of the command line.
pub fn command() -> clap::Command {
    // Not built as a whole: that takes longer than most commands do, and only the one that is given is needed.
    let all = Cli::command();
    let styles = clap::builder::Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in HEADINGS {
        template.push_str(&format!("\n{header}{heading}:{header:#}\n"));
        for name in names {
            let about = all.find_subcommand(name).and_then(|c| c.get_about());
            // clap adds this one by itself.
            let about = about.map_or_else(|| "Show help for a command".into(), ToString::to_string);
            template.push_str(&format!("  {literal}{name:<12}{literal:#} {about}\n"));
        }
    }
    template.push_str(&format!(
        "\n{header}{GLOBAL}:{header:#}\n{{options}}\n\nRun \"cairn help COMMAND\" for more about a command."
    ));
    all.help_template(template)
}

/// A content-addressed snapshotter for container images
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// What every command can be told.
    #[command(flatten)]
    pub global: Global,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command can be told.
#[derive(Debug, Args)]
pub struct Global {
    /// Repository directory [default: /var/lib/cairn, or $XDG_DATA_HOME/cairn for non-root users]
    #[arg(
        long,
        env = "CAIRN_ROOT",
        global = true,
        value_name = "DIR",
        help_heading = GLOBAL
    )]
    pub root: Option<PathBuf>,

    /// Repository to share content with: init and import store only what it lacks; it is never written to
    #[arg(
        long,
        env = "CAIRN_BASE_ROOT",
        global = true,
        value_name = "DIR",
        help_heading = GLOBAL
    )]
    pub base_root: Option<PathBuf>,

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

    /// How often to verify cached files: once after each boot, on every mount, or never [default: boot]
    #[arg(
        long,
        env = "CAIRN_VERIFY",
        global = true,
        value_name = "WHEN",
        value_parser = verifications(),
        help_heading = GLOBAL
    )]
    pub verify: Option<Verify>,

    /// Log to standard error: error, warn, info, debug or trace, for all crates or as in cairn_store=debug
    #[arg(
        long,
        env = "CAIRN_LOG",
        global = true,
        value_name = "FILTER",
        value_parser = logging::filter,
        help_heading = GLOBAL
    )]
    pub log: Option<Targets>,

    /// Form of the log
    #[arg(
        long,
        env = "CAIRN_LOG_FORMAT",
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t = LogFormat::Text,
        help_heading = GLOBAL
    )]
    pub log_format: LogFormat,
}

fn drivers() -> impl TypedValueParser<Value = Driver> {
    PossibleValuesParser::new([
        "packs",
        "erofs",
        "erofs-loop",
        "overlay",
        "overlay-user",
        "copy",
    ])
    .try_map(|name| name.parse::<Driver>())
}

fn verifications() -> impl TypedValueParser<Value = Verify> {
    PossibleValuesParser::new(["boot", "always", "never"]).try_map(|when| when.parse::<Verify>())
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
