//! Images in a file, without the blobs that the other side has: for machines that no network connects.
//!
//! ```text
//! header   16  "CAIRNXFR" version:u32=1 zero:u32
//! head         length:u64, then bincode of HeadV1: images, layers, number of records
//! record   40  id:32 stored:u32 raw|codec<<24:u32, then `stored` bytes      (many)
//! end      32  BLAKE3 of all before
//! ```
//!
//! **Invariant:** nothing of a file is published before all of it was read and its end is right. Blobs are checked
//! against their ids and layers against their diff ids, as those of a registry are.

mod format;
mod have;
mod read;
mod source;
mod write;

pub use have::Have;
pub(crate) use read::is_transfer;
pub use write::{Missing, Transferred};
