//! A tree made mountable: one metadata-only EROFS image for the whole merged chain, file contents in an
//! object cache that all views share, and the mounts that put both under a writable head.
//!
//! **Invariant:** images and objects are a cache: they can be deleted whenever nothing mounts them, and
//! are made again from the store, each piece checked against its id; nothing in it is used before it was
//! held against what it should be, as [`Verify`] says. What to mount is data
//! ([`cairn_model::MountPlan`]); only [`mount()`] makes system calls for it.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use cairn_model::{CopyPlan, MountPlan};
//!
//! // Needs privileges. A mount that is not attached goes when it is dropped.
//! let plan = MountPlan::Copy(CopyPlan { directory: "/srv/files".into(), writable: false });
//! let mount = cairn_view::mount(&plan)?;
//! cairn_view::attach(&mount, Path::new("/mnt"))?;
//! # Ok::<_, cairn_view::Error>(())
//! ```

mod cache;
mod check;
mod checked;
pub mod detached;
mod detect;
mod driver;
mod erofs;
mod error;
mod evict;
mod flat;
mod image;
mod mount;
mod mounted;
mod objects;
mod packed;
mod plan;
mod seen;
mod shared;
mod sizes;
mod small;
mod source;
mod take;
mod verified;
mod verify;

pub use cache::Views;
pub use check::{CacheCheck, CachedObject, oldest};
pub use checked::{read_checked, write_checked};
pub use detect::Trial;
pub use driver::{is_full_copy, map_head, mount, mount_for, read_head, start_head, upper};
pub use erofs::{InlineContent, write_image};
pub use error::{Error, Result};
pub use evict::Evicted;
pub use flat::Flat;
pub use mount::{attach, is_mountpoint, restrict, unmount};
pub use mounted::Mounted;
pub use objects::{Found, ObjectCache};
pub use packed::{Over, PackedLook};
pub use shared::place_name;
pub use sizes::{CacheSizes, ViewSize};
pub use small::Small;
pub use source::Source;
pub use verify::Verify;
