//! One sorted, immutable file of the index.
//!
//! ```text
//! header  16  "CAIRNIDX" version:u32 zero:u32
//! entry   48  id:32 pack-number:u32 offset:u32 stored:u32 raw|codec<<24:u32   (sorted by id, pack, offset)
//! fence    8  the first eight bytes of the id of every 16th entry
//! tag      1  the ninth byte of the id of each entry
//! place    4  the number of each entry that is a difference
//! other   32  the blob that it is the difference from             (as many, in the same order)
//! packs   16  pack-id, in the order of their numbers
//! trailer 64  blake3(all before):32 entries:u64 packs:u32 differences:u32 "CAIRNXDI" crc32(trailer[..56]):u32 zero:u32
//! ```
//! A process that looks something up keeps fences and tags in memory, three bytes for two entries: the
//! fences say in which block of 16 entries an id has to be, the tags that it most likely is not there,
//! and only where they do not is the block read. Small segments are read whole. So memory stays small
//! at any number of blobs, and a file that vanishes or does not read is an error, never a signal.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cairn_model::{BlobId, PackId, SegmentId};

use crate::error::{Error, IoContext, Result};
use crate::pack::{Slot, array_at, u32_at, u64_at};

pub(super) const MAGIC: &[u8; 8] = b"CAIRNIDX";
pub(super) const END_MAGIC: &[u8; 8] = b"CAIRNXDI";
pub(super) const VERSION: u32 = 2;
/// Bytes of a place and of what the entry there is the difference from.
pub(super) const PLACE: usize = 4;
pub(super) const OTHER: usize = 32;
pub(super) const HEADER: usize = 16;
pub(super) const ENTRY: usize = 48;
pub(super) const TRAILER: usize = 64;
/// Entries between two fences.
pub(super) const BLOCK: usize = 16;
/// Segments of no more bytes of entries than this are kept in memory once they are looked at.
const RESIDENT_BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 256 * 1024;

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    id: SegmentId,
    path: PathBuf,
    file: File,
    packs: Vec<PackId>,
    count: usize,
    differences: usize,
    tables: OnceLock<Tables>,
    resident: OnceLock<Vec<u8>>,
}

#[derive(Debug)]
struct Tables {
    fences: Vec<u64>,
    tags: Vec<u8>,
    /// Entries that are differences.
    places: Vec<u32>,
}

/// Byte of an id that stands for it among those of its block.
pub(super) fn tag(id: &BlobId) -> u8 {
    id.as_bytes()[8]
}

/// The sort key of an id's fence.
pub(super) fn fence(id: &BlobId) -> u64 {
    u64::from_be_bytes(array_at(id.as_bytes(), 0))
}

impl Segment {
    /// Opens a segment and checks its header, trailer and length; the checksum over the whole is for
    /// [`Segment::verify`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let bytes = file.metadata().at("stat", path)?.len() as usize;
        let bad = |why: &str| Error::corrupt(format!("index segment {}", path.display()), why);
        if bytes < HEADER + TRAILER {
            return Err(bad("it is shorter than an empty one"));
        }
        let (mut header, mut trailer) = ([0; HEADER], [0; TRAILER]);
        file.read_exact_at(&mut header, 0).at("read", path)?;
        file.read_exact_at(&mut trailer, (bytes - TRAILER) as u64)
            .at("read", path)?;
        if header[..8] != *MAGIC || u32_at(&header, 8) != VERSION {
            return Err(bad("its header is not that of a segment"));
        }
        if trailer[48..56] != *END_MAGIC || u32_at(&trailer, 56) != crc32fast::hash(&trailer[..56])
        {
            return Err(bad("its trailer is missing or wrong"));
        }
        let (count, packs) = (u64_at(&trailer, 32) as usize, u32_at(&trailer, 40) as usize);
        let differences = u32_at(&trailer, 44) as usize;
        let tables = count
            .checked_mul(ENTRY + 1)
            .and_then(|n| n.checked_add(count.div_ceil(BLOCK) * 8))
            .and_then(|n| n.checked_add(differences * (PLACE + OTHER)));
        let expected = tables.and_then(|n| n.checked_add(HEADER + packs * 16 + TRAILER));
        if expected != Some(bytes) {
            return Err(bad("its trailer and its length disagree"));
        }
        let mut table = vec![0; packs * 16];
        let table_at = bytes - TRAILER - table.len();
        file.read_exact_at(&mut table, table_at as u64)
            .at("read", path)?;
        let stem = path.file_stem().and_then(|s| s.to_str());
        let id = stem.and_then(|s| s.parse::<SegmentId>().ok());
        Ok(Self {
            id: id.ok_or_else(|| bad("its name is not an id"))?,
            packs: table
                .chunks_exact(16)
                .map(|c| PackId::from_bytes(array_at(c, 0)))
                .collect(),
            tables: OnceLock::new(),
            path: path.to_owned(),
            file,
            count,
            differences,
            resident: OnceLock::new(),
        })
    }

    /// Its id, which is its name.
    pub fn id(&self) -> SegmentId {
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

    /// The packs its entries point into, in the order of their numbers.
    pub fn packs(&self) -> &[PackId] {
        &self.packs
    }

    fn corrupt(&self, why: &str) -> Error {
        Error::corrupt(format!("index segment {}", self.path.display()), why)
    }

    /// An entry from its bytes; `other` is asked where it is a difference.
    fn decode(&self, raw: &[u8], other: impl FnOnce() -> Result<BlobId>) -> Result<(usize, Slot)> {
        let pack = u32_at(raw, 32) as usize;
        if pack >= self.packs.len() {
            return Err(self.corrupt("an entry names a pack that is not in its list"));
        }
        let slot = Slot::from_parts(
            BlobId::from_bytes(array_at(raw, 0)),
            u32_at(raw, 36),
            u32_at(raw, 40),
            u32_at(raw, 44),
            other,
        )?;
        Ok((pack, slot))
    }

    /// Where its differences begin, behind the header.
    fn places_at(&self) -> usize {
        self.count * (ENTRY + 1) + self.count.div_ceil(BLOCK) * 8
    }

    /// What some of its differences are the differences from, by their order.
    fn others(&self, from: usize, count: usize) -> Result<Vec<BlobId>> {
        let mut bytes = vec![0; count * OTHER];
        let at = self.places_at() + self.differences * PLACE + from * OTHER;
        self.read(&mut bytes, at)?;
        let ids = bytes.chunks_exact(OTHER);
        Ok(ids.map(|id| BlobId::from_bytes(array_at(id, 0))).collect())
    }

    /// What the entry with this number is the difference from.
    fn other(&self, entry: usize) -> Result<BlobId> {
        let places = &self.tables()?.places;
        let found = places.binary_search_by(|place| (*place as usize).cmp(&entry));
        let at =
            found.map_err(|_| self.corrupt("it lacks what an entry is the difference from"))?;
        Ok(self.others(at, 1)?[0])
    }

    /// Hands `f` the raw entries of one block.
    fn block<T>(&self, block: usize, f: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let range = block * BLOCK * ENTRY..((block + 1) * BLOCK).min(self.count) * ENTRY;
        if self.count * ENTRY <= RESIDENT_BYTES_MAX {
            if self.resident.get().is_none() {
                let mut all = vec![0; self.count * ENTRY];
                self.read(&mut all, 0)?;
                // Another thread may have been first; both read the same.
                let _ = self.resident.set(all);
            }
            if let Some(all) = self.resident.get() {
                return Ok(f(&all[range]));
            }
        }
        let mut buffer = [0; BLOCK * ENTRY];
        let buffer = &mut buffer[..range.len()];
        self.read(buffer, range.start)?;
        Ok(f(buffer))
    }

    fn tables(&self) -> Result<&Tables> {
        if let Some(tables) = self.tables.get() {
            return Ok(tables);
        }
        let mut fences = vec![0; self.count.div_ceil(BLOCK) * 8];
        let mut tags = vec![0; self.count];
        self.read(&mut fences, self.count * ENTRY)?;
        self.read(&mut tags, self.count * ENTRY + fences.len())?;
        let mut places = vec![0; self.differences * PLACE];
        self.read(&mut places, self.places_at())?;
        let fences = fences.chunks_exact(8);
        let fences = fences.map(|c| u64::from_be_bytes(array_at(c, 0))).collect();
        let places = places.chunks_exact(PLACE).map(|c| u32_at(c, 0)).collect();
        Ok(self.tables.get_or_init(|| Tables {
            fences,
            tags,
            places,
        }))
    }

    fn read(&self, out: &mut [u8], at: usize) -> Result<()> {
        self.file
            .read_exact_at(out, (HEADER + at) as u64)
            .at("read", &self.path)
    }

    /// First entry of `id` whose pack is not hidden (`hidden` is by pack number), those that are no differences before
    /// others: its place, its pack and its slot.
    pub fn find(&self, id: &BlobId, hidden: &[bool]) -> Result<Option<(usize, PackId, Slot)>> {
        let mut difference = None;
        let (wanted, tag) = (fence(id), tag(id));
        let Tables { fences, tags, .. } = self.tables()?;
        let after = fences.partition_point(|fence| *fence < wanted);
        // The entries of an id may begin in the block before the first fence that reaches it.
        for block in after.saturating_sub(1)..fences.len() {
            if block >= after && fences[block] > wanted {
                break;
            }
            if !tags[block * BLOCK..((block + 1) * BLOCK).min(self.count)].contains(&tag) {
                continue;
            }
            let found = self.block(block, |raw| {
                let entries = raw.len() / ENTRY;
                let id_at = |i: usize| &raw[i * ENTRY..i * ENTRY + 32];
                let (mut low, mut high) = (0, entries);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if id_at(middle) < &id.as_bytes()[..] {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                for i in low..entries {
                    if id_at(i) != id.as_bytes() {
                        return Ok(Some(None));
                    }
                    let other = || self.other(block * BLOCK + i);
                    let (pack, slot) = self.decode(&raw[i * ENTRY..][..ENTRY], other)?;
                    if hidden.get(pack).copied().unwrap_or(false) {
                        continue;
                    }
                    let found = (block * BLOCK + i, self.packs[pack], slot);
                    if slot.codec.reference().is_none() {
                        return Ok(Some(Some(found)));
                    }
                    difference.get_or_insert(found);
                }
                // All entries from `low` on are of this id and passed over, or there is none: the next block
                // may go on.
                Ok(None)
            })?;
            match found {
                Ok(Some(Some(found))) => return Ok(Some(found)),
                Ok(Some(None)) => return Ok(difference),
                Ok(None) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(difference)
    }

    /// All entries in order.
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            segment: self,
            next: 0,
            buffer: Vec::new(),
            at: 0,
            differences: 0,
            others: VecDeque::new(),
        }
    }

    /// What its differences are the differences from; one that several are comes several times.
    pub fn references(&self) -> Result<Vec<BlobId>> {
        self.others(0, self.differences)
    }

    /// Reads it all and checks the checksum, the order and the fences.
    pub fn verify(&self) -> Result<()> {
        let body = self.file.metadata().at("stat", &self.path)?.len() as usize - TRAILER;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut at = 0;
        while at < body {
            let part = &mut buffer[..READ_BYTES.min(body - at)];
            self.file
                .read_exact_at(part, at as u64)
                .at("read", &self.path)?;
            hasher.update(part);
            at += part.len();
        }
        let mut end = [0; 32];
        self.file
            .read_exact_at(&mut end, body as u64)
            .at("read", &self.path)?;
        if *hasher.finalize().as_bytes() != end {
            return Err(self.corrupt("its checksum does not match"));
        }
        let Tables { fences, tags, .. } = self.tables()?;
        let mut last = None;
        let mut differences = 0;
        for (i, entry) in self.entries().enumerate() {
            let (pack, slot) = entry?;
            let key = (slot.id, self.packs[pack], slot.offset);
            if last.is_some_and(|last| last >= key) {
                return Err(self.corrupt("its entries are out of order"));
            }
            let first = i % BLOCK == 0;
            if tags[i] != tag(&slot.id) || (first && fences[i / BLOCK] != fence(&slot.id)) {
                return Err(self.corrupt("a fence or a tag is not that of its entry"));
            }
            last = Some(key);
            differences += usize::from(slot.codec.reference().is_some());
        }
        if differences != self.differences {
            return Err(self.corrupt("its differences are not those of its entries"));
        }
        Ok(())
    }
}

/// Reads a segment from its start: pack number and slot of each entry.
pub struct Entries<'a> {
    segment: &'a Segment,
    next: usize,
    buffer: Vec<u8>,
    at: usize,
    /// Differences that `others` was read up to, and those of them that did not come yet.
    differences: usize,
    others: VecDeque<BlobId>,
}

impl Entries<'_> {
    /// What the next difference is the difference from.
    fn other(&mut self, entry: usize) -> Result<BlobId> {
        let segment = self.segment;
        if self.others.is_empty() {
            let count = (READ_BYTES / OTHER).min(segment.differences - self.differences);
            self.others = segment.others(self.differences, count)?.into();
            self.differences += count;
        }
        let order = self.differences - self.others.len();
        let place = segment.tables()?.places.get(order).copied();
        let id = self.others.pop_front();
        id.filter(|_| place == Some(entry as u32))
            .ok_or_else(|| segment.corrupt("its differences are not those of its entries"))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(usize, Slot)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.segment.count {
            return None;
        }
        if self.at == self.buffer.len() {
            let entries = (READ_BYTES / ENTRY).min(self.segment.count - self.next);
            self.buffer.resize(entries * ENTRY, 0);
            self.at = 0;
            if let Err(e) = self.segment.read(&mut self.buffer, self.next * ENTRY) {
                self.next = self.segment.count;
                return Some(Err(e));
            }
        }
        let mut raw = [0; ENTRY];
        raw.copy_from_slice(&self.buffer[self.at..self.at + ENTRY]);
        let entry = self.next;
        self.at += ENTRY;
        self.next += 1;
        Some(self.segment.decode(&raw, || self.other(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::write_sorted;
    use super::*;
    use crate::disk::Disk;
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

    fn segment(dir: &Path, entries: Vec<(PackId, Slot)>) -> (PathBuf, Segment) {
        let new = write_sorted(&Disk::default(), dir, entries).unwrap();
        let path = new.unwrap().path;
        let segment = Segment::open(&path).unwrap();
        (path, segment)
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        // The last is too large to be kept in memory.
        for count in [1, 2, 63, 64, 65, 1000, 20_000, 100_000] {
            let dir = tempfile::tempdir().unwrap();
            let (_, segment) = segment(dir.path(), entries(count));
            segment.verify().unwrap();
            assert_eq!(segment.entries().count(), count as usize);
            for (pack, slot) in entries(count) {
                let (_, in_pack, found) = segment.find(&slot.id, &[]).unwrap().unwrap();
                assert_eq!((in_pack, found), (pack, slot));
            }
            for i in count..count + 1000 {
                let none = segment.find(&BlobId::of(&i.to_le_bytes()), &[]).unwrap();
                assert_eq!(none, None);
            }
            for edge in [[0; 32], [255; 32]] {
                assert_eq!(segment.find(&BlobId::from_bytes(edge), &[]).unwrap(), None);
            }
        }
    }

    #[test]
    fn copies_in_hidden_packs_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let id = BlobId::of(b"often stored");
        let copy = |i: u8| {
            let slot = entries(1)[0].1;
            (PackId::from_bytes([i; 16]), Slot { id, ..slot })
        };
        let mut all = entries(300);
        all.extend((10..200).map(copy));
        let (_, segment) = segment(dir.path(), all);
        segment.verify().unwrap();
        let shown = PackId::from_bytes([199; 16]);
        let hidden: Vec<bool> = segment.packs().iter().map(|p| *p != shown).collect();
        assert_eq!(segment.find(&id, &hidden).unwrap().unwrap().1, shown);
        let all_hidden = vec![true; hidden.len()];
        assert_eq!(segment.find(&id, &all_hidden).unwrap(), None);
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = segment(dir.path(), entries(150));
        drop(whole);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(3) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let found = Segment::open(&path).and_then(|segment| segment.verify());
            // The last four bytes are padding.
            assert!(found.is_err() || at >= good.len() - 4, "byte {at}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(Segment::open(&path).is_err(), "cut at {len}");
        }
    }
}
