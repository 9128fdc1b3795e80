//! What one image, layer or snapshot takes, alone and with others.

use std::collections::HashMap;

use cairn_layer::Layer;
use cairn_model::LayerId;

use super::chains::{Chain, layer_name};
use super::{Share, Stats};
use crate::gc::Roots;
use crate::sharing::{Holders, Owner, Sum, Sums};

/// Directory and index entry of a blob and its record header, bytes.
const BLOB_OVERHEAD: u64 = 44 + 48 + 16;

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
        let of_layer = holders.entry(layer.id).or_default();
        of_layer.extend(sums.layer(layer));
    }
    let contents = roots.layers.iter();
    let count = Counting {
        contents: contents.map(|l| (l.id, l.content_bytes)).collect(),
        roots,
        sums,
        holders,
    };
    count.images(images, chains, stats);
    let layers = count.layers();
    count.snapshots(&layers, stats);
    let named = roots.layers.iter().zip(&layers);
    stats.layers = named
        .map(|(layer, own)| own.share(layer_name(layer), layer, true))
        .collect();
}

/// What the counting of all kinds needs.
struct Counting<'a> {
    roots: &'a Roots,
    sums: &'a Sums<'a>,
    /// Holders that each layer is: the same entries may be those of several tars.
    holders: HashMap<LayerId, Vec<u32>>,
    contents: HashMap<LayerId, u64>,
}

/// What a layer has, and what of it nobody else has.
#[derive(Clone, Copy, Default)]
struct Own {
    all: Sum,
    alone: Sum,
}

impl Own {
    fn share(self, name: String, layer: &Layer, is_alone: bool) -> Share {
        let alone = match is_alone {
            true => self.alone,
            false => Sum::default(),
        };
        share(name, layer.content_bytes, self.all, alone)
    }
}

impl Counting<'_> {
    fn of_chain(&self, chain: &[LayerId]) -> Holders {
        let layers = chain.iter().filter_map(|id| self.holders.get(id));
        layers.flatten().copied().collect()
    }

    /// Whose each holder is, among the chains. Documents own nothing: they are of images, which are counted by
    /// their layers.
    fn chain_of(&self, chains: &[Chain]) -> HashMap<u32, Owner> {
        let mut owners: HashMap<u32, Owner> = HashMap::new();
        for (number, (_, chain)) in chains.iter().enumerate() {
            for holder in self.of_chain(chain).iter() {
                let owner = owners.entry(holder).or_insert(Owner::Nobody);
                *owner = owner.and(Owner::One(number as u32));
            }
        }
        owners
    }

    fn images(&self, images: usize, chains: &[Chain], stats: &mut Stats) {
        let owners = self.chain_of(chains);
        let whose = |holder| owners.get(&holder).copied().unwrap_or(Owner::Nobody);
        let exclusive = by_owner(self.sums, &self.sums.owners(whose));
        for (number, (name, chain)) in chains.iter().enumerate().take(images) {
            let contents = chain.iter().filter_map(|id| self.contents.get(id));
            let content = contents.sum();
            let held = self.sums.held_by(&self.of_chain(chain));
            let all = self.sums.sum_of(|group| held[group]);
            let own = exclusive.get(&(number as u32)).copied().unwrap_or_default();
            stats.images.push(share(name.clone(), content, all, own));
        }
    }

    /// What each layer has, in their order.
    fn layers(&self) -> Vec<Own> {
        let layers: Holders = self.holders.values().flatten().copied().collect();
        let whose = |holder| match layers.contains(holder) {
            true => Owner::One(holder),
            false => Owner::Nobody,
        };
        let alone = by_owner(self.sums, &self.sums.owners(whose));
        let all = self.sums.of_holders();
        let own = |number: u32| Own {
            all: all.get(number as usize).copied().unwrap_or_default(),
            alone: alone.get(&number).copied().unwrap_or_default(),
        };
        let numbers = self.roots.layers.iter().map(|layer| self.sums.layer(layer));
        numbers.map(|n| n.map(own).unwrap_or_default()).collect()
    }

    /// Two snapshots may have the same layer; then neither frees it alone.
    fn snapshots(&self, layers: &[Own], stats: &mut Stats) {
        let mut users: HashMap<LayerId, u32> = HashMap::new();
        for layer in self.roots.snapshots.iter().filter_map(|s| s.layer) {
            *users.entry(layer).or_default() += 1;
        }
        let known = self.roots.layers.iter().zip(layers);
        let known: HashMap<LayerId, _> = known.map(|(l, own)| (l.id, (l, own))).collect();
        for snapshot in &self.roots.snapshots {
            if let Some((layer, own)) = snapshot.layer.and_then(|id| known.get(&id)) {
                let share = own.share(snapshot.key.to_string(), layer, users[&layer.id] == 1);
                stats.snapshots.push(share);
            }
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
