//! What is needed of each pack, now and when some holders are gone.

use std::collections::HashMap;

use cairn_model::PackId;
use cairn_store::gc::{Live, LiveRecords};

use super::kept::Cell;
use super::set::Holders;
use super::sums::Sums;
use super::table::Group;

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
}

impl LiveRecords for Cells<'_> {
    fn live(&self, pack: &PackId) -> Live {
        let number = self.sums.parts().packs.get(pack);
        number.map_or(Live::default(), |number| self.needed[*number as usize])
    }

    fn sizes(&self, pack: &PackId) -> cairn_store::Result<Vec<u64>> {
        let records = self.sums.records()?.of(pack).iter();
        let needed = records.filter(|record| self.is_needed[record.group as usize]);
        Ok(needed.map(|record| u64::from(record.bytes)).collect())
    }
}
