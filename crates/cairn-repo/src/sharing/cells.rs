//! What is needed of each pack, now and when some holders are gone.

use std::collections::HashMap;

use cairn_model::PackId;
use cairn_store::gc::{Live, LiveRecords};

use super::kept::Cell;
use super::set::Holders;
use super::sums::Sums;
use super::table::Group;
use super::update::blob_key;

/// The parts of groups in packs.
pub(super) struct Parts {
    packs: HashMap<PackId, u32>,
    /// Of each pack, what is needed of it as things are.
    needed: Vec<Live>,
    /// Number of the pack, and what of the group is in it; by group.
    parts: Vec<(u32, Live)>,
    /// Where the parts of each group begin, and where those of the last one end.
    starts: Vec<usize>,
}

impl Parts {
    /// `is_needed` has an answer for each group.
    pub fn new(cells: &[Cell], is_needed: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut starts = vec![0; is_needed.len() + 1];
        for cell in cells {
            starts[cell.group as usize + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let (mut next, mut packs) = (starts.clone(), HashMap::new());
        let mut parts = vec![(0, Live::default()); cells.len()];
        for cell in cells {
            let number = packs.len() as u32;
            let pack = *packs.entry(cell.pack).or_insert(number);
            let at = &mut next[cell.group as usize];
            parts[*at] = (pack, cell.live);
            *at += 1;
        }
        let mut of_packs = Self {
            needed: vec![Live::default(); packs.len()],
            packs,
            parts,
            starts,
        };
        for (group, _) in is_needed.enumerate().filter(|(_, is_needed)| *is_needed) {
            for at in of_packs.starts[group]..of_packs.starts[group + 1] {
                let (pack, live) = of_packs.parts[at];
                let needed = &mut of_packs.needed[pack as usize];
                *needed = needed.and(live);
            }
        }
        of_packs
    }
}

/// What is left of packs when some holders are gone.
pub(crate) struct Cells<'a> {
    sums: &'a Sums<'a>,
    /// By group: it is needed.
    is_needed: Vec<bool>,
    /// By number of the pack.
    needed: Vec<Live>,
}

impl<'a> Cells<'a> {
    pub(super) fn without(sums: &'a Sums<'a>, gone: &Holders) -> Self {
        let table = sums.table();
        let stays = |group: &Group| table.is_alive(group) && !gone.contains(group.holder);
        let is_needed = table.fold(false, |above, group| above || stays(group));
        let parts = sums.parts();
        let mut needed = parts.needed.clone();
        let groups = sums.is_needed().zip(&is_needed).enumerate();
        for (group, _) in groups.filter(|(_, (before, now))| *before && !**now) {
            for (pack, live) in &parts.parts[parts.starts[group]..parts.starts[group + 1]] {
                let needed = &mut needed[*pack as usize];
                needed.blobs -= live.blobs;
                needed.bytes -= live.bytes;
            }
        }
        Self {
            sums,
            is_needed,
            needed,
        }
    }

    /// Sizes of the needed records that the directory of a pack names; none where it does not read.
    fn listed(&self, pack: &PackId) -> Option<Vec<u64>> {
        let directory = self.sums.store().pack(pack).ok()?.directory().ok()?;
        let table = self.sums.table();
        let mut sizes = Vec::new();
        for slot in directory.slots {
            let known = table.find(&blob_key(&slot.id));
            if known.is_some_and(|number| self.is_needed[table.blobs[number].1 as usize]) {
                sizes.push(slot.record_bytes());
            }
        }
        Some(sizes)
    }

    /// The same from the index, all of which is read for it.
    fn indexed(&self, pack: &PackId) -> cairn_store::Result<Vec<u64>> {
        let table = self.sums.table();
        let mut blobs = table.blobs.iter().peekable();
        let mut records = Vec::new();
        for location in self.sums.index().locations()? {
            let location = location?;
            let key = blob_key(&location.slot.id);
            while blobs.next_if(|(other, _)| *other < key).is_some() {}
            let known = blobs.peek().filter(|(other, _)| *other == key);
            let is_needed = known.is_some_and(|(_, group)| self.is_needed[*group as usize]);
            if location.pack == *pack && is_needed {
                records.push((location.slot.offset, location.slot.record_bytes()));
            }
        }
        records.sort_unstable();
        Ok(records.into_iter().map(|(_, bytes)| bytes).collect())
    }
}

impl LiveRecords for Cells<'_> {
    fn live(&self, pack: &PackId) -> Live {
        let number = self.sums.parts().packs.get(pack);
        number.map_or(Live::default(), |number| self.needed[*number as usize])
    }

    fn sizes(&self, pack: &PackId) -> cairn_store::Result<Vec<u64>> {
        let live = self.live(pack);
        let is_right = |sizes: &Vec<u64>| {
            sizes.len() as u64 == live.blobs && sizes.iter().sum::<u64>() == live.bytes
        };
        // A blob that two packs have is in one of them by the index.
        match self.listed(pack).filter(is_right) {
            Some(sizes) => Ok(sizes),
            None => self.indexed(pack),
        }
    }
}
