//! The Cairn repository: what users do with images and snapshots, joined from the floors below.
//!
//! **Invariant:** whatever a command reports as done is durable and whole; whatever it does not, left
//! nothing but what a collection finds.

mod backup;
mod check;
mod containers;
mod error;
mod export;
mod gc;
mod heads;
mod images;
mod import;
mod repo;
mod report;
mod rows;
mod settings;
mod snapshots;
mod stats;
pub mod time;
mod trees;
mod views;

pub use backup::Backup;
pub use cairn_model::{Cancelled, Progress, Watch};
pub use cairn_store::gc::Policy as GcPolicy;
pub use cairn_view::Verify;
pub use check::{Affected, AffectedHead, CacheFault, CacheReport, Check, CheckReport, Place};
pub use containers::{Container, Containers, NewContainer, check_container_name};
pub use error::{Error, Result};
pub use export::Format;
pub use gc::{Gc, GcOptions, GcPlan, GcReport};
pub use images::{
    CommitOptions, Holder, Holding, Image, Images, ListedImage, Rebased, Removed, Sought,
};
pub use import::{ImportOptions, Imported, NameLeftOut, Renamed};
pub use repo::{Options, Repo};
pub use rows::ImageRow;
pub use settings::{Setting, Settings, SettingsFile, Value};
pub use snapshots::Snapshots;
pub use stats::{Share, Stats};
pub use views::{DriverReport, MountOptions, Views};
