//! A tree made mountable: one metadata-only EROFS image for the whole merged chain, file contents in an
//! object cache that all views share, and the mounts that put both under a writable head.
//!
//! **Invariant:** images and objects are a cache: they can be deleted whenever nothing mounts them, and
//! are made again from the store, each piece checked against its id. What to mount is data
//! ([`cairn_model::MountPlan`]); only [`mount`] makes system calls for it.

mod cache;
mod detect;
mod erofs;
mod error;
mod mount;
mod objects;

pub use cache::{Evicted, Views, made_mount_points};
pub use erofs::{Tiny, write_image};
pub use error::{Error, Result};
pub use mount::{attach, is_mountpoint, mount, unmount};
pub use objects::ObjectCache;
