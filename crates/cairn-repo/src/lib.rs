//! The Cairn repository: what users do with images and snapshots, joined from the floors below.
//!
//! **Invariant:** whatever a command reports as done is durable and whole; whatever it does not, left
//! nothing but what a collection finds.

mod error;
mod export;
mod images;
mod import;
mod repo;
mod rows;
pub mod time;

pub use error::{Error, Result};
pub use export::Format;
pub use images::{Image, Removed};
pub use import::{ImportOptions, Imported, Progress};
pub use repo::{Options, Repo};
pub use rows::ImageRow;
