//! The contract against the library.

use cairn_contract::{Library, Snapshotter, contract};
use cairn_model::Driver;

fn fresh(driver: Option<Driver>) -> Box<dyn Snapshotter> {
    Box::new(Library::new(driver))
}

contract!(fresh);
contract!(fresh, content: a_hundred_and_twenty_eight_layers_stack);
