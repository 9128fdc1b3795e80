//! The Cairn repository: what users do with images and snapshots, joined from the floors below.
//!
//! **Invariant:** whatever a command reports as done is durable and whole; whatever it does not, left
//! nothing but what a collection finds.
//!
//! A directory becomes an image; a snapshot of it is prepared, changed and committed:
//!
//! ```
//! use cairn_model::{Driver, MountPlan};
//! use cairn_repo::{GcOptions, ImportOptions, Options, Repo};
//! use cairn_snapshot::{Labels, Snapshotter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! # let (root, files) = (place.path().join("repository"), place.path().join("files"));
//! # std::fs::create_dir(&files)?;
//! # std::fs::write(files.join("hello"), "hello")?;
//! let options = Options {
//!     // Works everywhere; by default it is the best driver that works here.
//!     driver: Some(Driver::Copy),
//!     ..Options::default()
//! };
//! let repo = Repo::open_or_create(&root, options)?;
//!
//! let import = ImportOptions {
//!     name: Some("hello:1".parse()?),
//!     platform: cairn_image::Platform::host(),
//!     read_all: false,
//!     verify_key: None,
//! };
//! repo.images().import(&files, &import)?;
//! let image = repo.images().find("hello:1")?;
//!
//! // What comes back says how to mount the snapshot. With this driver it is a directory, which can be used as it is.
//! let key = "work".parse()?;
//! let plan = repo.snapshots().prepare(&key, image.row.top.as_ref(), Labels::default())?;
//! let MountPlan::Copy(copy) = plan else { unreachable!("the driver was named") };
//! std::fs::write(copy.directory.join("world"), "world")?;
//!
//! let done = "done".parse()?;
//! repo.snapshots().commit(&done, &key, Labels::default())?;
//! assert!(repo.snapshots().tree(&done)?.get(b"world").is_some());
//!
//! repo.snapshots().remove(&done)?;
//! let report = repo.gc().run(&GcOptions::default())?;
//! assert!(report.dead_blobs > 0);
//! # Ok(())
//! # }
//! ```
//!
//! Mounts need privileges and a directory of the host:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use cairn_repo::{MountOptions, Options, Repo};
//!
//! let repo = Repo::open(Path::new("/var/lib/cairn"), Options::default())?;
//! repo.views().mount("hello:1", Path::new("/mnt"), MountOptions::default())?;
//! repo.views().unmount(Path::new("/mnt"), false)?;
//! # Ok::<_, cairn_repo::Error>(())
//! ```
//!
//! Long work reports to, and is ended by, the [`Watch`] in [`Options`]. Errors are sorted by their
//! [`Class`](cairn_model::Class). More in `docs/library.md`.

mod again;
mod backup;
mod check;
mod chunks;
mod containers;
mod error;
mod export;
mod files;
mod forms;
mod gc;
mod heads;
mod history;
mod images;
mod import;
mod notes;
mod optimize;
mod origins;
mod orphans;
mod packages;
mod push;
mod referrers;
mod repo;
mod report;
mod retention;
mod room;
mod rows;
mod settings;
mod sharing;
mod snapshots;
mod stats;
mod survey;
pub mod time;
mod transfer;
mod trees;
mod trust;
mod views;
mod volumes;
mod why;

pub use backup::Backup;
pub use cairn_model::{Cancelled, Progress, Transfer, TransferState, Watch};
pub use cairn_store::gc::Policy as GcPolicy;
pub use cairn_view::Verify;
pub use check::{
    Affected, AffectedHead, CacheFault, CacheReport, Check, CheckReport, LastCheck, Place,
};
pub use chunks::{ChunksFetched, ChunksPushed};
pub use containers::{Container, Containers, NewContainer, check_container_name};
pub use error::{Error, Result};
pub use export::Format;
pub use gc::{Gc, GcOptions, GcPlan, GcReport, JobReport, LastJob};
pub use history::GrowthRow;
pub use images::{
    CommitOptions, Comparison, FileChange, Flattened, Holder, Holding, Image, Images, Keep,
    ListedImage, PackageChange, Rebased, Removed, Sought,
};
pub use import::{
    Estimate, EstimatedFile, EstimatedImage, EstimatedLayer, ImportOptions, Imported, NameLeftOut,
    PullOptions, Pulled, Renamed,
};
pub use optimize::{OptimizeOptions, OptimizeReport};
pub use orphans::Orphan;
pub use packages::{Package, PackageManager};
pub use push::{Packing, PushOptions, Pushed};
pub use referrers::{Carried, Referrer};
pub use repo::{Options, Repo};
pub use retention::{Decision, EXPIRES, Retention, Rule, SnapshotDecision, parse_rules};
pub use rows::ImageRow;
pub use settings::{Setting, Settings, SettingsFile, Value};
pub use snapshots::{
    Applied, CHAIN, Committing, Link, NAMESPACE, PackedChanges, Released, Snapshots, Target,
};
pub use stats::{RefusedRemoval, Share, Stats, WhatIf};
pub use survey::{
    Ask, Bar, Breakdown, BrowsedImage, By, Details, Figures, FileTree, FilesOf, HeadSize,
    ImageDetail, KeptBy, LayerDetail, Overview, Pair, Row, Waste, WastedPath,
};
pub use transfer::{Have, Missing, Transferred};
pub use trust::{Policy, Verified};
pub use views::{DriverReport, MountOptions, PacksReport, Views};
pub use volumes::{NewVolume, Volume, VolumeLock, Volumes, check_volume_name};
pub use why::{Step, Why};
