//! What a command tells, as values: text and JSON print the same ones. `docs/json.md` lists the fields.

pub mod doctor;
pub mod image;
pub mod metrics;
pub mod snapshot;
pub mod transfer;
