//! What is reachable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_model::{BlobId, PackId};

use crate::base::Base;
use crate::error::{Error, Result};
use crate::index::{Index, Location};
use crate::pack::{RECORD_HEADER, Slot};
use crate::store::Store;

/// What is live of one pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    /// Records that are reachable.
    pub blobs: u64,
    /// Bytes of these records, headers included.
    pub bytes: u64,
}

impl Live {
    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            blobs: self.blobs + more.blobs,
            bytes: self.bytes + more.bytes,
        }
    }

    /// Bytes of these records without their headers.
    pub fn stored(&self) -> u64 {
        self.bytes - self.blobs * RECORD_HEADER as u64
    }
}

/// Who knows which records are reachable.
pub trait LiveRecords {
    /// What is reachable of a pack.
    fn live(&self, pack: &PackId) -> Live;

    /// Sizes of the records that are reachable in a pack, headers included, in the order of their places. They
    /// come to what [`LiveRecords::live`] says.
    fn sizes(&self, pack: &PackId) -> Result<Vec<u64>>;
}

impl LiveRecords for Marks {
    fn live(&self, pack: &PackId) -> Live {
        Self::live(self, pack)
    }

    fn sizes(&self, pack: &PackId) -> Result<Vec<u64>> {
        let mut slots = self.marked_in(&HashSet::from([*pack]))?;
        slots.sort_unstable_by_key(|(_, slot)| slot.offset);
        Ok(slots.iter().map(|(_, slot)| slot.record_bytes()).collect())
    }
}

/// Which entries of an index are reachable: one bit each, exact, and a sum for each pack.
#[derive(Debug)]
pub struct Marks {
    index: Arc<Index>,
    /// The index as it is when everything is marked again.
    pub(super) newer: Option<Arc<Index>>,
    base: Option<Arc<Base>>,
    bits: Vec<Vec<u64>>,
    live: HashMap<PackId, Live>,
}

impl Marks {
    /// Nothing marked, over the index as it is now.
    pub fn new(store: &Store) -> Result<Self> {
        let index = store.reload_index()?;
        let bits = index
            .segments()
            .iter()
            .map(|s| vec![0; s.len().div_ceil(64)])
            .collect();
        Ok(Self {
            index,
            newer: None,
            base: store.base().cloned(),
            bits,
            live: HashMap::new(),
        })
    }

    /// From now on, blobs that were stored since the marking began are known to be so. Rows that are to be
    /// marked have to be read before: a publication puts its index in force before its rows.
    pub fn refresh(&mut self, store: &Store) -> Result<()> {
        self.newer = Some(store.reload_index()?);
        Ok(())
    }

    /// Marks a blob, and that which it is the difference from; says where it is if it was not marked before.
    pub fn mark(&mut self, id: &BlobId) -> Result<Option<Location>> {
        let (found, is_new) = self.mark_alone(id)?;
        // What others are differences from is none itself: there is no further to go.
        let other = found.and_then(|found| found.slot.codec.reference());
        if let Some(other) = other {
            self.mark_alone(&other)?;
        }
        Ok(found.filter(|_| is_new))
    }

    /// Where a blob is, and whether it is marked only now. What was stored after the marking began is not marked, as
    /// its pack is not in question, and what the base has is nowhere here.
    fn mark_alone(&mut self, id: &BlobId) -> Result<(Option<Location>, bool)> {
        let Some(found) = self.index.find(id)? else {
            let newer = self
                .newer
                .as_ref()
                .map(|newer| newer.find(id))
                .transpose()?;
            let newer = newer.flatten();
            if newer.is_none() && self.find_below(id)?.is_none() {
                return Err(Error::MissingBlob(*id));
            }
            return Ok((newer, false));
        };
        if self.has(&found) {
            return Ok((Some(found), false));
        }
        self.bits[found.segment][found.position / 64] |= 1 << (found.position % 64);
        let live = self.live.entry(found.pack).or_default();
        live.blobs += 1;
        live.bytes += found.slot.record_bytes();
        Ok((Some(found), true))
    }

    /// True where a blob is marked.
    pub fn is_marked(&self, id: &BlobId) -> Result<bool> {
        let found = self.index.find(id)?;
        Ok(found.is_some_and(|found| self.has(&found)))
    }

    fn has(&self, found: &Location) -> bool {
        self.bits[found.segment][found.position / 64] >> (found.position % 64) & 1 == 1
    }

    /// Where the base has a blob, if it does.
    pub fn find_below(&self, id: &BlobId) -> Result<Option<Location>> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        match base.find(id)? {
            // It may have come there meanwhile.
            None => base.reload()?.find(id).map_err(|e| base.wrap(e)),
            found => Ok(found),
        }
    }

    /// The index that is marked.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// What is marked of a pack.
    pub fn live(&self, pack: &PackId) -> Live {
        self.live.get(pack).copied().unwrap_or_default()
    }

    /// Marked entries of packs in `wanted`.
    pub(super) fn marked_in(&self, wanted: &HashSet<PackId>) -> Result<Vec<(PackId, Slot)>> {
        let mut out = Vec::new();
        for (segment, bits) in self.index.segments().iter().zip(&self.bits) {
            if !segment.packs().iter().any(|pack| wanted.contains(pack)) {
                continue;
            }
            for (i, entry) in segment.entries().enumerate() {
                if bits[i / 64] >> (i % 64) & 1 == 0 {
                    continue;
                }
                let (pack, slot) = entry?;
                let pack = segment.packs()[pack];
                if wanted.contains(&pack) {
                    out.push((pack, slot));
                }
            }
        }
        Ok(out)
    }
}
