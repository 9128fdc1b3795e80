//! What is named and kept, each with its layers: what content is counted by.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::LayerId;

use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::sharing::{Holders, Sums};

/// Something that is kept: its name and its layers.
pub(crate) type Chain = (String, Vec<LayerId>);

/// The name that an image has in a report.
pub(crate) fn name(image: &Image) -> String {
    let first = image.names.first();
    first.map_or_else(|| image.row.id.short(), ToString::to_string)
}

/// The name that a layer has in a report.
pub(crate) fn layer_name(layer: &Layer) -> String {
    let diff_id = layer.diff_id.map(|id| id.to_string());
    diff_id.unwrap_or_else(|| layer.id.to_string())
}

/// What is named and kept: each image with its layers, and each committed snapshot that is the top of
/// a chain no image has.
pub(crate) fn chains(roots: &Roots, images: &[Image]) -> Result<Vec<Chain>> {
    let mut out: Vec<Chain> = images
        .iter()
        .map(|image| (name(image), image.layers.iter().map(|l| l.id).collect()))
        .collect();
    let committed = || roots.snapshots.iter().filter(|s| s.layer.is_some());
    let parents: HashSet<_> = committed().filter_map(|s| s.parent.as_ref()).collect();
    let tops: HashSet<_> = images
        .iter()
        .filter_map(|image| image.row.top.as_ref())
        .collect();
    for snapshot in committed() {
        let key = &snapshot.key;
        if !parents.contains(key) && !tops.contains(key) {
            let chain = roots.ancestors(Some(key))?;
            let layers = chain.iter().filter_map(|s| s.layer).collect();
            out.push((key.to_string(), layers));
        }
    }
    Ok(out)
}

/// Chains as holders, and how often each layer counts. A layer that is in no chain, since only removed images had
/// it, counts once, like a chain of its own.
pub(crate) struct Chained {
    /// Holders of each chain, then of each layer that is in none.
    pub holders: Vec<Holders>,
    /// How often each layer of the roots counts, in their order.
    pub times: Vec<u64>,
    /// Content, each layer as often as it counts.
    pub logical: u64,
    /// The same of zeros that no blob holds.
    pub holes: u64,
    /// Content, each layer once.
    pub once: u64,
}

impl Chained {
    /// Counts the layers of these chains.
    pub fn new(roots: &Roots, chains: &[Chain], sums: &Sums<'_>) -> Self {
        let mut left: HashMap<LayerId, u64> = HashMap::new();
        for id in chains.iter().flat_map(|(_, layers)| layers) {
            *left.entry(*id).or_default() += 1;
        }
        let mut of_id: HashMap<LayerId, Vec<u32>> = HashMap::new();
        let mut holders = Vec::new();
        let mut rows: HashMap<LayerId, u64> = HashMap::new();
        for layer in &roots.layers {
            *rows.entry(layer.id).or_default() += 1;
            let number = sums.layer(layer);
            of_id.entry(layer.id).or_default().extend(number);
            if !left.contains_key(&layer.id) {
                holders.push(number.into_iter().collect());
            }
        }
        let of_chain = |(_, layers): &Chain| -> Holders {
            let known = layers.iter().filter_map(|id| of_id.get(id));
            known.flatten().copied().collect()
        };
        let mut out = Self {
            holders: chains.iter().map(of_chain).chain(holders).collect(),
            times: Vec::new(),
            logical: 0,
            holes: 0,
            once: 0,
        };
        for layer in &roots.layers {
            // The same entries may be the layers of two tars, which share what counts of them.
            let of_others = rows.remove(&layer.id).map_or(0, |rows| rows - 1);
            let in_chains = left.remove(&layer.id).unwrap_or(1);
            let times = in_chains.saturating_sub(of_others).max(1);
            let holes = sums.layer(layer).map_or(0, |number| sums.holes(number));
            out.times.push(times);
            out.logical += times * layer.content_bytes;
            out.holes += times * holes;
            out.once += layer.content_bytes;
        }
        out
    }
}
