//! What can be saved of a damaged pack.

use cairn_model::BlobId;

use super::reader::decompress;
use super::{BLOB_BYTES_MAX, Codec, HEADER, PackReader, RECORD_HEADER, RECORD_MAGIC, Slot, u32_at};
use crate::error::Result;

/// Bytes looked at in one go; holds the longest record twice.
const WINDOW: usize = 48 << 20;
/// Unit in which disks fail.
const SECTOR: u64 = 4096;

/// Hands `save` every blob of a damaged pack that is still whole, found by reading records from the
/// start; where a header is bad, the search goes on byte by byte, and what the disk does not give back
/// is passed over. Ids are for the caller to compute from contents. Returns the number of blobs.
///
/// # Errors
/// Those of `save`, and of asking for the pack's length.
pub fn salvage<E: From<crate::Error>>(
    pack: &PackReader,
    mut save: impl FnMut(Vec<u8>) -> Result<(), E>,
) -> Result<u64, E> {
    let end = pack.size()?;
    let mut found = 0;
    let mut at = HEADER as u64;
    let mut window = Vec::new();
    let mut start = 0;
    while at + RECORD_HEADER as u64 <= end {
        let within = (at - start) as usize;
        let longest = RECORD_HEADER + BLOB_BYTES_MAX + 1024;
        if window.is_empty()
            || (window.len() - within < longest && start + (window.len() as u64) < end)
        {
            start = at;
            window.resize(WINDOW.min((end - at) as usize), 0);
            fill(pack, &mut window, start);
        }
        let within = (at - start) as usize;
        match whole_record(&window[within..]) {
            Some((content, length)) => {
                save(content)?;
                found += 1;
                at += length as u64;
            }
            None => at += 1,
        }
    }
    Ok(found)
}

/// Reads what can be read; zeros stand for the rest.
fn fill(pack: &PackReader, out: &mut [u8], start: u64) {
    if pack.read(out, start).is_ok() {
        return;
    }
    let mut at = 0;
    while at < out.len() {
        let length = ((SECTOR - (start + at as u64) % SECTOR) as usize).min(out.len() - at);
        let sector = &mut out[at..at + length];
        if pack.read(sector, start + at as u64).is_err() {
            sector.fill(0);
        }
        at += length;
    }
}

fn whole_record(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let header = bytes.get(..RECORD_HEADER)?;
    if header[..2] != RECORD_MAGIC.to_le_bytes() || header[3] != 0 {
        return None;
    }
    let (stored, raw) = (u32_at(header, 4), u32_at(header, 8));
    if raw as usize > BLOB_BYTES_MAX {
        return None;
    }
    let payload = bytes[RECORD_HEADER..].get(..stored as usize)?;
    let slot = Slot {
        id: BlobId::of(&[]),
        offset: 0,
        stored,
        raw,
        codec: Codec::of(header[2])?,
    };
    let content = decompress(&slot, payload)?;
    let same = BlobId::of(&content).as_bytes()[..4] == header[12..16];
    same.then_some((content, RECORD_HEADER + stored as usize))
}
