//! Some of the holders of a table.

/// Holders, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Holders(Vec<bool>);

impl Holders {
    /// True where this one is among them.
    pub fn contains(&self, holder: u32) -> bool {
        self.0.get(holder as usize).copied().unwrap_or(false)
    }

    /// Their numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let numbers = (0..).zip(&self.0);
        numbers
            .filter(|(_, is_in)| **is_in)
            .map(|(number, _)| number)
    }
}

impl Extend<u32> for Holders {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, holders: I) {
        for holder in holders {
            let at = holder as usize;
            if at >= self.0.len() {
                self.0.resize(at + 1, false);
            }
            self.0[at] = true;
        }
    }
}

impl FromIterator<u32> for Holders {
    fn from_iter<I: IntoIterator<Item = u32>>(holders: I) -> Self {
        let mut all = Self::default();
        all.extend(holders);
        all
    }
}
