//! The table in a file, which is derived from layers and never trusted further than its checksum.
//!
//! ```text
//! header   32  "CAIRNSHR" version:u32 holders:u32 groups:u32 zero:u32 blobs:u64
//! holder   64  key:32 holes:u64 repeated:u64 distinct:u64 alive:u32 layer:u32
//! group     8  above:u32 holder<<1|content:u32          (none above: all ones)
//! blob     20  first 16 bytes of the id, group:u32      (sorted)
//! trailer  32  blake3 of all before
//! ```
//! All numbers are little-endian.

use super::table::{Count, Group, Holder, NONE, Table};

const MAGIC: &[u8; 8] = b"CAIRNSHR";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const HOLDER: usize = 64;
const GROUP: usize = 8;
const BLOB: usize = 20;
const TRAILER: usize = 32;

pub(super) fn encode(table: &Table) -> Vec<u8> {
    let Table {
        holders,
        groups,
        blobs,
    } = table;
    let bytes = HEADER + holders.len() * HOLDER + groups.len() * GROUP + blobs.len() * BLOB;
    let mut out = Vec::with_capacity(bytes + TRAILER);
    out.extend_from_slice(MAGIC);
    for word in [VERSION, holders.len() as u32, groups.len() as u32, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&(blobs.len() as u64).to_le_bytes());
    for holder in holders {
        out.extend_from_slice(&holder.key);
        let Count {
            holes,
            repeated,
            distinct,
        } = holder.count;
        for word in [holes, repeated, distinct] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for flag in [holder.alive, holder.is_layer] {
            out.extend_from_slice(&u32::from(flag).to_le_bytes());
        }
    }
    for group in groups {
        let holder = group.holder << 1 | u32::from(group.is_content);
        for word in [group.above, holder] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    for (key, group) in blobs {
        out.extend_from_slice(key);
        out.extend_from_slice(&group.to_le_bytes());
    }
    out.extend_from_slice(blake3::hash(&out).as_bytes());
    out
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// The table in `bytes`, unless they are anything but what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Option<Table> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER)?)?;
    let (header, rest) = body.split_at_checked(HEADER)?;
    if header[..8] != *MAGIC || word(header, 8)? != VERSION {
        return None;
    }
    let counts = [word(header, 12)?, word(header, 16)?];
    let [holders, groups] = counts.map(|count| count as usize);
    let blobs = usize::try_from(long(header, 24)?).ok()?;
    let (holders, rest) = rest.split_at_checked(holders.checked_mul(HOLDER)?)?;
    let (groups, blobs_area) = rest.split_at_checked(groups.checked_mul(GROUP)?)?;
    if blobs.checked_mul(BLOB)? != blobs_area.len() || *blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let holder = |raw: &[u8]| {
        Some(Holder {
            key: raw[..32].try_into().ok()?,
            count: Count {
                holes: long(raw, 32)?,
                repeated: long(raw, 40)?,
                distinct: long(raw, 48)?,
            },
            alive: word(raw, 56)? == 1,
            is_layer: word(raw, 60)? == 1,
        })
    };
    let holders: Vec<Holder> = holders
        .chunks_exact(HOLDER)
        .map(holder)
        .collect::<Option<_>>()?;
    let mut table = Table {
        groups: Vec::with_capacity(groups.len() / GROUP),
        blobs: Vec::with_capacity(blobs),
        holders,
    };
    for (number, raw) in groups.chunks_exact(GROUP).enumerate() {
        let (above, holder) = (word(raw, 0)?, word(raw, 4)?);
        let group = Group {
            above,
            holder: holder >> 1,
            is_content: holder & 1 == 1,
        };
        // A sum of a group is made of that of the one above it.
        let is_after = above == NONE || (above as usize) < number;
        if !is_after || group.holder as usize >= table.holders.len() {
            return None;
        }
        table.groups.push(group);
    }
    for raw in blobs_area.chunks_exact(BLOB) {
        let group = word(raw, 16)?;
        if group as usize >= table.groups.len() {
            return None;
        }
        table.blobs.push((raw[..16].try_into().ok()?, group));
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for n in 0..3_u8 {
            table.holders.push(Holder {
                key: [n; 32],
                alive: n != 1,
                is_layer: n != 2,
                count: Count {
                    holes: 5,
                    repeated: 6,
                    distinct: 700 + u64::from(n),
                },
            });
            let new = (n..n + 4).map(|i| ([i; 16], u32::from(n), i % 2 == 0));
            table.add(new.collect());
        }
        table
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(&table());
        assert_eq!(bytes.len(), 32 + 3 * 64 + 9 * 8 + 6 * 20 + 32);
        assert_eq!(decode(&bytes), Some(table()));
        let hash = blake3::hash(&bytes).to_hex();
        assert_eq!(&hash[..16], "e06c02b1b6daf420");
    }

    #[test]
    fn what_is_damaged_is_not_a_table() {
        let good = encode(&table());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
        // Also where somebody made the checksum fit.
        for at in 0..good.len() - TRAILER {
            let mut bad = good[..good.len() - TRAILER].to_vec();
            bad[at] ^= 0xff;
            bad.extend_from_slice(blake3::hash(&bad).as_bytes());
            if let Some(table) = decode(&bad) {
                table.fold((), |(), _| ());
                table.clone().compact();
            }
        }
    }
}
