//! The layers that are there, in the order in which they came.

use std::collections::HashMap;

use cairn_layer::Layer;
use cairn_model::{LayerId, Timestamp};

use crate::gc::Roots;

/// A layer.
pub(super) struct Came<'a> {
    pub layer: &'a Layer,
    /// How often images show its content.
    pub times: u64,
    /// When the first snapshot with it was made.
    pub when: Timestamp,
    /// Its place among the layers of the roots.
    pub place: usize,
}

/// All layers, the oldest first; those of one import from the bottom up. `times` is by their places.
pub(super) fn in_order<'a>(roots: &'a Roots, times: &[u64]) -> Vec<Came<'a>> {
    let mut when: HashMap<LayerId, (Timestamp, usize)> = HashMap::new();
    for snapshot in &roots.snapshots {
        let Some(layer) = snapshot.layer else {
            continue;
        };
        let depth = roots
            .ancestors(Some(&snapshot.key))
            .map_or(0, |chain| chain.len());
        let came = (snapshot.created, depth);
        let known = when.entry(layer).or_insert(came);
        *known = came.min(*known);
    }
    let mut layers: Vec<(usize, Came<'_>)> = Vec::with_capacity(roots.layers.len());
    for (place, layer) in roots.layers.iter().enumerate() {
        let (when, depth) = when.get(&layer.id).copied().unwrap_or_default();
        let times = times.get(place).copied().unwrap_or(1);
        layers.push((
            depth,
            Came {
                layer,
                times,
                when,
                place,
            },
        ));
    }
    layers.sort_by_key(|(depth, came)| (came.when, *depth, came.layer.id));
    layers.into_iter().map(|(_, came)| came).collect()
}
