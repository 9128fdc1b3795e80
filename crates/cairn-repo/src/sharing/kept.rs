//! What groups come to in packs, in a file beside the table: as long as neither the table nor the index changed, no
//! blob is looked up for it. Derived, and never trusted further than its checksum.
//!
//! ```text
//! header   48  "CAIRNSUM" groups:u32 cells:u32 key:32         (key: of the table and the indexes it was counted on)
//! group    48  blobs:u64 stored:u64 raw:u64, here and in the base
//! cell     36  pack:16 group:u32 blobs:u64 bytes:u64           (a part of a group in a pack; sorted)
//! trailer  32  blake3 of all before
//! ```
//! All numbers are little-endian.

use cairn_model::PackId;
use cairn_store::gc::Live;

use super::sums::Sum;

const MAGIC: &[u8; 8] = b"CAIRNSUM";
pub(super) const HEADER: usize = 48;
const GROUP: usize = 48;
const CELL: usize = 36;
pub(super) const TRAILER: usize = 32;

/// What the sums of groups were counted on.
pub(super) type Key = [u8; 32];

/// A part of a group in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub pack: PackId,
    pub group: u32,
    pub live: Live,
}

/// What groups come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// By group: blobs in packs of this repository, and in those of the base.
    pub own: Vec<Sum>,
    pub below: Vec<Sum>,
    /// Sorted by pack and group.
    pub cells: Vec<Cell>,
}

/// The header of a file with so many things of two kinds, and room for `bytes` behind it.
pub(super) fn begin(magic: &[u8; 8], counts: [usize; 2], key: &Key, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + bytes + TRAILER);
    out.extend_from_slice(magic);
    for count in counts {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    out.extend_from_slice(key);
    out
}

/// The file with its trailer.
pub(super) fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(blake3::hash(&out).as_bytes());
    out
}

/// Counts and bytes of a file that was sealed with this key.
pub(super) fn opened<'a>(
    magic: &[u8; 8],
    key: &Key,
    bytes: &'a [u8],
) -> Option<([usize; 2], &'a [u8])> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER)?)?;
    let (header, rest) = body.split_at_checked(HEADER)?;
    let is_ours = header[..8] == *magic && header[16..] == *key;
    if !is_ours || *blake3::hash(body).as_bytes() != hash {
        return None;
    }
    Some((
        [word(header, 8)? as usize, word(header, 12)? as usize],
        rest,
    ))
}

pub(super) fn encode(counted: &Counted, key: &Key) -> Vec<u8> {
    let counts = [counted.own.len(), counted.cells.len()];
    let mut out = begin(MAGIC, counts, key, counts[0] * GROUP + counts[1] * CELL);
    for (own, below) in counted.own.iter().zip(&counted.below) {
        for sum in [own, below] {
            for word in [sum.blobs, sum.stored, sum.raw] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }
    for cell in &counted.cells {
        out.extend_from_slice(cell.pack.as_bytes());
        out.extend_from_slice(&cell.group.to_le_bytes());
        for word in [cell.live.blobs, cell.live.bytes] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    sealed(out)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn sum(bytes: &[u8], at: usize) -> Option<Sum> {
    Some(Sum {
        blobs: long(bytes, at)?,
        stored: long(bytes, at + 8)?,
        raw: long(bytes, at + 16)?,
    })
}

fn cell(bytes: &[u8]) -> Option<Cell> {
    Some(Cell {
        pack: PackId::from_bytes(bytes.get(..16)?.try_into().ok()?),
        group: word(bytes, 16)?,
        live: Live {
            blobs: long(bytes, 20)?,
            bytes: long(bytes, 28)?,
        },
    })
}

/// What was counted on this key for so many groups, unless the bytes say anything else.
pub(super) fn decode(bytes: &[u8], key: &Key, groups: usize) -> Option<Counted> {
    let ([found, of_cells], rest) = opened(MAGIC, key, bytes)?;
    let (sums, cells) = rest.split_at_checked(groups.checked_mul(GROUP)?)?;
    if found != groups || of_cells.checked_mul(CELL)? != cells.len() {
        return None;
    }
    let column = |at: usize| sums.chunks_exact(GROUP).map(move |group| sum(group, at));
    let counted = Counted {
        own: column(0).collect::<Option<_>>()?,
        below: column(24).collect::<Option<_>>()?,
        cells: cells.chunks_exact(CELL).map(cell).collect::<Option<_>>()?,
    };
    let mut numbers = counted.cells.iter().map(|cell| cell.group as usize);
    numbers.all(|group| group < groups).then_some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_key_is_nothing() {
        let sum = |n| Sum {
            blobs: n,
            stored: n + 1,
            raw: n + 2,
        };
        let cell = |group| Cell {
            pack: PackId::from_bytes([7; 16]),
            group,
            live: Live {
                blobs: 3,
                bytes: 900,
            },
        };
        let counted = Counted {
            own: vec![sum(1), sum(5)],
            below: vec![sum(0), sum(9)],
            cells: vec![cell(0), cell(1)],
        };
        let key = [3; 32];
        let good = encode(&counted, &key);
        assert_eq!(good.len(), 48 + 2 * 48 + 2 * 36 + 32);
        assert_eq!(decode(&good, &key, 2), Some(counted));
        assert_eq!(decode(&good, &[4; 32], 2), None);
        assert_eq!(decode(&good, &key, 1), None);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad, &key, 2), None, "byte {at}");
            assert_eq!(decode(&good[..at], &key, 2), None, "cut at {at}");
        }
    }
}
