//! Writes metadata-only EROFS images (Linux Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h).
//!
//! Uncompressed, 4 KiB blocks, extended inodes (64 bytes, nanoseconds), xattrs inside inodes. A regular
//! file of more than [`INLINE_BYTES_MAX`] bytes has its size and no data, and the two attributes by which
//! overlayfs finds its data in a data-only lower layer: `trusted.overlay.metacopy` (empty) and
//! `trusted.overlay.redirect` (`/ab/cdef…`, the object's name). The same tree gives the same bytes.
//!
//! An image of the second kind is such a lower itself: its files are named as objects, and their content is
//! read by the kernel from other files (`encoded`).

mod directory;
mod encoded;
mod image;
mod xattr;

pub(crate) use encoded::{
    DEVICES_MAX, Encoded, Extent, FILE_BYTES_MAX, FRAME_BYTES_MAX, may_merge,
};
pub use image::{InlineContent, write_image};
pub(crate) use image::{contents_uuid, metadata_uuid, small_uuid, write_encoded, write_metadata};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Files up to this length are held in the image itself, bytes.
pub(crate) const INLINE_BYTES_MAX: u64 = 64;
