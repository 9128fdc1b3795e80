//! What one image, layer or snapshot takes, alone and with others.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::LayerId;

use super::{Share, Stats, content_of};
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::sharing::{Owner, Sum, Sums};

/// Directory and index entry of a blob and its record header, bytes.
const BLOB_OVERHEAD: u64 = 44 + 48 + 16;

/// Something that is kept: its name and its layers.
pub(super) type Chain = (String, Vec<LayerId>);

/// The name that an image has in a report.
pub(super) fn name(image: &Image) -> String {
    let first = image.names.first();
    first.map_or_else(|| image.row.id.short(), ToString::to_string)
}

/// What is named and kept: each image with its layers, and each committed snapshot that is the top of
/// a chain no image has.
pub(super) fn chains(roots: &Roots, images: &[Image]) -> Result<Vec<Chain>> {
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

/// Counts what each takes; the first `images` chains are those of images.
pub(super) fn count(
    roots: &Roots,
    images: usize,
    chains: &[Chain],
    sums: &Sums<'_>,
    stats: &mut Stats,
) {
    let mut holders: HashMap<LayerId, Vec<u32>> = HashMap::new();
    for layer in &roots.layers {
        holders
            .entry(layer.id)
            .or_default()
            .extend(sums.layer(layer));
    }
    let of_chain = |chain: &[LayerId]| -> HashSet<u32> {
        let layers = chain.iter().filter_map(|id| holders.get(id));
        layers.flatten().copied().collect()
    };
    // Documents own nothing: they are of images, which are counted by their layers.
    let mut chain_of: HashMap<u32, Owner> = HashMap::new();
    for (number, (_, chain)) in chains.iter().enumerate() {
        for holder in of_chain(chain) {
            let owner = chain_of.entry(holder).or_insert(Owner::Nobody);
            *owner = owner.and(Owner::One(number as u32));
        }
    }
    let by_chain = sums.owners(|holder| chain_of.get(&holder).copied().unwrap_or(Owner::Nobody));
    let exclusive = by_owner(sums, &by_chain);
    for (number, (name, chain)) in chains.iter().enumerate().take(images) {
        let content = chain.iter().map(|l| content_of(&roots.layers, l)).sum();
        let held = sums.held_by(&of_chain(chain));
        let all = sums.sum_of(|group| held[group]);
        let own = exclusive.get(&(number as u32)).copied().unwrap_or_default();
        stats.images.push(share(name.clone(), content, all, own));
    }
    let layers: HashSet<u32> = holders.values().flatten().copied().collect();
    let by_layer = sums.owners(|holder| match layers.contains(&holder) {
        true => Owner::One(holder),
        false => Owner::Nobody,
    });
    let (all, exclusive) = (sums.of_holders(), by_owner(sums, &by_layer));
    let of_layer = |name: String, layer: &Layer, alone: bool| {
        let number = sums.layer(layer);
        let all = number.and_then(|n| all.get(n as usize)).copied();
        let own = number
            .filter(|_| alone)
            .and_then(|n| exclusive.get(&n))
            .copied();
        share(
            name,
            layer.content_bytes,
            all.unwrap_or_default(),
            own.unwrap_or_default(),
        )
    };
    for layer in &roots.layers {
        let name = layer
            .diff_id
            .map_or_else(|| layer.id.to_string(), |diff_id| diff_id.to_string());
        stats.layers.push(of_layer(name, layer, true));
    }
    // Two snapshots may have the same layer; then neither frees it alone.
    let mut twins: HashMap<LayerId, u32> = HashMap::new();
    for layer in roots.snapshots.iter().filter_map(|s| s.layer) {
        *twins.entry(layer).or_default() += 1;
    }
    let layers: HashMap<LayerId, &Layer> = roots.layers.iter().map(|l| (l.id, l)).collect();
    for snapshot in &roots.snapshots {
        if let Some(layer) = snapshot.layer.and_then(|id| layers.get(&id)) {
            let alone = twins[&layer.id] == 1;
            let share = of_layer(snapshot.key.to_string(), layer, alone);
            stats.snapshots.push(share);
        }
    }
}

/// What each owner has alone.
fn by_owner(sums: &Sums<'_>, owners: &[Owner]) -> HashMap<u32, Sum> {
    let mut out: HashMap<u32, Sum> = HashMap::new();
    for (owner, sum) in owners.iter().zip(sums.own()) {
        if let Owner::One(number) = owner {
            *out.entry(*number).or_default() += *sum;
        }
    }
    out
}

fn share(name: String, content_bytes: u64, all: Sum, own: Sum) -> Share {
    Share {
        name,
        content_bytes,
        exclusive_bytes: own.stored,
        shared_bytes: all.stored - own.stored,
        freed_bytes: own.stored + own.blobs * BLOB_OVERHEAD,
    }
}
