//! Finds blobs: sorted segment files that any number of processes read without a lock.
//!
//! Everything here can be rebuilt from the packs' own directories. `CURRENT` names the segments in
//! force, and the packs whose entries no longer count, and is replaced as a whole; segments never
//! change. A process that holds an [`Index`] keeps its files open when segments are merged and unlinked
//! behind it.
//!
//! A publication adds segments that were written before, so it takes the same moment at any number of
//! blobs. A collection hides packs. Merging, which also drops the entries of hidden packs, happens
//! beside everything else ([`crate::Store::compact_index`]).

mod locations;
mod merge;
mod segment;
mod write;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_model::{BlobId, PackId, SegmentId};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Stored};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::kinds::{self, Kind};
use crate::layout::index_list;
use crate::pack::Slot;

pub use merge::{due, merge};
pub use segment::Segment;
pub use write::{NewSegment, write_sorted};

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: PackId,
    /// Where in it.
    pub slot: Slot,
    /// Which segment said so.
    pub segment: usize,
    /// Its place in that segment.
    pub position: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CurrentV2 {
    generation: u64,
    segments: Vec<SegmentId>,
    hidden: Vec<[u8; 16]>,
}

impl Stored for CurrentV2 {
    const KIND: Kind = kinds::INDEX_LIST;
    const VERSION: u8 = 2;
}

/// The same where blobs were recompressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CurrentV3 {
    current: CurrentV2,
    recoded: u64,
}

impl Stored for CurrentV3 {
    const KIND: Kind = kinds::INDEX_LIST;
    const VERSION: u8 = 3;
}

/// What is in force: the content of `CURRENT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Counts publications and collections; equal in `CURRENT` and in the database.
    pub generation: u64,
    /// Ids of the segments, oldest first.
    pub segments: Vec<SegmentId>,
    /// Packs whose entries do not count.
    pub hidden: BTreeSet<PackId>,
    /// Generation that last changed which blobs are differences from which; 0 where none ever was one.
    pub recoded: u64,
}

impl List {
    /// What `CURRENT` in `dir` says.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = index_list(dir);
        let bytes = std::fs::read(&path).map_err(|source| Error::Io {
            action: "read",
            path,
            source,
        })?;
        let (current, recoded) = match codec::version(&bytes) {
            Some(CurrentV3::VERSION) => {
                let CurrentV3 { current, recoded } = codec::decode(&bytes)?;
                (current, recoded)
            }
            _ => (codec::decode::<CurrentV2>(&bytes)?, 0),
        };
        Ok(Self {
            generation: current.generation,
            segments: current.segments,
            hidden: current.hidden.into_iter().map(PackId::from_bytes).collect(),
            recoded,
        })
    }

    /// Puts the list in force, with the segments in `add` at its end; files of segments that are in
    /// force no more go. The caller holds the repository lock.
    pub fn put(mut self, disk: &Disk, dir: &Path, add: &[NewSegment]) -> Result<()> {
        for new in add {
            let path = segment_path(dir, &new.id);
            if new.path != path {
                disk.rename(&new.path, &path)?;
            }
            self.segments.push(new.id);
        }
        let current = CurrentV2 {
            generation: self.generation,
            segments: self.segments.clone(),
            hidden: self.hidden.iter().map(|pack| *pack.as_bytes()).collect(),
        };
        let bytes = match self.recoded {
            0 => codec::encode(&current),
            recoded => codec::encode(&CurrentV3 { current, recoded }),
        };
        disk.replace(&index_list(dir), &bytes)?;
        let known: HashSet<PathBuf> = self
            .segments
            .iter()
            .map(|id| segment_path(dir, id))
            .collect();
        for name in crate::error::IoContext::at(std::fs::read_dir(dir), "list", dir)?.flatten() {
            let path = name.path();
            if path.extension().is_some_and(|e| e == "idx") && !known.contains(&path) {
                disk.unlink(&path)?;
            }
        }
        Ok(())
    }
}

/// One consistent state of the index.
#[derive(Debug, Default)]
pub struct Index {
    list: List,
    segments: Vec<Arc<Segment>>,
    hidden: HashSet<PackId>,
    /// By segment and pack number.
    masks: Vec<Vec<bool>>,
}

impl Index {
    /// Names what it has: two with the same state find the same.
    pub fn state(&self) -> [u8; 32] {
        let mut hidden: Vec<&PackId> = self.hidden.iter().collect();
        hidden.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key("cairn index: state");
        hasher.update(&(self.segments.len() as u64).to_le_bytes());
        for segment in &self.segments {
            hasher.update(segment.id().as_bytes());
        }
        for pack in hidden {
            hasher.update(pack.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Opens the state that `CURRENT` in `dir` names; segments that `before` has open stay open.
    pub fn open(dir: &Path, before: Option<&Self>) -> Result<Self> {
        loop {
            let list = List::read(dir)?;
            let open = |id: &SegmentId| {
                let known = before.and_then(|b| b.segments.iter().find(|s| s.id() == *id));
                known.map_or_else(
                    || Segment::open(&segment_path(dir, id)).map(Arc::new),
                    |segment| Ok(segment.clone()),
                )
            };
            let opened: Result<Vec<_>> = list.segments.iter().map(open).collect();
            match opened {
                Ok(segments) => return Ok(Self::of(list, segments)),
                // A merge may have replaced the list between the two reads.
                Err(e) if List::read(dir)? == list => return Err(e),
                Err(_) => {}
            }
        }
    }

    fn of(list: List, segments: Vec<Arc<Segment>>) -> Self {
        let hidden: HashSet<PackId> = list.hidden.iter().copied().collect();
        let mask = |segment: &Arc<Segment>| {
            let packs = segment.packs().iter();
            packs.map(|pack| hidden.contains(pack)).collect()
        };
        Self {
            masks: segments.iter().map(mask).collect(),
            list,
            segments,
            hidden,
        }
    }

    /// Only the segments that `known` does not have.
    pub fn without(&self, known: &Self) -> Self {
        let new = |segment: &&Arc<Segment>| !known.list.segments.contains(&segment.id());
        let segments = self.segments.iter().filter(new).cloned().collect();
        Self::of(self.list.clone(), segments)
    }

    /// Counts publications and collections; equal in `CURRENT` and in the database.
    pub fn generation(&self) -> u64 {
        self.list.generation
    }

    /// What `CURRENT` said.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Packs whose entries do not count.
    pub fn hidden(&self) -> &HashSet<PackId> {
        &self.hidden
    }

    /// Number of entries (a blob stored twice counts twice, and so do blobs of hidden packs).
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.len()).sum()
    }

    /// True where nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where `id` is stored. One that is a difference is found only where there is no copy that is none: whichever is
    /// found must not depend on what else is in the index, for others may be differences from it.
    pub fn find(&self, id: &BlobId) -> Result<Option<Location>> {
        let mut difference = None;
        for (segment, of) in self.segments.iter().enumerate().rev() {
            if let Some((position, pack, slot)) = of.find(id, &self.masks[segment])? {
                let found = Location {
                    pack,
                    slot,
                    segment,
                    position,
                };
                if slot.codec.reference().is_none() {
                    return Ok(Some(found));
                }
                difference.get_or_insert(found);
            }
        }
        Ok(difference)
    }

    /// The packs without which the content of a blob does not come back: its own, and that of the blob it is the
    /// difference from. None where that is in no pack: nobody needed the difference when it was collected.
    pub fn packs_of(&self, found: &Location) -> Result<Option<(PackId, Option<PackId>)>> {
        let Some(other) = found.slot.codec.reference() else {
            return Ok(Some((found.pack, None)));
        };
        let other = self.find(&other)?;
        Ok(other.map(|other| (found.pack, Some(other.pack))))
    }

    /// Every pack that some entry points into, hidden ones too.
    pub fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.segments.iter().flat_map(|s| s.packs().iter().copied())
    }
}

/// Where the segment `id` is in the directory of an index.
pub fn segment_path(dir: &Path, id: &SegmentId) -> PathBuf {
    dir.join(format!("{}.idx", id.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let current = CurrentV2 {
            generation: 300,
            segments: vec![SegmentId::from_bytes([1; 16])],
            hidden: vec![[2; 16]],
        };
        let bytes = codec::encode(&current);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "1eca0102250000002900581efb2c0101010101010101010101010101010101010102020202020202020202020202020202"
        );
        assert_eq!(codec::decode::<CurrentV2>(&bytes).unwrap(), current);
        let recoded = CurrentV3 {
            current,
            recoded: 7,
        };
        let later = codec::encode(&recoded);
        assert_eq!(codec::version(&later), Some(3));
        assert_eq!(later[12..], [&bytes[12..], &[7]].concat());
        assert_eq!(codec::decode::<CurrentV3>(&later).unwrap(), recoded);
    }
}
