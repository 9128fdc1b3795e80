//! What can be saved of a damaged pack.

use std::collections::HashMap;

use cairn_model::BlobId;

use super::codec::{REFERENCE, decompress, reference_of};
use super::{
    BLOB_BYTES_MAX, Codec, ContentOf, Effort, HEADER, PackReader, RECORD_HEADER, RECORD_MAGIC,
    Slot, u32_at,
};
use crate::error::Result;

/// Bytes looked at in one go; holds the longest record twice.
const WINDOW: usize = 48 << 20;
/// Unit in which disks fail.
const SECTOR: u64 = 4096;

/// Hands `save` every blob of a damaged pack that is still whole, found by reading records from the
/// start; where a header is bad, the search goes on byte by byte, and what the disk does not give back
/// is passed over. Ids are for the caller to compute from contents. Returns the number of blobs. Differences come
/// last: `content_of` is asked for the blobs that they are the differences from, unless these are here.
///
/// # Errors
/// Those of `save`, and of asking for the pack's length.
pub fn salvage<E: From<crate::Error>>(
    pack: &PackReader,
    content_of: ContentOf<'_>,
    mut save: impl FnMut(Vec<u8>) -> Result<(), E>,
) -> Result<u64, E> {
    let end = pack.size()?;
    let mut found = 0;
    let mut at = HEADER as u64;
    let mut window = Vec::new();
    let mut start = 0;
    let mut here = HashMap::new();
    let mut differences = Vec::new();
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
        let Some((slot, payload)) = record(&window[within..]) else {
            at += 1;
            continue;
        };
        let place = (at, slot);
        match slot.codec.reference() {
            // Of what it is the difference may come later. It counts as a record if its reference is one.
            Some(_) if payload.len() > REFERENCE => {
                differences.push(place);
                at += 1;
            }
            _ => match content(&slot, payload, None) {
                Some(content) => {
                    here.insert(BlobId::of(&content), place);
                    save(content)?;
                    found += 1;
                    at += slot.record_bytes();
                }
                None => at += 1,
            },
        }
    }
    for (at, slot) in differences {
        let Some(id) = slot.codec.reference() else {
            continue;
        };
        let own = here.get(&id).and_then(|(at, slot)| {
            let payload = payload_at(pack, *at, slot)?;
            content(slot, &payload, None)
        });
        let reference = own.or_else(|| content_of(&id).ok());
        let payload = payload_at(pack, at, &slot);
        if let Some(content) = payload.and_then(|own| content(&slot, &own, reference.as_deref())) {
            save(content)?;
            found += 1;
        }
    }
    Ok(found)
}

fn payload_at(pack: &PackReader, at: u64, slot: &Slot) -> Option<Vec<u8>> {
    let mut payload = vec![0; slot.stored as usize];
    pack.read(&mut payload, at + RECORD_HEADER as u64).ok()?;
    Some(payload)
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

/// What bytes say that begin as a record does; only the start of its id is known.
fn record(bytes: &[u8]) -> Option<(Slot, &[u8])> {
    let header = bytes.get(..RECORD_HEADER)?;
    if header[..2] != RECORD_MAGIC.to_le_bytes() {
        return None;
    }
    Effort::of_record(header)?;
    let (stored, raw) = (u32_at(header, 4), u32_at(header, 8));
    if raw as usize > BLOB_BYTES_MAX {
        return None;
    }
    let payload = bytes[RECORD_HEADER..].get(..stored as usize)?;
    let mut id = [0; 32];
    id[..4].copy_from_slice(&header[12..16]);
    let slot = Slot {
        id: BlobId::from_bytes(id),
        offset: 0,
        stored,
        raw,
        codec: Codec::with(header[2], || reference_of(payload).ok_or(())).ok()??,
    };
    Some((slot, payload))
}

fn content(slot: &Slot, payload: &[u8], reference: Option<&[u8]>) -> Option<Vec<u8>> {
    let content = decompress(slot, payload, reference)?;
    let same = BlobId::of(&content).as_bytes()[..4] == slot.id.as_bytes()[..4];
    same.then_some(content)
}
