//! What one image, layer or snapshot takes, alone and with others.

use std::collections::{HashMap, HashSet};

use cairn_model::LayerId;

use super::ledger::{BLOB_OVERHEAD, Blob, Ledger, own};
use super::{Share, Stats, content_of};
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;

/// Something that is kept: its name and its layers.
pub(super) type Chain = (String, Vec<LayerId>);

/// What is named and kept: each image with its layers, and each committed snapshot that is the top of
/// a chain no image has.
pub(super) fn chains(roots: &Roots, images: &[Image]) -> Result<Vec<Chain>> {
    let name = |image: &Image| {
        image
            .names
            .first()
            .map_or_else(|| image.row.id.short(), ToString::to_string)
    };
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
    ledger: &mut Ledger,
    stats: &mut Stats,
) {
    let numbers = roots.layers.iter().zip(0..);
    let number: HashMap<LayerId, usize> = numbers.map(|(l, i)| (l.id, i)).collect();
    let blobs_of = |ledger: &Ledger, chain: &[LayerId]| -> HashSet<usize> {
        let layers = chain.iter().filter_map(|layer| number.get(layer));
        layers
            .flat_map(|i| ledger.of_layer[*i].iter().copied())
            .collect()
    };
    for (i, (_, chain)) in chains.iter().enumerate() {
        for place in blobs_of(ledger, chain) {
            own(&mut ledger.blobs[place].image, i as u32);
        }
    }
    for (i, (name, chain)) in chains.iter().enumerate().take(images) {
        let content = chain.iter().map(|l| content_of(&roots.layers, l)).sum();
        let places = blobs_of(ledger, chain);
        let mine = |blob: &Blob| blob.image == i as u32;
        let share = share(ledger, name.clone(), content, places, mine);
        stats.images.push(share);
    }
    let of_layer = |i: usize, name: String, mine: &dyn Fn(&Blob) -> bool| {
        let places = ledger.of_layer[i].iter().copied();
        share(ledger, name, roots.layers[i].content_bytes, places, mine)
    };
    for (i, layer) in roots.layers.iter().enumerate() {
        let name = layer
            .diff_id
            .map_or_else(|| layer.id.to_string(), |diff_id| diff_id.to_string());
        stats
            .layers
            .push(of_layer(i, name, &|blob| blob.layer == i as u32));
    }
    // Two snapshots may have the same layer; then neither frees it alone.
    let mut twins: HashMap<LayerId, u32> = HashMap::new();
    for layer in roots.snapshots.iter().filter_map(|s| s.layer) {
        *twins.entry(layer).or_default() += 1;
    }
    for snapshot in &roots.snapshots {
        let Some((layer, i)) = snapshot.layer.and_then(|l| Some((l, *number.get(&l)?))) else {
            continue;
        };
        let alone = twins[&layer] == 1;
        let mine = |blob: &Blob| blob.layer == i as u32 && alone;
        stats
            .snapshots
            .push(of_layer(i, snapshot.key.to_string(), &mine));
    }
}

fn share(
    ledger: &Ledger,
    name: String,
    content_bytes: u64,
    places: impl IntoIterator<Item = usize>,
    mine: impl Fn(&Blob) -> bool,
) -> Share {
    let mut out = Share {
        name,
        content_bytes,
        ..Share::default()
    };
    for place in places {
        let blob = &ledger.blobs[place];
        if blob.in_base {
            continue;
        }
        let stored = u64::from(blob.stored);
        if mine(blob) {
            out.exclusive_bytes += stored;
            out.freed_bytes += stored + BLOB_OVERHEAD;
        } else {
            out.shared_bytes += stored;
        }
    }
    out
}
