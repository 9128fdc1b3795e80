//! Whose bytes are: units of content (blobs, or groups of them) are claimed by rows of a report, and every
//! byte of a unit counts for exactly one of them.
//!
//! **Invariant:** over all rows, unique and stored bytes come to those of all claimed units; exclusive bytes and
//! those of several rows come to the stored ones.

use serde::Serialize;

/// What is not in the report, though it may have come first or have a part.
pub(super) const HIDDEN: u32 = 0;
const NOBODY: u32 = u32::MAX;
const SEVERAL: u32 = u32::MAX - 1;

/// Bytes of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// What it holds.
    pub raw: u64,
    /// What it takes.
    pub stored: u64,
}

/// What a row of a report comes to, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// File content, as often as images show it.
    pub content_bytes: u64,
    /// Content that this row was the first to have.
    pub unique_bytes: u64,
    /// The same as stored.
    pub stored_bytes: u64,
    /// Stored bytes that only this row has.
    pub exclusive_bytes: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.content_bytes += other.content_bytes;
        self.unique_bytes += other.unique_bytes;
        self.stored_bytes += other.stored_bytes;
        self.exclusive_bytes += other.exclusive_bytes;
    }
}

/// Which row claimed each unit first, and which of them has it alone. Rows are numbers from 1 on.
pub(super) struct Claims {
    first: Vec<u32>,
    alone: Vec<u32>,
    content: Vec<u64>,
}

impl Claims {
    /// No claim on any of so many units.
    pub fn new(units: usize) -> Self {
        Self {
            first: vec![NOBODY; units],
            alone: vec![NOBODY; units],
            content: Vec::new(),
        }
    }

    /// Counts content of a row.
    pub fn count(&mut self, row: u32, bytes: u64) {
        let at = row as usize;
        if self.content.len() <= at {
            self.content.resize(at + 1, 0);
        }
        self.content[at] += bytes;
    }

    /// A row that has a unit. Who comes first is the first to have it.
    pub fn claim(&mut self, row: u32, unit: usize) {
        self.claim_within(row, unit, |_, _| SEVERAL);
    }

    /// The same where two rows have one in common that they are parts of.
    pub fn claim_within(&mut self, row: u32, unit: usize, common: impl Fn(u32, u32) -> u32) {
        let (first, alone) = (&mut self.first[unit], &mut self.alone[unit]);
        if *first == NOBODY {
            (*first, *alone) = (row, row);
        } else if *alone != row && *alone != SEVERAL {
            *alone = common(*alone, row);
        }
    }

    /// What each of so many rows comes to, and stored bytes that several of them have.
    pub fn figures(&self, rows: usize, size: impl Fn(usize) -> Unit) -> (Vec<Figures>, u64) {
        let mut out = vec![Figures::default(); rows];
        for (row, bytes) in self.content.iter().enumerate().take(rows) {
            out[row].content_bytes = *bytes;
        }
        let mut several = 0;
        for (unit, (first, alone)) in self.first.iter().zip(&self.alone).enumerate() {
            if *first == NOBODY || *first == HIDDEN {
                continue;
            }
            let Unit { raw, stored } = size(unit);
            out[*first as usize].unique_bytes += raw;
            out[*first as usize].stored_bytes += stored;
            match out.get_mut(*alone as usize) {
                Some(row) => row.exclusive_bytes += stored,
                None => several += stored,
            }
        }
        (out, several)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_counts_for_one_row(
            units in prop::collection::vec((1..9_u64, 1..9_u64), 1..12),
            claims in prop::collection::vec((0..5_u32, any::<prop::sample::Index>()), 0..60),
        ) {
            let mut table = Claims::new(units.len());
            let mut seen = vec![Vec::new(); units.len()];
            for (row, unit) in claims {
                let unit = unit.index(units.len());
                table.claim(row, unit);
                table.count(row, 1);
                seen[unit].push(row);
            }
            let size = |unit: usize| Unit { raw: units[unit].0, stored: units[unit].1 };
            let (rows, several) = table.figures(5, size);
            let claimed = |unit: &usize| seen[*unit].first().is_some_and(|row| *row != HIDDEN);
            let claimed: Vec<usize> = (0..units.len()).filter(claimed).collect();
            let sum = |of: fn(&Figures) -> u64| rows[1..].iter().map(of).sum::<u64>();
            prop_assert_eq!(sum(|row| row.unique_bytes), claimed.iter().map(|unit| units[*unit].0).sum::<u64>());
            let stored: u64 = claimed.iter().map(|unit| units[*unit].1).sum();
            prop_assert_eq!(sum(|row| row.stored_bytes), stored);
            prop_assert_eq!(sum(|row| row.exclusive_bytes) + several, stored);
            for unit in claimed {
                let alone = seen[unit].iter().all(|row| *row == seen[unit][0]);
                prop_assert_eq!(table.alone[unit] != SEVERAL, alone);
            }
        }
    }
}
