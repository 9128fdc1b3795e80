//! The snapshot contract against the server.

use cairn_contract::{Served, Snapshotter, contract};
use cairn_model::Driver;

fn fresh(driver: Option<Driver>) -> Box<dyn Snapshotter> {
    Box::new(Served::new(env!("CARGO_BIN_EXE_cairn"), driver))
}

contract!(fresh);
