//! Which images keep what: bytes by the set of images without which nothing needs them.

use std::collections::HashMap;

use serde::Serialize;

/// Bytes that nothing needs once all images of a set are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeptBy {
    /// The images, by their places in the list of images.
    pub images: Vec<u32>,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes as stored, without headers.
    pub stored_bytes: u64,
}

/// Who needs a holder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Needs {
    /// These images, by number and in order; nobody if there are none.
    Images(Vec<u32>),
    /// Something that stays whatever images are removed.
    Always,
}

impl Needs {
    fn and(&self, other: &Self) -> Self {
        let (Self::Images(a), Self::Images(b)) = (self, other) else {
            return Self::Always;
        };
        let mut both: Vec<u32> = a.iter().chain(b).copied().collect();
        both.sort_unstable();
        both.dedup();
        Self::Images(both)
    }
}

/// Sets of images, each once, and what comes of joining two.
pub(super) struct Sets {
    sets: Vec<Needs>,
    numbers: HashMap<Needs, usize>,
    joined: HashMap<(usize, u32), usize>,
}

impl Sets {
    /// With the set of nobody.
    pub fn new() -> Self {
        let mut sets = Self {
            sets: Vec::new(),
            numbers: HashMap::new(),
            joined: HashMap::new(),
        };
        sets.number(Needs::Images(Vec::new()));
        sets
    }

    fn number(&mut self, needs: Needs) -> usize {
        let next = self.sets.len();
        let number = *self.numbers.entry(needs.clone()).or_insert(next);
        if number == next {
            self.sets.push(needs);
        }
        number
    }

    /// The set with this number and those who need a holder.
    pub fn join(&mut self, set: usize, holder: u32, needs: &Needs) -> usize {
        if let Some(known) = self.joined.get(&(set, holder)) {
            return *known;
        }
        let both = self.sets[set].and(needs);
        let number = self.number(both);
        self.joined.insert((set, holder), number);
        number
    }

    /// The images of a set; none where it stays whatever is removed.
    pub fn images(&self, set: usize) -> Option<&[u32]> {
        match &self.sets[set] {
            Needs::Images(images) => Some(images),
            Needs::Always => None,
        }
    }
}
