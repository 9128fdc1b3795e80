//! Commands that begin at once: of the command line only what is given is defined.
//!
//! The whole definition takes longer to make than many commands take to run. It is made for all other commands, for
//! help, and where something is wrong with a command line, so that words are the same either way.

use std::ffi::{OsStr, OsString};

use clap::{Args, FromArgMatches};

use super::containers::{Exec, Logs, Ps};
use super::listing::Listing;
use super::repository::Stats;
use super::run::Run;
use super::{Cli, Global};

/// Adds the arguments of a command to its definition.
type Define = fn(clap::Command) -> clap::Command;

const QUICK: [(&str, Define); 7] = [
    ("run", Run::augment_args),
    ("create", Run::augment_args),
    ("exec", Exec::augment_args),
    ("ps", Ps::augment_args),
    ("logs", Logs::augment_args),
    ("stats", Stats::augment_args),
    ("images", Listing::augment_args),
];
/// Global options whose value is the next word.
const WITH_VALUE: [&str; 6] = [
    "--root",
    "--base-root",
    "--driver",
    "--verify",
    "--log",
    "--log-format",
];

/// This process's command line, if its command is one of those and nothing is wrong with it.
pub fn quickly() -> Option<Cli> {
    parsed(std::env::args_os().collect())
}

fn parsed(words: Vec<OsString>) -> Option<Cli> {
    let given = command_of(words.get(1..)?)?;
    let (name, define) = QUICK.into_iter().find(|(name, _)| given == *name)?;
    let cairn = Global::augment_args(clap::Command::new("cairn"));
    let command = cairn.subcommand(define(clap::Command::new(name)));
    let matches = command.try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

/// The first word that is neither a global option nor the value of one.
fn command_of(words: &[OsString]) -> Option<&OsStr> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some(option) if WITH_VALUE.contains(&option) => drop(words.next()),
            Some(option) if option.starts_with('-') => {}
            _ => return Some(word),
        }
    }
    None
}

/// True where nothing but the version is asked for.
pub fn is_version() -> bool {
    let mut words = std::env::args_os().skip(1);
    let asked = words
        .next()
        .is_some_and(|word| word == "--version" || word == "-V");
    asked && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_quick_command_line_means_what_it_means_by_the_whole_definition() {
        for line in [
            "cairn run --rm -it -e A=1 image sh -c x",
            "cairn --root /x --json run -d image",
            "cairn --log=debug --root=/x run image --root y",
            "cairn create --name x --memory 1g image",
            "cairn exec -it c sh",
            "cairn ps -a --json --filter name=x",
            "cairn logs -f --tail 3 c",
            "cairn stats c --no-stream",
            "cairn images --root /x",
        ] {
            let whole = Cli::command().try_get_matches_from(words(line)).unwrap();
            let whole = Cli::from_arg_matches(&whole).unwrap();
            let quick = parsed(words(line)).expect(line);
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_whole_definition() {
        for line in [
            "cairn",
            "cairn --help",
            "cairn run --help",
            "cairn run",
            "cairn run --bogus image",
            "cairn images run",
            "cairn rm run",
            "cairn --root run",
            "cairn help run",
        ] {
            assert!(parsed(words(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn global_options_with_a_value_are_all_known() {
        let takes_value = |argument: &&clap::Arg| argument.get_action().takes_values();
        let command = Global::augment_args(clap::Command::new("cairn"));
        let mut known: Vec<String> = command
            .get_arguments()
            .filter(takes_value)
            .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
            .collect();
        known.sort();
        let mut listed = WITH_VALUE.to_vec();
        listed.sort_unstable();
        assert_eq!(known, listed);
    }
}
