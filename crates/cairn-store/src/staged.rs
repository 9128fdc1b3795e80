//! Staged packs: durable, with their segment of the index, and part of the repository as soon
//! as two renames say so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cairn_model::PackId;

use crate::disk::Disk;
use crate::error::Result;
use crate::index::{Index, NewSegment, Segment, write_sorted};
use crate::os::random;
use crate::pack::{FinishedPack, PackReader, PackWriter, Slot};
use crate::rows::PackRowV1;

/// A durable pack and its durable segment, both under temporary names.
#[derive(Debug)]
pub struct StagedPack {
    /// Its id.
    pub id: PackId,
    /// Where it is now.
    pub path: PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
    /// Number of its blobs.
    pub blobs: u32,
    /// Its part of the index; none where it holds nothing.
    pub segment: Option<NewSegment>,
}

impl StagedPack {
    /// The row that makes it part of the repository.
    pub(crate) fn row(&self, created: u64) -> PackRowV1 {
        PackRowV1 {
            bytes: self.bytes,
            blobs: self.blobs,
            created,
            retired: None,
        }
    }
}

/// Writes the segment of a finished pack beside it.
pub fn stage(disk: &Disk, pack: FinishedPack) -> Result<StagedPack> {
    let directory = pack.path.parent().unwrap_or(Path::new("."));
    let blobs = pack.slots.len() as u32;
    let entries = pack.slots.iter().map(|slot| (pack.id, *slot)).collect();
    Ok(StagedPack {
        id: pack.id,
        bytes: pack.bytes,
        blobs,
        segment: write_sorted(disk, directory, entries)?,
        path: pack.path,
    })
}

/// Packs that records are copied into, one after another, in the directory of a lease.
pub struct Copies<'a> {
    disk: &'a Disk,
    directory: &'a Path,
    pack: Option<PackWriter>,
}

impl<'a> Copies<'a> {
    /// Nothing copied yet.
    pub fn new(disk: &'a Disk, directory: &'a Path) -> Self {
        Self {
            disk,
            directory,
            pack: None,
        }
    }

    /// Appends a record; the pack, if it is full with that.
    pub fn append(&mut self, slot: &Slot, record: &[u8]) -> Result<Option<StagedPack>> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(
                self.disk,
                self.directory,
                PackId::from_bytes(random()?),
            )?),
        };
        pack.append(&[*slot], record)?;
        match pack.is_full() {
            true => self.close(),
            false => Ok(None),
        }
    }

    /// Ends the pack that is being written, if one is.
    pub fn close(&mut self) -> Result<Option<StagedPack>> {
        let pack = self.pack.take();
        pack.map(|pack| stage(self.disk, pack.finish()?))
            .transpose()
    }
}

/// Leaves out of `pack` what `stored`, a part of the index `all`, has by now, because somebody else stored the same
/// meanwhile. The packs relied upon instead are added to `relied_on`. `None` where nothing of the pack is left.
pub fn drop_stored(
    disk: &Disk,
    pack: StagedPack,
    (stored, all): (&Index, &Index),
    relied_on: &mut HashSet<PackId>,
) -> Result<Option<StagedPack>> {
    let Some(new) = &pack.segment else {
        return Ok(None);
    };
    let mut keep: Vec<Slot> = Vec::new();
    for entry in Segment::open(&new.path)?.entries() {
        let (_, slot) = entry?;
        let packs = match stored.find(&slot.id)? {
            Some(found) => all.packs_of(&found)?,
            None => None,
        };
        match packs {
            Some((own, other)) => relied_on.extend(other.into_iter().chain([own])),
            None => keep.push(slot),
        }
    }
    if keep.len() == pack.blobs as usize {
        return Ok(Some(pack));
    }
    keep.sort_unstable_by_key(|slot| slot.offset);
    let directory = pack.path.parent().unwrap_or(Path::new("."));
    let file = PackReader::open(&pack.path)?;
    let fresh = if keep.is_empty() {
        None
    } else {
        let mut writer = PackWriter::create(disk, directory, PackId::from_bytes(random()?))?;
        let mut record = Vec::new();
        for slot in keep {
            file.record(&slot, &mut record)?;
            writer.append(&[slot], &record)?;
        }
        Some(stage(disk, writer.finish()?)?)
    };
    disk.unlink(&pack.path)?;
    disk.unlink(&new.path)?;
    Ok(fresh)
}
