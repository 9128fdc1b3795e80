//! The `cairn` command.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 corruption found; `run` passes on the code of the process it
//! ran (125–127 as Docker has them).

mod args;
mod commands;
mod output;
mod progress;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cairn_sys::end_on_broken_pipe();
    let cli = args::Cli::parse();
    match commands::dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            output::print_error(&e);
            ExitCode::from(output::exit_code(&e))
        }
    }
}
