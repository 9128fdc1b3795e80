//! The records of packs in their order, each with its group: which of them are needed, and how long they are, without
//! a look at the index. In a file beside the sums, made by the first forecast that asks and as long as neither table nor index
//! changed. Derived, and never trusted further than its checksum.
//!
//! ```text
//! header   48  "CAIRNREC" packs:u32 records:u32 key:32         (as in `sums`)
//! pack     20  pack:16 records:u32
//! record    8  group:u32 bytes:u32, of one pack after the other, in the order of their places
//! trailer  32  blake3 of all before
//! ```
//! All numbers are little-endian.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use cairn_model::PackId;
use cairn_store::{Index, Store};

use super::kept::{Key, begin, opened, sealed, word};
use super::sums::{Place, locate};
use super::table::Table;

const MAGIC: &[u8; 8] = b"CAIRNREC";
const PACK: usize = 20;
const RECORD: usize = 8;

/// A record whose blob is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub group: u32,
    /// Header included.
    pub bytes: u32,
}

/// Records of all packs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    packs: HashMap<PackId, Range<usize>>,
    records: Vec<Record>,
}

impl Records {
    /// Reads them from the index.
    pub fn find(store: &Store, index: &Index, table: &Table) -> cairn_store::Result<Self> {
        let mut of_packs: BTreeMap<PackId, Vec<(u32, Record)>> = BTreeMap::new();
        locate(store, index, table, |number, place| {
            if let Place::Here(found) = place {
                let record = Record {
                    group: table.blobs[number].1,
                    bytes: u32::try_from(found.slot.record_bytes()).unwrap_or(u32::MAX),
                };
                let of_pack = of_packs.entry(found.pack).or_default();
                of_pack.push((found.slot.offset, record));
            }
            Ok::<_, cairn_store::Error>(())
        })?;
        let mut out = Self::default();
        for (pack, mut of_pack) in of_packs {
            of_pack.sort_unstable_by_key(|(offset, _)| *offset);
            let from = out.records.len();
            out.records
                .extend(of_pack.iter().map(|(_, record)| *record));
            out.packs.insert(pack, from..out.records.len());
        }
        Ok(out)
    }

    /// Those of a pack.
    pub fn of(&self, pack: &PackId) -> &[Record] {
        let range = self.packs.get(pack).cloned();
        range.map_or(&[], |range| &self.records[range])
    }

    pub fn encode(&self, key: &Key) -> Vec<u8> {
        let counts = [self.packs.len(), self.records.len()];
        let mut out = begin(MAGIC, counts, key, counts[0] * PACK + counts[1] * RECORD);
        let mut packs: Vec<_> = self.packs.iter().collect();
        packs.sort_unstable_by_key(|(_, range)| (range.start, range.end));
        for (pack, range) in packs {
            out.extend_from_slice(pack.as_bytes());
            out.extend_from_slice(&(range.len() as u32).to_le_bytes());
        }
        for record in &self.records {
            out.extend_from_slice(&record.group.to_le_bytes());
            out.extend_from_slice(&record.bytes.to_le_bytes());
        }
        sealed(out)
    }

    /// What was found on this key for so many groups, unless the bytes say anything else.
    pub fn decode(bytes: &[u8], key: &Key, groups: usize) -> Option<Self> {
        let ([packs, count], rest) = opened(MAGIC, key, bytes)?;
        let (packs, records) = rest.split_at_checked(packs.checked_mul(PACK)?)?;
        if count.checked_mul(RECORD)? != records.len() {
            return None;
        }
        let mut out = Self::default();
        let mut from = 0_usize;
        for pack in packs.chunks_exact(PACK) {
            let id = PackId::from_bytes(pack.get(..16)?.try_into().ok()?);
            let end = from.checked_add(word(pack, 16)? as usize)?;
            out.packs.insert(id, from..end);
            from = end;
        }
        let record = |bytes: &[u8]| {
            let group = word(bytes, 0)?;
            let bytes = word(bytes, 4)?;
            ((group as usize) < groups).then_some(Record { group, bytes })
        };
        out.records = records
            .chunks_exact(RECORD)
            .map(record)
            .collect::<Option<_>>()?;
        (from == out.records.len()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_key_is_nothing() {
        let record = |n: u32| Record {
            group: n % 3,
            bytes: 100 + n,
        };
        let pack = |n: u8| PackId::from_bytes([n; 16]);
        let records = Records {
            packs: [(pack(9), 0..2), (pack(1), 2..2), (pack(4), 2..7)].into(),
            records: (0..7).map(record).collect(),
        };
        let key = [3; 32];
        let good = records.encode(&key);
        assert_eq!(good.len(), 48 + 3 * 20 + 7 * 8 + 32);
        let again = Records::decode(&good, &key, 3).unwrap();
        assert_eq!(again.of(&pack(4)), &records.records[2..]);
        assert_eq!(again, records);
        assert!(again.of(&pack(7)).is_empty());
        assert_eq!(Records::decode(&good, &[4; 32], 3), None);
        assert_eq!(
            Records::decode(&good, &key, 2),
            None,
            "a group that is none"
        );
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Records::decode(&bad, &key, 3), None, "byte {at}");
            assert_eq!(Records::decode(&good[..at], &key, 3), None, "cut at {at}");
        }
    }
}
