//! Every blob of an index, in order of id, where a search would find it.

use std::iter::Enumerate;

use super::segment::Entries;
use super::{Index, Location};
use crate::error::Result;
use crate::pack::Slot;

/// Reads all segments side by side. A blob that is stored more than once comes once.
pub struct Locations<'a> {
    index: &'a Index,
    segments: Vec<Visible<'a>>,
}

/// The entries of a segment whose packs are not hidden.
struct Visible<'a> {
    hidden: &'a [bool],
    entries: Enumerate<Entries<'a>>,
    /// The next one: place in the segment, pack number, slot.
    head: Option<(usize, usize, Slot)>,
}

impl Visible<'_> {
    fn advance(&mut self) -> Result<()> {
        self.head = None;
        for (position, entry) in self.entries.by_ref() {
            let (pack, slot) = entry?;
            if !self.hidden[pack] {
                self.head = Some((position, pack, slot));
                break;
            }
        }
        Ok(())
    }
}

impl Index {
    /// All blobs that [`Index::find`] finds, in order of id.
    ///
    /// # Errors
    /// Where a segment does not read.
    pub fn locations(&self) -> Result<Locations<'_>> {
        let mut segments = Vec::with_capacity(self.segments.len());
        for (segment, hidden) in self.segments.iter().zip(&self.masks) {
            let entries = segment.entries().enumerate();
            let mut visible = Visible {
                hidden,
                entries,
                head: None,
            };
            visible.advance()?;
            segments.push(visible);
        }
        Ok(Locations {
            index: self,
            segments,
        })
    }
}

impl Locations<'_> {
    fn step(&mut self) -> Result<Option<Location>> {
        let heads = self.segments.iter().filter_map(|s| s.head.as_ref());
        let Some(id) = heads.map(|(_, _, slot)| slot.id).min() else {
            return Ok(None);
        };
        let mut found = None;
        // The youngest segment that has it counts, and in that the first entry.
        for (segment, own) in self.segments.iter_mut().enumerate() {
            let mut first = true;
            while let Some((position, pack, slot)) = own.head
                && slot.id == id
            {
                if first {
                    let pack = self.index.segments[segment].packs()[pack];
                    found = Some(Location {
                        pack,
                        slot,
                        segment,
                        position,
                    });
                    first = false;
                }
                own.advance()?;
            }
        }
        Ok(found)
    }
}

impl Iterator for Locations<'_> {
    type Item = Result<Location>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cairn_model::{BlobId, PackId};

    use super::super::{List, write_sorted};
    use super::*;
    use crate::disk::Disk;
    use crate::pack::Codec;

    fn add(dir: &Path, list: &mut List, pack: u8, blobs: std::ops::Range<u32>) {
        let slot = |i: u32| Slot {
            id: BlobId::of(&i.to_le_bytes()),
            offset: i,
            stored: 9,
            raw: 10,
            codec: Codec::Zstd,
        };
        let entries = blobs.map(|i| (PackId::from_bytes([pack; 16]), slot(i)));
        let new = write_sorted(&Disk::default(), dir, entries.collect()).unwrap();
        list.segments.push(new.unwrap().id);
    }

    #[test]
    fn all_that_is_found_comes_once_and_from_where_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut list = List::default();
        add(dir.path(), &mut list, 1, 0..500);
        add(dir.path(), &mut list, 2, 300..700);
        add(dir.path(), &mut list, 3, 100..350);
        add(dir.path(), &mut list, 4, 650..800);
        list.hidden = [2, 4].map(|n| PackId::from_bytes([n; 16])).into();
        list.put(&Disk::default(), dir.path(), &[]).unwrap();
        let index = Index::open(dir.path(), None).unwrap();
        let all: Vec<Location> = index.locations().unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 500);
        assert!(all.is_sorted_by(|a, b| a.slot.id < b.slot.id));
        for found in &all {
            assert_eq!(index.find(&found.slot.id).unwrap().as_ref(), Some(found));
        }
        assert_eq!(all.iter().filter(|l| l.segment == 2).count(), 250);
    }
}
