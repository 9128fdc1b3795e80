//! Bytes of the journal, read and written without a file.
//!
//! ```text
//! header  24  "CAIRNJNL" version:u32 zero:u32 generation:u64
//! record  16  length:u32 crc32(sequence, payload):u32 sequence:u64, then `length` bytes      (many)
//! ```
//! The payload is a list of rows: key and new value, or none for a row that goes. A checkpoint is a
//! new file of the next generation whose first record holds every row.

use crate::codec;
use crate::pack::{u32_at, u64_at};

pub const MAGIC: &[u8; 8] = b"CAIRNJNL";
pub const VERSION: u32 = 1;
pub const HEADER: usize = 24;
pub const RECORD_HEADER: usize = 16;

/// Rows of one transaction.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The generation in a journal's header.
pub fn parse_header(bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(..HEADER)?;
    (header[..8] == *MAGIC && u32_at(header, 8) == VERSION).then(|| u64_at(header, 16))
}

pub fn record(sequence: u64, changes: &Changes) -> Vec<u8> {
    let mut body = sequence.to_le_bytes().to_vec();
    body.extend_from_slice(&codec::encode_bare(changes));
    let mut out = ((body.len() - 8) as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// The record at the front of `bytes`: its length, its sequence number, its rows.
pub fn parse(bytes: &[u8]) -> Option<(usize, u64, Changes)> {
    let header = bytes.get(..RECORD_HEADER)?;
    let length = u32_at(header, 0) as usize;
    let body = bytes.get(8..RECORD_HEADER.checked_add(length)?)?;
    if crc32fast::hash(body) != u32_at(header, 4) {
        return None;
    }
    Some((RECORD_HEADER + length, u64_at(body, 0), rows(&body[8..])?))
}

/// The payload of a record. The same as `decode_bare`, which takes a step for each byte; every command reads the
/// journal.
fn rows(payload: &[u8]) -> Option<Changes> {
    let mut rest = payload;
    let count = number(&mut rest)?;
    // Each row has a key's length and a tag at least.
    let mut changes = Changes::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let key = bytes(&mut rest)?;
        let (tag, after) = rest.split_first()?;
        rest = after;
        let value = match tag {
            0 => None,
            1 => Some(bytes(&mut rest)?),
            _ => return None,
        };
        changes.push((key, value));
    }
    Some(changes)
}

fn bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = number(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes.to_vec())
}

/// A number of bincode's: one byte below 251, else a byte that says how many follow.
fn number(rest: &mut &[u8]) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    let size = match first {
        ..=250 => 0,
        251 => 2,
        252 => 4,
        253 => 8,
        _ => return None,
    };
    let (bytes, after) = after.split_at_checked(size)?;
    *rest = after;
    if size == 0 {
        return Some(usize::from(*first));
    }
    let mut long = [0; 8];
    long[..size].copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(long)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_encoded_and_no_others() {
        let long = |n: usize| vec![n as u8; n];
        let changes: Changes = vec![
            (b"k".to_vec(), Some(Vec::new())),
            (Vec::new(), None),
            (long(250), Some(long(251))),
            (long(300), Some(long(70_000))),
        ];
        let encoded = codec::encode_bare(&changes);
        assert_eq!(rows(&encoded), Some(changes));
        for end in 0..encoded.len().min(700) {
            assert_eq!(rows(&encoded[..end]), None, "cut at {end}");
        }
        // Counts and lengths that nothing follows cost no memory.
        for lie in [
            &[253, 255, 255, 255, 255, 255, 255, 255, 127][..],
            &[252, 255, 255, 255, 255],
            &[254],
            &[1, 200],
        ] {
            assert_eq!(rows(lie), None);
        }
        assert_eq!(rows(&[1, 1, b'k', 2]), None);
    }
}
