//! The table in a file, which is derived from layers and never trusted further than its checksum.
//!
//! ```text
//! header   40  "CAIRNSHR" version:u32 holders:u32 groups:u32 files:u32 blobs:u64 recoded:u64
//! holder   64  key:32 holes:u64 repeated:u64 distinct:u64 alive:u32 layer:u32
//! group     8  above:u32 holder<<2|role:u32             (none above: all ones)
//! blob     20  first 16 bytes of the id, group:u32      (sorted)
//! file     28  the same of a file's object, bytes:u64   (sorted; files of several pieces)
//! trailer  32  blake3 of all before
//! ```
//! All numbers are little-endian.

use super::table::{Count, Group, Holder, NONE, Role, Table};

const MAGIC: &[u8; 8] = b"CAIRNSHR";
const VERSION: u32 = 3;
const HEADER: usize = 40;
const HOLDER: usize = 64;
const GROUP: usize = 8;
const BLOB: usize = 20;
const FILE: usize = 28;
const TRAILER: usize = 32;

/// Numbers of the roles in a file.
const ROLES: [Role; 3] = [Role::Metadata, Role::Chunk, Role::Whole];

pub(super) fn encode(table: &Table) -> Vec<u8> {
    let bytes = HEADER
        + table.holders.len() * HOLDER
        + table.groups.len() * GROUP
        + table.blobs.len() * BLOB
        + table.files.len() * FILE;
    let mut out = Vec::with_capacity(bytes + TRAILER);
    out.extend_from_slice(MAGIC);
    let counts = [table.holders.len(), table.groups.len(), table.files.len()];
    for word in [VERSION]
        .into_iter()
        .chain(counts.map(|count| count as u32))
    {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for word in [table.blobs.len() as u64, table.recoded] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for holder in &table.holders {
        encode_holder(holder, &mut out);
    }
    for group in &table.groups {
        for word in [group.above, group.holder << 2 | group.role as u32] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    for (key, group) in &table.blobs {
        out.extend_from_slice(key);
        out.extend_from_slice(&group.to_le_bytes());
    }
    for (key, group, bytes) in &table.files {
        out.extend_from_slice(key);
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&bytes.to_le_bytes());
    }
    out.extend_from_slice(blake3::hash(&out).as_bytes());
    out
}

fn encode_holder(holder: &Holder, out: &mut Vec<u8>) {
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

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn key<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

fn decode_holder(raw: &[u8]) -> Option<Holder> {
    Some(Holder {
        key: key(raw)?,
        count: Count {
            holes: long(raw, 32)?,
            repeated: long(raw, 40)?,
            distinct: long(raw, 48)?,
        },
        alive: word(raw, 56)? == 1,
        is_layer: word(raw, 60)? == 1,
    })
}

fn decode_group(raw: &[u8]) -> Option<Group> {
    let (above, holder) = (word(raw, 0)?, word(raw, 4)?);
    Some(Group {
        above,
        holder: holder >> 2,
        role: *ROLES.get(holder as usize & 3)?,
    })
}

/// The sections of a file, cut apart: holders, groups, blobs and files.
fn sections<'a>(header: &[u8], rest: &'a [u8]) -> Option<[&'a [u8]; 4]> {
    if header[..8] != *MAGIC || word(header, 8)? != VERSION {
        return None;
    }
    let blobs = usize::try_from(long(header, 24)?).ok()?;
    let (holders, rest) =
        rest.split_at_checked((word(header, 12)? as usize).checked_mul(HOLDER)?)?;
    let (groups, rest) = rest.split_at_checked((word(header, 16)? as usize).checked_mul(GROUP)?)?;
    let (blobs, files) = rest.split_at_checked(blobs.checked_mul(BLOB)?)?;
    let is_whole = (word(header, 20)? as usize).checked_mul(FILE)? == files.len();
    is_whole.then_some([holders, groups, blobs, files])
}

/// The hash at the end of a file.
pub(super) fn trailer(bytes: &[u8]) -> Option<[u8; TRAILER]> {
    bytes.last_chunk().copied()
}

/// The table in `bytes`, unless they are anything but what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Option<Table> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER)?)?;
    let (header, rest) = body.split_at_checked(HEADER)?;
    let [holders, groups, blobs, files] = sections(header, rest)?;
    if *blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let blob = |raw: &[u8]| Some((key(raw)?, word(raw, 16)?));
    let file = |raw: &[u8]| Some((key(raw)?, word(raw, 16)?, long(raw, 20)?));
    let table = Table {
        holders: all(holders, HOLDER, decode_holder)?,
        groups: all(groups, GROUP, decode_group)?,
        blobs: all(blobs, BLOB, blob)?,
        files: all(files, FILE, file)?,
        recoded: long(header, 32)?,
        hash: None,
    };
    is_sound(&table).then_some(table)
}

fn all<T>(area: &[u8], each: usize, read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    area.chunks_exact(each).map(read).collect()
}

/// True where every number in it leads somewhere.
fn is_sound(table: &Table) -> bool {
    let is_group = |group: u32| (group as usize) < table.groups.len();
    // A sum of a group is made of that of the one above it.
    let groups = table.groups.iter().enumerate();
    let mut groups = groups.map(|(number, group)| {
        (group.above == NONE || (group.above as usize) < number)
            && (group.holder as usize) < table.holders.len()
    });
    groups.all(|is_right| is_right)
        && table.blobs.iter().all(|(_, group)| is_group(*group))
        && table.files.iter().all(|(_, group, _)| is_group(*group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table {
            recoded: 8,
            ..Table::default()
        };
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
            let new = (n..n + 4).map(|i| ([i; 16], u32::from(n), ROLES[usize::from(i % 3)]));
            let files = vec![([n / 2; 16], u32::from(n), 9000)];
            table.add(new.collect(), files);
        }
        table
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(&table());
        assert_eq!(bytes.len(), 40 + 3 * 64 + 11 * 8 + 6 * 20 + 2 * 28 + 32);
        assert_eq!(decode(&bytes), Some(table()));
        let hash = blake3::hash(&bytes).to_hex();
        assert_eq!(&hash[..16], "37afea7ffbb65b7a");
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
