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
        let mut found: Option<Location> = None;
        let is_alone = |found: &Location| found.slot.codec.reference().is_none();
        // The youngest segment that has it counts, and in that the first entry; what is no difference before others.
        for (segment, own) in self.segments.iter_mut().enumerate() {
            let mut here: Option<Location> = None;
            while let Some((position, pack, slot)) = own.head
                && slot.id == id
            {
                let location = Location {
                    pack: self.index.segments[segment].packs()[pack],
                    slot,
                    segment,
                    position,
                };
                if here
                    .as_ref()
                    .is_none_or(|first| !is_alone(first) && is_alone(&location))
                {
                    here = Some(location);
                }
                own.advance()?;
            }
            if let Some(here) = here
                && (is_alone(&here) || !found.as_ref().is_some_and(is_alone))
            {
                found = Some(here);
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
    fn a_difference_is_found_only_where_there_is_no_copy_alone() {
        let dir = tempfile::tempdir().unwrap();
        let id = |i: u32| BlobId::of(&i.to_le_bytes());
        let entry = |i: u32, pack: u8, is_difference: bool| {
            let codec = match is_difference {
                true => Codec::Delta(id(1000)),
                false => Codec::Zstd,
            };
            let slot = Slot {
                id: id(i),
                offset: 32,
                stored: 40,
                raw: 50,
                codec,
            };
            (PackId::from_bytes([pack; 16]), slot)
        };
        let mut list = List::default();
        let mut put = |entries: Vec<(PackId, Slot)>| {
            let new = write_sorted(&Disk::default(), dir.path(), entries).unwrap();
            list.segments.push(new.unwrap().id);
        };
        // In one segment in either order, and in two in either order.
        put(vec![
            entry(1, 1, true),
            entry(1, 2, false),
            entry(2, 1, false),
            entry(2, 2, true),
        ]);
        put(vec![
            entry(3, 3, true),
            entry(4, 3, false),
            entry(5, 3, true),
        ]);
        put(vec![
            entry(3, 4, false),
            entry(4, 4, true),
            entry(5, 4, true),
        ]);
        list.put(&Disk::default(), dir.path(), &[]).unwrap();
        let index = Index::open(dir.path(), None).unwrap();
        let found = |i: u32| index.find(&id(i)).unwrap().unwrap();
        for (i, pack) in [(1, 2), (2, 1), (3, 4), (4, 3)] {
            assert_eq!(found(i).slot.codec, Codec::Zstd, "{i}");
            assert_eq!(found(i).pack, PackId::from_bytes([pack; 16]), "{i}");
        }
        assert_eq!(found(5).pack, PackId::from_bytes([4; 16]));
        assert_eq!(found(5).slot.codec.reference(), Some(id(1000)));
        let all: Vec<Location> = index.locations().unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|at| found_again(&index, at)));
        for segment in index.segments() {
            segment.verify().unwrap();
        }
    }

    fn found_again(index: &Index, at: &Location) -> bool {
        index.find(&at.slot.id).unwrap().as_ref() == Some(at)
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
