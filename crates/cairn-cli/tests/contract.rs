//! The snapshot contract against the command.

use cairn_contract::{CommandLine, Snapshotter, contract};
use cairn_model::Driver;

fn fresh(driver: Option<Driver>) -> Box<dyn Snapshotter> {
    Box::new(CommandLine::new(env!("CARGO_BIN_EXE_cairn"), driver))
}

contract!(fresh);
