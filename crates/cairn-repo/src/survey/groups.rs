//! Views whose rows are made of whole layers: groups of blobs say all that is asked, and no manifest is read.

use std::collections::{HashMap, HashSet};

use super::breakdown::{Breakdown, Rows};
use super::claims::{Claims, HIDDEN, Unit};
use super::files::Shown;
use crate::sharing::Sums;

/// Which rows a layer counts for, and how often for each, by its place. A layer of none is hidden.
pub(super) type Belongs = HashMap<usize, Vec<(String, u64)>>;

/// The view over these layers, in the order in which they claim what they have.
pub(super) fn view(layers: &[Shown<'_>], sums: &Sums<'_>, belongs: &Belongs) -> Breakdown {
    let mut rows: Rows<String> = Rows::default();
    let mut of_holder: HashMap<u32, (usize, Vec<u32>)> = HashMap::new();
    let mut claims = Claims::new(sums.own().len());
    for (
        rank,
        Shown {
            came, is_beside, ..
        },
    ) in layers.iter().enumerate()
    {
        let mut numbers = Vec::new();
        for (name, times) in belongs.get(&came.place).into_iter().flatten() {
            let row = rows.number(name.clone());
            claims.count(row, times * came.layer.content_bytes);
            numbers.push(row);
        }
        if numbers.is_empty() || *is_beside {
            numbers.push(HIDDEN);
        }
        if let Some(holder) = sums.layer(came.layer) {
            let known = of_holder.entry(holder).or_insert((rank, Vec::new()));
            known.1.extend(numbers);
        }
    }
    for group in 0..sums.own().len() {
        let mut holders: Vec<&(usize, Vec<u32>)> = sums
            .content_holders(group)
            .filter_map(|holder| of_holder.get(&holder))
            .collect();
        holders.sort_unstable();
        for row in holders.iter().flat_map(|(_, rows)| rows) {
            claims.claim(*row, group);
        }
    }
    let size = |group: usize| Unit {
        raw: sums.raw(group),
        stored: sums.own()[group].stored,
    };
    rows.view(&claims, size, String::clone)
}

/// Stored bytes that two layers have in common.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// One, by its place in the list of layers.
    pub a: usize,
    /// The other, which comes later there.
    pub b: usize,
    /// Stored bytes of content, manifests and framing that both have.
    pub bytes: u64,
}

/// All pairs of these holders that have something in common.
pub(super) fn pairs(sums: &Sums<'_>, holders: &[Option<u32>]) -> Vec<Pair> {
    let places = holders.iter().enumerate();
    let places: HashMap<u32, usize> = places.filter_map(|(at, h)| Some(((*h)?, at))).collect();
    let mut common: HashMap<(usize, usize), u64> = HashMap::new();
    for (group, sum) in sums
        .own()
        .iter()
        .enumerate()
        .filter(|(_, sum)| sum.stored > 0)
    {
        let once: HashSet<usize> = sums
            .holders(group)
            .filter_map(|h| places.get(&h).copied())
            .collect();
        let mut here: Vec<usize> = once.into_iter().collect();
        here.sort_unstable();
        for (n, a) in here.iter().enumerate() {
            for b in &here[n + 1..] {
                *common.entry((*a, *b)).or_default() += sum.stored;
            }
        }
    }
    let mut pairs: Vec<Pair> = common
        .into_iter()
        .map(|((a, b), bytes)| Pair { a, b, bytes })
        .collect();
    pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.bytes), pair.a, pair.b));
    pairs
}
