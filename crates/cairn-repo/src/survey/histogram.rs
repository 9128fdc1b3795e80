//! How large things are, and how many have them, in powers of two.

use serde::Serialize;

/// A class of a histogram: what is at least `from` and less than the double of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bar {
    /// 0, or a power of two.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Bars by the power of two.
pub(super) struct Bars([Bar; 65]);

impl Default for Bars {
    fn default() -> Self {
        Self([Bar::default(); 65])
    }
}

impl Bars {
    /// Counts things of this value.
    pub fn add(&mut self, value: u64, count: u64, bytes: u64) {
        let bar = &mut self.0[(u64::BITS - value.leading_zeros()) as usize];
        bar.count += count;
        bar.bytes += bytes;
    }

    /// From the first to the last class that has something.
    pub fn bars(mut self) -> Vec<Bar> {
        for (power, bar) in self.0.iter_mut().enumerate() {
            bar.from = if power == 0 { 0 } else { 1 << (power - 1) };
        }
        let is_there = |bar: &Bar| bar.count > 0;
        let first = self.0.iter().position(is_there);
        let last = self.0.iter().rposition(is_there);
        match (first, last) {
            (Some(first), Some(last)) => self.0[first..=last].to_vec(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_class() {
        let mut bars = Bars::default();
        for value in [0, 1, 2, 3, 4, 7, 8] {
            bars.add(value, 1, value);
        }
        let bars = bars.bars();
        let counts: Vec<(u64, u64, u64)> =
            bars.iter().map(|b| (b.from, b.count, b.bytes)).collect();
        assert_eq!(
            counts,
            [(0, 1, 0), (1, 1, 1), (2, 2, 5), (4, 2, 11), (8, 1, 8)]
        );
        let mut last = Bars::default();
        last.add(u64::MAX, 1, 0);
        assert_eq!(last.bars()[0].from, 1 << 63);
        assert!(Bars::default().bars().is_empty());
    }
}
