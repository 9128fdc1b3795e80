//! The Cairn repository: what users do with images and snapshots, joined from the floors below.
//!
//! **Invariant:** whatever a command reports as done is durable and whole; whatever it does not, left
//! nothing but what a collection finds.

mod backup;
mod check;
mod commit;
mod containers;
mod driver;
mod error;
mod export;
mod gc;
mod images;
mod import;
mod import_root;
mod launch;
mod mounts;
mod new_directory;
mod repo;
mod rows;
mod settings;
mod snapshots;
mod stats;
mod target;
pub mod time;

pub use backup::Backup;
pub use cairn_view::Verify;
pub use check::{Affected, AffectedHead, CacheFault, CacheReport, CheckReport, Place};
pub use commit::CommitOptions;
pub use containers::{Container, NewContainer, check_container_name};
pub use driver::DriverReport;
pub use error::{Error, Result};
pub use export::Format;
pub use gc::{GcOptions, GcReport};
pub use images::{Image, ListedImage, Removed};
pub use import::{ImportOptions, Imported, NameLeftOut, Progress, Renamed};
pub use mounts::MountOptions;
pub use repo::{Options, Repo};
pub use rows::ImageRow;
pub use settings::{Setting, Settings, SettingsFile, Value};
pub use snapshots::tree_bytes;
pub use stats::{Share, Stats};
