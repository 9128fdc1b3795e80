//! The `cairn` command.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 corruption found; `run` passes on the code of the process it
//! ran (125–127 as Docker has them).

// Before the others: its macros take the place of println! and eprintln! in them.
#[macro_use]
mod output;

mod args;
mod commands;
mod logging;
mod progress;
mod report;
mod signals;

use std::process::ExitCode;

use cairn_model::Watch;
use clap::FromArgMatches;

fn main() -> ExitCode {
    let given = args::command().try_get_matches();
    let cli = match given.and_then(|given| args::Cli::from_arg_matches(&given)) {
        Ok(cli) => cli,
        Err(e) if commands::explain(&e) => return ExitCode::from(2),
        Err(e) if e.use_stderr() => e.exit(),
        // Help or version was asked for.
        Err(e) => {
            output::keep(e.print());
            return ExitCode::from(output::finish(0));
        }
    };
    if cli.command.is_step_of_launch() {
        // What they start expects the signal to do what it does by default.
        cairn_sys::end_on_broken_pipe();
    }
    if let Some(filter) = cli.log.clone() {
        logging::start(filter, cli.log_format);
    }
    let watch = Watch::default();
    if cli.command.takes_long() {
        signals::end_work_of(&watch);
    }
    let code = commands::dispatch(cli, watch).unwrap_or_else(|e| {
        signals::end_if_received();
        output::print_error(&e);
        output::exit_code(&e)
    });
    ExitCode::from(output::finish(code))
}
