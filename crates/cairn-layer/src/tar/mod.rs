//! Tar streams in and out.
//!
//! There is one reader of headers, `members.rs`; imports of layers and the index of an archive use it.
//! Numbers and names in headers are decoded by the `tar` crate's `Header`; the walk over the blocks is
//! ours, because every byte that is not file content must be kept as framing. Nothing is ever unpacked
//! from a tar.

mod canonical;
mod framing;
mod hash;
mod header;
mod holes;
mod index;
mod marker;
mod members;
mod pax;
mod read;
mod source;
mod sparse;
mod stream;
mod tree;
mod write;
mod xattr;

pub(crate) use canonical::{Canonical, CanonicalTar};
pub(crate) use framing::{FramingWriter, StepV1, decode as decode_framing};
pub use index::{Indexed, IndexedKind, index_tar};
pub use members::is_header as is_tar_header;
pub use read::{TarImport, import_tar};
pub(crate) use sparse::Map as SparseMap;
pub use stream::{TarWriter, read_stream};
pub use tree::write_tree;
pub use write::export_layer;

/// Tar counts in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Bytes of padding after content of this length.
pub(crate) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}
