//! Tar streams in and out.
//!
//! Numbers and names in headers are decoded by the `tar` crate's `Header`; the walk over the blocks is
//! ours, because every byte that is not file content must be kept as framing. Nothing is ever unpacked
//! from a tar.

mod framing;
mod header;
mod pax;
mod read;
mod tree;
mod write;

pub(crate) use framing::{FramingWriter, StepV1, decode as decode_framing};
pub use read::{TarImport, import_tar};
pub use tree::write_tree;
pub(crate) use write::CanonicalTar;
pub use write::export_layer;

/// Tar counts in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Bytes of padding after content of this length.
pub(crate) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}
