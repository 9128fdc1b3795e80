//! Packs: append-only files of many compressed blobs, each ending in its own directory.
//!
//! ```text
//! header     32  "CAIRNPCK" version:u32 zero:u32 pack-id:16
//! record     16  0xB10B:u16 codec:u8 effort:u8 stored:u32 raw:u32 id[..4], then `stored` bytes    (many)
//! directory  44  id:32 offset:u32 stored:u32 raw|codec<<24:u32                          (one a record)
//! trailer    64  "CAIRNEND" version:u32 count:u32 directory-offset:u64 blake3(directory):32 crc32:u32 zero:u32
//! ```
//! All numbers little-endian. A record does not repeat its whole id: a blob's id is the BLAKE3 of its
//! content, so a pack that lost its directory still says what it holds. Up to three zeros may lie before a
//! record, so that the checksum at the end of a frame is not cut by the end of a page, and before the
//! directory so many that a pack with frames ends with a page. A pack is written under a temporary name,
//! synced, and renamed; from then on it never changes.

mod codec;
mod opened;
mod reader;
mod salvage;
mod source;
mod sync_ahead;
mod writer;

use cairn_model::{BlobId, PackId};

use crate::error::{Error, Result};

pub(crate) use codec::REFERENCE;
pub use codec::{Codec, decompress};
pub use opened::OpenPacks;
pub use reader::{ContentOf, Directory, PackReader, Packed};
pub use salvage::salvage;
pub use source::{PackBytes, PackDirectory, PackSource};
pub use writer::{FinishedPack, PackWriter, frame};

/// Largest content of one blob, bytes (24 bits of the directory entry).
pub const BLOB_BYTES_MAX: usize = (1 << 24) - 1;
/// A pack is closed when it has grown to this length, bytes.
pub const PACK_BYTES_TARGET: u64 = 128 << 20;
/// A pack is closed when it holds this many blobs, so that its directory stays small.
pub const PACK_BLOBS_TARGET: usize = 1 << 18;
/// True where a pack of these many blobs and bytes (directory and trailer not counted) takes no more.
pub(crate) fn is_full(blobs: usize, bytes: u64) -> bool {
    bytes >= PACK_BYTES_TARGET || blobs >= PACK_BLOBS_TARGET
}

pub(crate) const HEADER: usize = 32;
pub(crate) const RECORD_HEADER: usize = 16;
pub(crate) const DIRECTORY_ENTRY: usize = 44;
pub(crate) const TRAILER: usize = 64;
const MAGIC: &[u8; 8] = b"CAIRNPCK";
const END_MAGIC: &[u8; 8] = b"CAIRNEND";
const RECORD_MAGIC: u16 = 0xB10B;
const VERSION: u32 = 1;

/// Where in a pack a blob is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The blob.
    pub id: BlobId,
    /// Of its record header, from the start of the pack, bytes.
    pub offset: u32,
    /// Length as stored, bytes.
    pub stored: u32,
    /// Length of the content, bytes.
    pub raw: u32,
    /// How it is stored.
    pub codec: Codec,
}

impl Slot {
    /// Bytes the record takes in the pack: header and payload.
    pub fn record_bytes(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.stored)
    }

    /// True where both are the same but for what they are differences from.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        let place = |slot: &Self| (slot.id, slot.offset, slot.stored, slot.raw_and_codec());
        place(self) == place(other)
    }

    pub(crate) fn raw_and_codec(&self) -> u32 {
        self.raw | u32::from(self.codec.number()) << 24
    }

    pub(crate) fn from_parts(
        id: BlobId,
        offset: u32,
        stored: u32,
        raw_and_codec: u32,
        reference: impl FnOnce() -> Result<BlobId>,
    ) -> Result<Self> {
        let codec = Codec::with(raw_and_codec.to_le_bytes()[3], reference)?;
        let codec = codec.ok_or_else(|| {
            Error::corrupt(
                format!("directory entry of blob {id}"),
                "its codec is unknown",
            )
        })?;
        Ok(Self {
            id,
            offset,
            stored,
            raw: raw_and_codec & 0xff_ffff,
            codec,
        })
    }
}

/// What the record of a blob says of the work that went into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// It was stored as fast as it came.
    Quick = 0,
    /// It was recompressed, see [`crate::optimize`]; there is nothing more to be had.
    Thorough = 1,
}

impl Effort {
    fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Quick),
            1 => Some(Self::Thorough),
            _ => None,
        }
    }

    /// That of a record as it lies in a pack.
    pub(crate) fn of_record(record: &[u8]) -> Option<Self> {
        record.get(EFFORT_AT).and_then(|number| Self::of(*number))
    }
}

/// Where in the header of a record its effort is.
const EFFORT_AT: usize = 3;

/// Bytes of a pack with these many records of these many bytes (headers included) in all.
pub fn pack_bytes(records: u64, record_bytes: u64) -> u64 {
    (HEADER + TRAILER) as u64 + record_bytes + records * DIRECTORY_ENTRY as u64
}

/// Bytes of the pages in which the kernel reads packs.
const PAGE: u64 = 4096;
/// Bytes of the checksum at the end of a frame.
const CHECKSUM: u64 = 4;

/// The same of a pack that is about to be written, with frames or without. The few zeros between frames are
/// not counted.
pub(crate) fn new_pack_bytes(framed: bool, records: u64, record_bytes: u64) -> u64 {
    let bytes = pack_bytes(records, record_bytes);
    match framed {
        true => bytes.next_multiple_of(PAGE),
        false => bytes,
    }
}

/// True where a frame that ends at `end`, from the start of its pack, has its checksum in two pages. Linux
/// 6.18 takes such a frame for whole whatever the checksum says.
pub fn is_checksum_cut(end: u64) -> bool {
    (1..CHECKSUM).contains(&(end % PAGE))
}

/// Zeros to be left before a record of `bytes` at `at`, so that the checksum at its end lies in one page.
pub(crate) fn gap(at: u64, bytes: u64) -> u64 {
    match is_checksum_cut(at + bytes) {
        true => CHECKSUM - (at + bytes) % PAGE,
        false => 0,
    }
}

pub(crate) fn file_name(id: &PackId) -> String {
    format!("{}.pack", id.hex())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        bytes[at..at + 4]
            .try_into()
            .unwrap_or_else(|_| unreachable!("BUG: four bytes")),
    )
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        bytes[at..at + 8]
            .try_into()
            .unwrap_or_else(|_| unreachable!("BUG: eight bytes")),
    )
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .unwrap_or_else(|_| unreachable!("BUG: the length is in the type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_ends_in_the_first_bytes_of_a_page() {
        for at in 0..3 * PAGE {
            for bytes in [29, 4095, 4096, 4097, 70_001] {
                let gap = gap(at, bytes);
                assert!(gap < CHECKSUM);
                assert!(!is_checksum_cut(at + gap + bytes), "{bytes} bytes at {at}");
                assert!(gap == 0 || is_checksum_cut(at + bytes));
            }
        }
    }
}
