//! One sorted, immutable file of the index.
//!
//! ```text
//! header  64  "CAIRNIDX" version:u32 packs:u32 entries:u64 crc32(header[..24]):u32 zero
//! packs   16  pack-id                                                   (`packs` times)
//! entry   48  id:32 pack-number:u32 offset:u32 stored:u32 raw|codec<<24:u32   (sorted by id)
//! end     32  blake3 of all before
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use cairn_model::{BlobId, PackId};

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::pack::{Slot, array_at, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"CAIRNIDX";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const ENTRY: usize = 48;

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    id: [u8; 16],
    name: String,
    map: cairn_sys::Map,
    packs: Vec<PackId>,
    entries_at: usize,
    count: usize,
}

impl Segment {
    /// Maps a segment and checks its header and its length; the checksum over the whole is for
    /// [`Segment::verify`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let map = cairn_sys::Map::of(&file).at("map", path)?;
        let name = format!("index segment {}", path.display());
        let bad = |why: &str| Error::corrupt(name.clone(), why);
        if map.len() < HEADER || map[..8] != *MAGIC || u32_at(&map, 8) != VERSION {
            return Err(bad("its header is not that of a segment"));
        }
        if u32_at(&map, 24) != crc32fast::hash(&map[..24]) {
            return Err(bad("the checksum of its header does not match"));
        }
        let (packs, count) = (u32_at(&map, 12) as usize, u64_at(&map, 16) as usize);
        let entries_at = HEADER + packs * 16;
        let expected = count
            .checked_mul(ENTRY)
            .and_then(|n| n.checked_add(entries_at + 32));
        if expected != Some(map.len()) {
            return Err(bad("its header and its length disagree"));
        }
        let packs = map[HEADER..entries_at]
            .chunks_exact(16)
            .map(|c| PackId::from_bytes(array_at(c, 0)))
            .collect();
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .and_then(|s| s.parse::<PackId>().ok());
        let id = *stem.ok_or_else(|| bad("its name is not an id"))?.as_bytes();
        Ok(Self {
            id,
            name,
            map,
            packs,
            entries_at,
            count,
        })
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packs its entries point into.
    pub fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.packs.iter().copied()
    }

    fn raw(&self, position: usize) -> &[u8] {
        &self.map[self.entries_at + position * ENTRY..][..ENTRY]
    }

    /// The entry at a place.
    pub fn entry(&self, position: usize) -> Result<(PackId, Slot)> {
        let raw = self.raw(position);
        let bad = || {
            Error::corrupt(
                self.name.clone(),
                "an entry names a pack that is not in its list",
            )
        };
        let pack = *self.packs.get(u32_at(raw, 32) as usize).ok_or_else(bad)?;
        let slot = Slot::from_parts(
            BlobId::from_bytes(array_at(raw, 0)),
            u32_at(raw, 36),
            u32_at(raw, 40),
            u32_at(raw, 44),
        )?;
        Ok((pack, slot))
    }

    /// All entries in order of id.
    pub fn entries(&self) -> impl Iterator<Item = Result<(PackId, Slot)>> + '_ {
        (0..self.count).map(|position| self.entry(position))
    }

    /// Place of the first entry of `id`. Ids are evenly spread, so the search starts where the id
    /// should be and closes in by interpolation; a bisection ends it.
    pub fn find(&self, id: &BlobId) -> Option<usize> {
        let key = |bytes: &[u8]| u64::from_be_bytes(array_at(bytes, 0));
        let wanted = key(id.as_bytes());
        let (mut low, mut high) = (0, self.count);
        let (mut low_key, mut high_key) = (0_u64, u64::MAX);
        for _ in 0..4 {
            if high - low < 16 || high_key <= low_key {
                break;
            }
            let share = u128::from(wanted.saturating_sub(low_key)) * (high - low) as u128
                / (u128::from(high_key - low_key) + 1);
            let middle = low + (share as usize).min(high - low - 1);
            // Step a little aside of the guess so that both ends move.
            let slack = ((high - low) as f64).sqrt() as usize;
            let (left, right) = (
                middle.saturating_sub(slack).max(low),
                (middle + slack).min(high - 1),
            );
            let left_key = key(self.raw(left));
            if left_key < wanted {
                (low, low_key) = (left, left_key);
            } else {
                (high, high_key) = (left + 1, left_key);
                continue;
            }
            let right_key = key(self.raw(right));
            if right_key > wanted {
                (high, high_key) = (right, right_key);
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.raw(middle)[..32] < id.as_bytes()[..] {
                low = middle + 1
            } else {
                high = middle
            }
        }
        (low < self.count && self.raw(low)[..32] == id.as_bytes()[..]).then_some(low)
    }

    /// Reads it all and checks the checksum and the order.
    pub fn verify(&self) -> Result<()> {
        let (body, end) = self.map.split_at(self.map.len() - 32);
        if blake3::hash(body).as_bytes() != end {
            return Err(Error::corrupt(
                self.name.clone(),
                "its checksum does not match",
            ));
        }
        let sorted = (1..self.count).all(|i| self.raw(i - 1)[..32] <= self.raw(i)[..32]);
        if sorted {
            Ok(())
        } else {
            Err(Error::corrupt(
                self.name.clone(),
                "its entries are out of order",
            ))
        }
    }
}

/// Writes a segment file of `entries` and makes it durable (its name is made so by the caller).
pub fn write(disk: &Disk, path: &Path, mut entries: Vec<(PackId, Slot)>) -> Result<()> {
    entries.sort_unstable_by_key(|(pack, slot)| (slot.id, *pack, slot.offset));
    entries.dedup_by_key(|(pack, slot)| (slot.id, *pack, slot.offset));
    let mut packs = Vec::new();
    let mut numbers = HashMap::new();
    for (pack, _) in &entries {
        numbers.entry(*pack).or_insert_with(|| {
            packs.push(*pack);
            packs.len() as u32 - 1
        });
    }
    let mut file = disk.create(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::with_capacity((1 << 20) + ENTRY);
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&VERSION.to_le_bytes());
    buffer.extend_from_slice(&(packs.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    let crc = crc32fast::hash(&buffer);
    buffer.extend_from_slice(&crc.to_le_bytes());
    buffer.resize(HEADER, 0);
    for pack in &packs {
        buffer.extend_from_slice(pack.as_bytes());
    }
    for (pack, slot) in &entries {
        buffer.extend_from_slice(slot.id.as_bytes());
        for word in [
            numbers[pack],
            slot.offset,
            slot.stored,
            slot.raw_and_codec(),
        ] {
            buffer.extend_from_slice(&word.to_le_bytes());
        }
        if buffer.len() >= 1 << 20 {
            hasher.update(&buffer);
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    hasher.update(&buffer);
    buffer.extend_from_slice(hasher.finalize().as_bytes());
    file.write_all(&buffer)?;
    file.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Codec;

    fn entries(count: u32) -> Vec<(PackId, Slot)> {
        let slot = |i: u32| Slot {
            id: BlobId::of(&i.to_le_bytes()),
            offset: i,
            stored: 9,
            raw: 10,
            codec: Codec::Zstd,
        };
        (0..count)
            .map(|i| (PackId::from_bytes([i as u8 % 3; 16]), slot(i)))
            .collect()
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        for count in [0, 1, 2, 15, 16, 17, 1000, 20_000] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(format!("{}.idx", "0".repeat(32)));
            write(&Disk::default(), &path, entries(count)).unwrap();
            let segment = Segment::open(&path).unwrap();
            segment.verify().unwrap();
            for (pack, slot) in entries(count) {
                let position = segment
                    .find(&slot.id)
                    .unwrap_or_else(|| panic!("{count}: {slot:?}"));
                assert_eq!(segment.entry(position).unwrap(), (pack, slot));
            }
            for i in count..count + 1000 {
                assert_eq!(segment.find(&BlobId::of(&i.to_le_bytes())), None);
            }
            assert_eq!(segment.find(&BlobId::from_bytes([0; 32])), None);
            assert_eq!(segment.find(&BlobId::from_bytes([255; 32])), None);
        }
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.idx", "0".repeat(32)));
        write(&Disk::default(), &path, entries(100)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(
                Segment::open(&path).and_then(|s| s.verify()).is_err(),
                "byte {at}"
            );
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(Segment::open(&path).is_err(), "cut at {len}");
        }
    }
}
