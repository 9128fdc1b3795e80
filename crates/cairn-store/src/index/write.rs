//! Writes segments, entry by entry in order, in memory that does not grow with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cairn_model::{PackId, SegmentId};

use super::segment::{BLOCK, END_MAGIC, ENTRY, HEADER, MAGIC, OTHER, TRAILER, VERSION, fence, tag};
use crate::disk::{Disk, DiskFile};
use crate::error::Result;
use crate::os::random;
use crate::pack::Slot;

const BUFFER_BYTES: usize = 1 << 20;

/// A segment whose bytes are durable, not yet part of the index.
#[derive(Debug, Clone)]
pub struct NewSegment {
    /// Its id.
    pub id: SegmentId,
    /// Where it is now.
    pub path: PathBuf,
    /// Number of its entries.
    pub entries: usize,
    /// Number of those that are differences.
    pub differences: usize,
}

/// A segment that is being written.
pub struct SegmentWriter {
    id: SegmentId,
    file: DiskFile,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    fences: Vec<u8>,
    tags: Vec<u8>,
    places: Vec<u8>,
    others: Vec<u8>,
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
    count: usize,
    last: Option<(PackId, Slot)>,
}

impl SegmentWriter {
    /// Starts a segment with a name of its own in `directory`.
    pub fn create(disk: &Disk, directory: &Path) -> Result<Self> {
        let id = SegmentId::from_bytes(random()?);
        let file = disk.create(&super::segment_path(directory, &id))?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + ENTRY);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        debug_assert_eq!(buffer.len(), HEADER);
        Ok(Self {
            id,
            file,
            hasher: blake3::Hasher::new(),
            buffer,
            fences: Vec::new(),
            tags: Vec::new(),
            places: Vec::new(),
            others: Vec::new(),
            packs: Vec::new(),
            numbers: HashMap::new(),
            count: 0,
            last: None,
        })
    }

    /// Appends an entry; entries come sorted by id, pack and offset, and one that comes again is left
    /// out.
    pub fn push(&mut self, pack: PackId, slot: &Slot) -> Result<()> {
        if self.last == Some((pack, *slot)) {
            return Ok(());
        }
        self.last = Some((pack, *slot));
        if self.count.is_multiple_of(BLOCK) {
            self.fences
                .extend_from_slice(&fence(&slot.id).to_be_bytes());
        }
        self.tags.push(tag(&slot.id));
        if let Some(other) = slot.codec.reference() {
            self.places.extend((self.count as u32).to_le_bytes());
            self.others.extend_from_slice(other.as_bytes());
        }
        let packs = &mut self.packs;
        let number = *self.numbers.entry(pack).or_insert_with(|| {
            packs.push(pack);
            packs.len() as u32 - 1
        });
        self.buffer.extend_from_slice(slot.id.as_bytes());
        for word in [number, slot.offset, slot.stored, slot.raw_and_codec()] {
            self.buffer.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the segment and makes its bytes durable.
    pub fn finish(mut self) -> Result<NewSegment> {
        let fences = std::mem::take(&mut self.fences);
        self.buffer.extend_from_slice(&fences);
        for part in [&self.tags, &self.places, &self.others] {
            self.buffer.extend_from_slice(part);
        }
        for pack in &self.packs {
            self.buffer.extend_from_slice(pack.as_bytes());
        }
        self.flush()?;
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(self.hasher.finalize().as_bytes());
        trailer.extend_from_slice(&(self.count as u64).to_le_bytes());
        trailer.extend_from_slice(&(self.packs.len() as u32).to_le_bytes());
        let differences = self.others.len() / OTHER;
        trailer.extend_from_slice(&(differences as u32).to_le_bytes());
        trailer.extend_from_slice(END_MAGIC);
        let crc = crc32fast::hash(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        trailer.extend_from_slice(&[0; 4]);
        self.file.write_all(&trailer)?;
        self.file.sync()?;
        Ok(NewSegment {
            id: self.id,
            path: self.file.path().to_owned(),
            entries: self.count,
            differences,
        })
    }
}

/// Writes a segment of entries in any order; `None` without any.
pub fn write_sorted(
    disk: &Disk,
    directory: &Path,
    mut entries: Vec<(PackId, Slot)>,
) -> Result<Option<NewSegment>> {
    if entries.is_empty() {
        return Ok(None);
    }
    entries.sort_unstable_by_key(|(pack, slot)| (slot.id, *pack, slot.offset));
    let mut writer = SegmentWriter::create(disk, directory)?;
    for (pack, slot) in &entries {
        writer.push(*pack, slot)?;
    }
    writer.finish().map(Some)
}

#[cfg(test)]
mod tests {
    use cairn_model::BlobId;

    use super::*;
    use crate::pack::Codec;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |i: u8| {
            let slot = Slot {
                id: BlobId::from_bytes([i; 32]),
                offset: 32 + u32::from(i),
                stored: 5,
                raw: 9,
                codec: Codec::Zstd,
            };
            (PackId::from_bytes([i % 2; 16]), slot)
        };
        let entries = (0..20).rev().map(entry).collect();
        let new = write_sorted(&Disk::default(), dir.path(), entries).unwrap();
        let bytes = std::fs::read(new.unwrap().path).unwrap();
        assert_eq!(bytes.len(), 16 + 20 * 48 + 2 * 8 + 20 + 2 * 16 + 64);
        assert_eq!(&bytes[..12], b"CAIRNIDX\x02\0\0\0");
        let hash = blake3::hash(&bytes).to_hex();
        assert_eq!(&hash[..16], "224afc26909e693c");
    }
}
