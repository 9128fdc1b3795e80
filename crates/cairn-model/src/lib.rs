//! Plain types that every floor of Cairn shares: ids, entries, names, mount plans.
//!
//! **Invariant:** no I/O here, and every value that exists is valid: names and ids are checked where
//! they are made, so no floor above checks them again.
//!
//! ```
//! use cairn_model::{ImageRef, SnapshotKey};
//!
//! let name: ImageRef = "debian:12".parse()?;
//! assert_eq!(name.tag(), "12");
//! assert!("two\nlines".parse::<SnapshotKey>().is_err());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod causes;
mod class;
pub mod clock;
mod entry;
mod id;
mod layer_name;
mod mapped;
mod moment;
mod name;
mod pattern;
mod plan;
mod reference;
mod text;
pub mod units;
mod watch;

pub use causes::one_line;
pub use class::{Class, is_full};
pub use entry::{Content, Entry, Kind, Meta, Piece, Timestamp, path_display};
pub use id::{
    BlobId, ContainerId, Digest, HeadId, IdError, LayerId, LeaseId, ObjectId, PackId, SegmentId,
    TreeId,
};
pub use layer_name::LayerName;
pub use mapped::MappedIds;
pub use moment::{Moment, NotAMoment};
pub use name::{NameError, SnapshotKey};
pub use pattern::is_like;
pub use plan::{
    CopyPlan, Driver, Head, ImagePlan, MountPlan, PackFile, PackPlan, PackedContents, StackPlan,
    ViewImage,
};
pub use reference::{ImageRef, Reference};
pub use text::{is_hidden, printable};
pub use watch::{Cancelled, Progress, Transfer, TransferState, Unfinished, Watch};
