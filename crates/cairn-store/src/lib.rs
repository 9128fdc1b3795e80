//! Blobs in packs, found through an index, named by rows in a database.
//!
//! **Invariant:** a blob that a committed row refers to is in a durable pack under a durable name, and
//! its content has the hash it is named by. Bytes come first, then their directory, then metadata; a
//! crash between any two leaves only work that nobody was told is done.
//!
//! Nothing here knows what blobs mean.

mod chunk;
pub mod codec;
mod disk;
mod error;
pub mod gc;
mod index;
mod ingest;
mod lease;
mod meta;
mod pack;
mod place;
mod reserve;
mod scrub;
mod sealed;
mod store;
mod stream;
mod threads;

pub use chunk::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, cut_all};
pub use disk::{Disk, DiskFile, Op, Probe};
pub use error::{Error, IoContext, Result, chain};
pub use index::{Index, Location, Segment};
pub use ingest::{Feeder, Ingest, IngestStats, Prepared, Ticket};
pub use lease::Lease;
pub use meta::{AllRows, Db, DbRepair, LockWatch, Notice, Rows, Table, Txn, command, journal_rows};
pub use pack::{BLOB_BYTES_MAX, Codec, Directory, PackFile, Slot, pack_bytes, salvage};
pub use place::{can_write, restore_format};
pub use scrub::{Damage, Extent, Scrub, ScrubOptions, Throttle, choose, scrub};
pub use store::{FORMAT, PackRowV1, Store, private_directory};
pub use stream::{Cutter, StreamReader, StreamRef, StreamWriter, put_stream};
pub use threads::on_threads;

/// Random bytes from the kernel, for names that never collide.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    rustix::rand::getrandom(&mut out[..], rustix::rand::GetRandomFlags::empty())
        .at("read", std::path::Path::new("/dev/urandom"))?;
    Ok(out)
}

/// Lets every other thread of the machine go first (setpriority(2), which on Linux is for one thread):
/// for threads that only compute, so that a thread that holds the repository lock is not kept waiting for
/// a processor, and others not for the lock. Where nobody else wants the processor nothing changes.
pub fn give_way() {
    // Advice: without it things are only less smooth.
    let _ = rustix::process::setpriority_process(None, GIVE_WAY);
}

/// Nice value of threads that give way.
const GIVE_WAY: i32 = 10;
