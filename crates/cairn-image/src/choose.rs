//! Which images of an archive are taken: one for each name, the best for the platform.

use std::collections::HashMap;

use cairn_model::Digest;

use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::platform::{Platform, Rank};
use crate::source::{Found, LayerSource, PassedOver, SourceImage};

/// What an image competes for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A name.
    Named(String),
    /// The place of an index without a name, by number.
    Index(usize),
    /// None: it stands beside others without a name.
    Loose,
}

/// An image of an archive, and what it would be there for.
pub struct Candidate<L> {
    pub config: ImageConfig,
    /// Digest of its manifest, where it has one that is named so.
    pub manifest: Option<Digest>,
    pub layers: L,
    pub places: Vec<Place>,
    /// How well it fits the platform; `None` where it does not.
    pub rank: Option<Rank>,
    /// True where it is one of several that were made for platforms, so that it must fit.
    pub must_fit: bool,
}

/// All that was found in an archive.
pub struct Finds<L> {
    pub candidates: Vec<Candidate<L>>,
    pub passed_over: Vec<PassedOver>,
    /// Platforms there are images for, beside the one asked for.
    pub others: Vec<String>,
}

impl<L> Default for Finds<L> {
    fn default() -> Self {
        Self {
            candidates: Vec::new(),
            passed_over: Vec::new(),
            others: Vec::new(),
        }
    }
}

impl<L> Finds<L> {
    /// The images to take; `open` finds the layers of each.
    pub fn choose(
        mut self,
        archive: &str,
        platform: &Platform,
        open: impl Fn(&ImageConfig, &L) -> Result<Vec<LayerSource>>,
    ) -> Result<Found> {
        let mut order: Vec<Place> = Vec::new();
        let mut groups: HashMap<Place, Vec<usize>> = HashMap::new();
        for (i, candidate) in self.candidates.iter().enumerate() {
            for place in &candidate.places {
                let group = groups.entry(place.clone()).or_insert_with(|| {
                    order.push(place.clone());
                    Vec::new()
                });
                if group.last() != Some(&i) {
                    group.push(i);
                }
            }
        }
        let mut images: Vec<SourceImage> = Vec::new();
        let mut seen: HashMap<Digest, usize> = HashMap::new();
        for place in order {
            for chosen in self.winners(&place, &groups[&place]) {
                let candidate = &self.candidates[chosen];
                let id = candidate.config.digest();
                // Several descriptors of one image are one image with several names.
                let at = match seen.get(&id) {
                    Some(at) => *at,
                    None => {
                        images.push(SourceImage {
                            names: Vec::new(),
                            layers: open(&candidate.config, &candidate.layers)?,
                            config: candidate.config.clone(),
                            manifest: candidate.manifest,
                        });
                        seen.insert(id, images.len() - 1);
                        images.len() - 1
                    }
                };
                if let Place::Named(name) = &place {
                    images[at].names.push(name.clone());
                }
            }
        }
        if !images.is_empty() {
            return Ok(Found {
                images,
                passed_over: self.passed_over,
            });
        }
        if !self.others.is_empty() {
            self.others.sort();
            self.others.dedup();
            return Err(Error::Platform {
                archive: archive.to_owned(),
                wanted: platform.to_string(),
                present: self.others.join(", "),
            });
        }
        let why = match self.passed_over.first() {
            Some(first) => format!("it contains no image; {}: {}", first.what, first.why),
            None => "it contains no image".to_owned(),
        };
        Err(Error::invalid(archive, why))
    }

    /// The candidates for a place that get it: one, but for loose images.
    fn winners(&mut self, place: &Place, group: &[usize]) -> Vec<usize> {
        let fitting: Vec<usize> = group
            .iter()
            .copied()
            .filter(|i| self.candidates[*i].rank.is_some())
            .collect();
        if fitting.is_empty() {
            // There is nothing to choose from: an image of another platform is wanted as it is.
            if let [only] = *group
                && !self.candidates[only].must_fit
            {
                return vec![only];
            }
            let platforms = group.iter().map(|i| {
                let platform = self.candidates[*i].config.platform();
                platform.to_string()
            });
            self.others.extend(platforms);
            return Vec::new();
        }
        if *place == Place::Loose {
            return fitting;
        }
        // The first of equals.
        let Some(best) = fitting
            .iter()
            .copied()
            .min_by_key(|i| self.candidates[*i].rank)
        else {
            return Vec::new();
        };
        let id = self.candidates[best].config.digest();
        for i in fitting {
            let other = &self.candidates[i];
            if other.rank == self.candidates[best].rank
                && other.config.digest() != id
                && let Place::Named(name) = place
            {
                self.passed_over.push(PassedOver {
                    what: format!("image {}", other.config.digest()),
                    why: format!(
                        "the name {name} is already used by {id} in this archive, for the same platform"
                    ),
                });
            }
        }
        vec![best]
    }
}
