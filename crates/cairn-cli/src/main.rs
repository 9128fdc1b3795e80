//! The `cairn` command.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 corruption found; `run` passes on the code of the process it
//! ran (125–127 as Docker has them).

// Before the others: its macros take the place of println! and eprintln! in them.
#[macro_use]
mod output;

mod args;
mod browse;
mod commands;
mod logging;
mod page;
mod progress;
mod report;
mod signals;

use std::process::ExitCode;

use cairn_model::Watch;
use clap::FromArgMatches;

fn main() -> ExitCode {
    if let Some(order) = step_of_launch() {
        cairn_sys::end_on_broken_pipe();
        return finish(commands::step(order));
    }
    if let Some(args) = commands::oci::given() {
        // It has global options of its own.
        return finish(Ok(commands::oci::run(args)));
    }
    if args::is_version() {
        println!("cairn {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::from(output::finish(0));
    }
    match args::quickly().map_or_else(parse, Ok) {
        Ok(cli) => run(cli),
        Err(code) => code,
    }
}

/// The command line by the whole definition; the exit code where there is nothing more to do.
fn parse() -> Result<args::Cli, ExitCode> {
    let given = args::command().try_get_matches();
    match given.and_then(|given| args::Cli::from_arg_matches(&given)) {
        Ok(cli) => Ok(cli),
        Err(e) if commands::explain(&e) => Err(ExitCode::from(2)),
        Err(e) if e.use_stderr() => e.exit(),
        // Help or version was asked for.
        Err(e) => {
            output::keep(e.print());
            Err(ExitCode::from(output::finish(0)))
        }
    }
}

fn run(cli: args::Cli) -> ExitCode {
    // Both before the first thread.
    cairn_sys::spare_address_space();
    let caller = commands::Caller::enter(&cli.command);
    if cli.command.is_step_of_launch() {
        // What they start expects the signal to do what it does by default.
        cairn_sys::end_on_broken_pipe();
    }
    if let Some(filter) = cli.global.log.clone() {
        logging::start(filter, cli.global.log_format);
    }
    let watch = Watch::default();
    if cli.command.takes_long() {
        signals::end_work_of(&watch);
    }
    finish(commands::dispatch(cli, watch, caller))
}

/// The exit code of a command, after the last words about it.
fn finish(done: anyhow::Result<u8>) -> ExitCode {
    let code = done.unwrap_or_else(|e| {
        signals::end_if_received();
        output::print_error(&e);
        output::exit_code(&e)
    });
    ExitCode::from(output::finish(code))
}

/// The order of a step of a launch. Several of them are on the way to each process in a container, so nothing is
/// parsed that they do not have; a log is asked for by a command line like any other.
fn step_of_launch() -> Option<i32> {
    let mut args = std::env::args_os().skip(1);
    let is_step = args.next()? == cairn_runtime::STAGE;
    let order = args.next()?.to_str()?.parse().ok()?;
    (is_step && args.next().is_none() && std::env::var_os("CAIRN_LOG").is_none()).then_some(order)
}
