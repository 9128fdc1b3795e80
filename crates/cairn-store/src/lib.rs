//! Blobs in packs, found through an index, named by rows in a database.
//!
//! **Invariant:** a blob that a committed row refers to is in a durable pack under a durable name, and
//! its content has the hash it is named by. Bytes come first, then their directory, then metadata; a
//! crash between any two leaves only work that nobody was told is done.
//!
//! Nothing here knows what blobs mean.
//!
//! ```
//! use cairn_store::{Disk, Error, Store, put_stream};
//!
//! # let place = tempfile::tempdir()?;
//! # let root = place.path().join("store");
//! Store::create(&root, Disk::default())?;
//! let store = Store::open(&root, Disk::default(), None)?;
//! let ingest = store.ingest()?;
//! let mut feeder = ingest.feeder();
//! let stream = put_stream(&mut feeder, b"some content")?;
//! drop(feeder);
//! // In one transaction with whatever row refers to it; none does here, so the next collection removes it.
//! store.publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
//! assert_eq!(store.read_stream(&stream, 100)?, b"some content");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod base;
mod chunk;
pub mod codec;
mod compress;
mod disk;
mod error;
mod format;
pub mod gc;
mod index;
mod ingest;
pub mod kinds;
pub mod layout;
mod lease;
mod meta;
pub mod optimize;
mod os;
mod pack;
mod place;
mod reserve;
mod room;
mod rows;
mod scrub;
mod staged;
mod store;
mod stream;

pub use base::Base;
pub use chunk::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, cut_all};
pub use disk::{Disk, DiskFile, Op, Probe};
pub use error::{Error, IoContext, Result};
pub use format::{DELTAS, OWN_NAMES};
pub use index::{Index, Location, Segment};
pub use ingest::{Feeder, Ingest, IngestStats, Prepared, Rehearsal, Rehearsed, Ticket};
pub use layout::Layout;
pub use lease::Lease;
pub use meta::{AllRows, Db, DbRepair, LockWatch, Notice, Rows, Table, Txn, journal_rows};
pub use os::{boot_id, lower_priority, random};
pub use pack::{
    BLOB_BYTES_MAX, Codec, ContentOf, Directory, PackBytes, PackDirectory, PackReader, PackSource,
    Packed, Slot, is_checksum_cut, pack_bytes, salvage,
};
pub use place::{can_write, require, restore_format};
pub use room::Room;
pub use rows::PackInfo;
pub use scrub::{Chosen, Damage, Scope, Scrub, ScrubOptions, Throttle, choose, scrub};
pub use store::{NewStore, OpenOptions, Store, private_directory};
pub use stream::{Cutter, StreamReader, StreamRef, StreamWriter, put_stream};
