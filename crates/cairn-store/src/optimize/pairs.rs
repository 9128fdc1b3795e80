//! Which blob may be stored as the difference from which.
//!
//! **Invariant:** what others are differences from is none itself, so that reading a blob takes two at most. A blob
//! that was offered to another, or is what others are differences from already, is never made one; a blob that is one
//! is never offered.

use std::collections::{HashMap, HashSet};

use cairn_model::BlobId;

use super::sketch::Sketch;
use crate::error::Result;
use crate::gc::Marks;
use crate::index::Index;

/// Blobs of which sketches are kept in memory, about 100 bytes each.
const SKETCHED_MAX: usize = 1 << 20;
/// Blobs that one is held against, at most.
const OFFERED_MAX: usize = 6;

/// What is known of the blobs that were looked at.
pub(super) struct Pairs {
    /// Blobs that others are, or may become, differences from.
    references: HashSet<BlobId>,
    /// Blobs that became differences, and from which.
    differences: HashMap<BlobId, BlobId>,
    by_feature: HashMap<u64, u32>,
    sketched: Vec<BlobId>,
}

impl Pairs {
    /// Nothing known.
    pub fn new() -> Self {
        Self {
            references: HashSet::new(),
            differences: HashMap::new(),
            by_feature: HashMap::new(),
            sketched: Vec::new(),
        }
    }

    /// Gets to know what blobs of an index are differences from.
    pub fn learn(&mut self, index: &Index) -> Result<()> {
        for segment in index.segments() {
            self.references.extend(segment.references()?);
        }
        Ok(())
    }

    /// Blobs that this one may become the difference from: of those that somebody thinks of, and then of those that
    /// resemble it. They are taken at their word: none of them becomes a difference from now on. In place of one that
    /// is a difference, or was offered something and is `undecided`, comes what it is the difference from or was
    /// offered.
    pub fn offer(
        &mut self,
        id: &BlobId,
        sketch: Option<&Sketch>,
        thought_of: &[BlobId],
        marks: &Marks,
        undecided: &HashMap<BlobId, Vec<BlobId>>,
    ) -> Result<Vec<BlobId>> {
        let mut offered: Vec<BlobId> = Vec::new();
        if self.references.contains(id) {
            return Ok(offered);
        }
        let alike = sketch.iter().flat_map(|sketch| sketch.0);
        let alike = alike.filter_map(|feature| self.by_feature.get(&feature));
        let alike = alike.map(|number| self.sketched[*number as usize]);
        for other in thought_of.iter().copied().chain(alike) {
            let instead = match undecided.get(&other) {
                Some(others) => others.clone(),
                None => self.alone(&other, marks)?.into_iter().collect(),
            };
            for other in instead {
                if offered.len() < OFFERED_MAX && other != *id && !offered.contains(&other) {
                    offered.push(other);
                }
            }
        }
        self.references.extend(&offered);
        Ok(offered)
    }

    /// A blob that is needed and in this repository, or what it is the difference from.
    fn alone(&self, id: &BlobId, marks: &Marks) -> Result<Option<BlobId>> {
        let found = marks.index().find(id)?;
        let before = found.map(|found| found.slot.codec.reference().unwrap_or(*id));
        let alone = self.differences.get(id).copied().or(before);
        match alone {
            Some(alone) if marks.is_marked(&alone)? => Ok(Some(alone)),
            _ => Ok(None),
        }
    }

    /// The blob stays what it is, and others that resemble it may become differences from it.
    pub fn stays(&mut self, id: BlobId, sketch: Option<&Sketch>) {
        let Some(sketch) = sketch.filter(|_| self.sketched.len() < SKETCHED_MAX) else {
            return;
        };
        let number = self.sketched.len() as u32;
        self.sketched.push(id);
        // The first to come stays: what resembles both becomes a difference from the same.
        for feature in sketch.0 {
            self.by_feature.entry(feature).or_insert(number);
        }
    }

    /// The blob became the difference from another.
    pub fn differs(&mut self, id: BlobId, from: BlobId) {
        self.differences.insert(id, from);
    }
}
