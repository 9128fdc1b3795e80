//! What can be read of a damaged journal.
//!
//! Whole records are found wherever they are. A record with one flipped bit is corrected by its checksum:
//! at most one place of a flip makes up for the difference. Of any other damaged record, rows are taken one
//! by one: each value carries a checksum of its own.

use std::path::Path;

use super::record::{Changes, HEADER, RECORD_HEADER, parse, parse_header};
use crate::codec;
use crate::error::{IoContext, Result};
use crate::pack::u32_at;

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Salvage {
    /// Generation, where the header is whole.
    pub generation: Option<u64>,
    /// Whole or corrected records, by sequence number.
    pub records: Vec<(u64, Changes)>,
    /// Rows out of records that could not be saved as such.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes that belong to no record that was saved.
    pub lost_bytes: u64,
    /// True where the record that is lost came before every other: a checkpoint.
    pub lost_first: bool,
}

/// Reads all that the file at `path` still says; a missing file says nothing.
pub fn salvage(path: &Path) -> Result<Salvage> {
    tracing::warn!(journal = %path.display(), "the journal is read record by record");
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Salvage::default()),
        done => done.at("read journal", path)?,
    };
    let mut out = Salvage {
        generation: parse_header(&bytes),
        ..Salvage::default()
    };
    let mut at = HEADER.min(bytes.len());
    while at < bytes.len() {
        if let Some((length, sequence, changes)) = parse(&bytes[at..]) {
            out.records.push((sequence, changes));
            at += length;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|later| parse(&bytes[*later..]).is_some());
        let end = next.unwrap_or(bytes.len());
        at += stretch(&bytes[at..end], next.is_some(), &mut out);
    }
    Ok(out)
}

/// Deals with a stretch that starts with a damaged record; how much of it that was.
fn stretch(bytes: &[u8], followed: bool, out: &mut Salvage) -> usize {
    let said = bytes
        .get(..4)
        .map(|b| (u32_at(b, 0) as usize).saturating_add(RECORD_HEADER));
    let whole = [said, Some(bytes.len())];
    for end in whole
        .into_iter()
        .flatten()
        .filter(|end| *end <= bytes.len())
    {
        if let Some((sequence, changes)) = corrected(&bytes[..end]) {
            out.records.push((sequence, changes));
            return end;
        }
    }
    // A record that a crash cut off at the very end was never reported as done.
    let torn = !followed && said.is_none_or(|end| end > bytes.len()) && !out.records.is_empty();
    if !torn {
        out.lost_first |= out.records.is_empty();
        out.lost_bytes += bytes.len() as u64;
        out.rows.extend(rows(bytes));
    }
    bytes.len()
}

/// A record whose length field, checksum or body has one flipped bit.
pub fn corrected(record: &[u8]) -> Option<(u64, Changes)> {
    let stored = u32_at(record.get(..RECORD_HEADER)?, 4);
    let mut body = record[8..].to_vec();
    let difference = crc32fast::hash(&body) ^ stored;
    if difference.count_ones() > 1 {
        flip(&mut body, difference)?;
    }
    let changes: Changes = {
        let mut rest = &body[8..];
        let changes = codec::decode_bare(&mut rest)?;
        rest.is_empty().then_some(changes)?
    };
    let sequence = u64::from_le_bytes(body[..8].try_into().ok()?);
    Some((sequence, changes))
}

/// Flips the one bit that changes the CRC-32 of `body` by `difference`.
fn flip(body: &mut [u8], difference: u32) -> Option<()> {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut effect = 1_u32;
    for from_end in 0..body.len() * 8 {
        effect = if effect & 1 == 1 {
            (effect >> 1) ^ POLYNOMIAL
        } else {
            effect >> 1
        };
        if effect == difference {
            let byte = body.len() - 1 - from_end / 8;
            body[byte] ^= 0x80 >> (from_end % 8);
            return Some(());
        }
    }
    None
}

/// Rows whose values are whole by their own checksums. A key is taken where it follows the row before, or
/// where only one reading of the bytes before the value gives one.
fn rows(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let (mut at, mut last_end) = (0, usize::MAX);
    while at < bytes.len() {
        let Some(length) = codec::enveloped(&bytes[at..]) else {
            at += 1;
            continue;
        };
        if let Some(key) = key_before(&bytes[..at], length, last_end) {
            found.push((key.to_vec(), bytes[at..at + length].to_vec()));
        }
        at += length;
        last_end = at;
    }
    found
}

fn key_before(bytes: &[u8], length: usize, last_end: usize) -> Option<&[u8]> {
    let size = if length < 251 { 1 } else { 3 };
    let tag = bytes.len().checked_sub(size + 1)?;
    if bytes[tag] != 1 {
        return None;
    }
    let starts: Vec<usize> = (1..=250.min(tag.saturating_sub(1)))
        .map(|length| (length, tag - length - 1))
        .filter(|(length, at)| usize::from(bytes[*at]) == *length)
        .map(|(_, at)| at)
        .filter(|at| bytes[at + 1].is_ascii_lowercase())
        .collect();
    let start = match &starts[..] {
        [only] => *only,
        many => *many.iter().find(|at| **at == last_end)?,
    };
    Some(&bytes[start + 1..tag])
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Journal, Mark};
    use super::*;
    use crate::disk::Disk;

    fn sample(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
        let path = dir.join("journal");
        let row = |i: u8| (vec![b'p', i, i], Some(codec::tests_value(i)));
        let all = (0..9).map(row).collect();
        let (mut journal, mut mark) =
            Journal::checkpoint(&Disk::default(), &path, Mark::default(), all).unwrap();
        for i in 9..13 {
            mark = journal.append(mark, &vec![row(i)]).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn any_one_flipped_bit_behind_the_header_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, good) = sample(dir.path());
        let whole = salvage(&path).unwrap();
        assert_eq!((whole.records.len(), whole.lost_bytes), (5, 0));
        for bit in (HEADER * 8..good.len() * 8).step_by(11) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            let saved = salvage(&path).unwrap();
            assert_eq!(saved.records, whole.records, "bit {bit}");
        }
    }

    #[test]
    fn whole_rows_of_a_broken_checkpoint_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, good) = sample(dir.path());
        let whole = salvage(&path).unwrap();
        let end = u32_at(&good, HEADER) as usize;
        for at in (HEADER + RECORD_HEADER..end).step_by(3) {
            let mut bad = good.clone();
            bad[at..at + 3].fill(0xFF);
            std::fs::write(&path, &bad).unwrap();
            let saved = salvage(&path).unwrap();
            assert!(saved.lost_first && saved.lost_bytes > 0, "byte {at}");
            assert_eq!(saved.records, whole.records[1..], "byte {at}");
            assert!(saved.rows.len() >= 7, "byte {at}: {}", saved.rows.len());
        }
    }
}
