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
    let changes = codec::decode_bare(&mut &body[8..])?;
    Some((RECORD_HEADER + length, u64_at(body, 0), changes))
}
