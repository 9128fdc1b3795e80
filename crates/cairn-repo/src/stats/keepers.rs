//! Which images keep which layers and documents, so that any set of them can be asked about at once.

use std::collections::{HashMap, HashSet};

use cairn_model::{LayerId, SnapshotKey};

use super::forecast::Removals;
use crate::error::Result;
use crate::images::Image;
use crate::import::IMPORTED;

/// By holder: the images that keep it, by their numbers; none where something keeps it that stays when images go.
pub(crate) type Keepers = HashMap<u32, Option<Vec<u32>>>;

impl Removals<'_> {
    /// Why the image cannot be removed alone.
    pub(crate) fn refused(&self, image: &Image) -> Option<String> {
        self.refusal(image, &HashSet::from([image.row.id]))
    }

    /// Who keeps each holder. A removal takes along the snapshots that an import made and nothing else needs, so a
    /// snapshot is kept by the images above it, unless something else is based on it.
    pub(crate) fn keepers(&self) -> Result<Keepers> {
        let mut images: HashMap<&SnapshotKey, Vec<u32>> = HashMap::new();
        for (number, image) in (0..).zip(self.images) {
            for snapshot in self.roots.ancestors(image.row.top.as_ref())? {
                images.entry(&snapshot.key).or_default().push(number);
            }
        }
        let stay = self.staying(&images)?;
        let mut layers: HashMap<LayerId, Option<Vec<u32>>> = HashMap::new();
        for snapshot in &self.roots.snapshots {
            let Some(layer) = snapshot.layer else {
                continue;
            };
            let stays = stay.contains(&snapshot.key);
            let of_snapshot = images.get(&snapshot.key).filter(|_| !stays).cloned();
            let known = layers.entry(layer).or_insert_with(|| Some(Vec::new()));
            *known = known.take().zip(of_snapshot).map(|(a, b)| joined(a, b));
        }
        let mut keepers = Keepers::new();
        for layer in &self.roots.layers {
            let of_layer = layers.get(&layer.id).cloned().flatten();
            if let Some(holder) = self.sums.layer(layer) {
                let known = keepers.entry(holder).or_insert_with(|| Some(Vec::new()));
                *known = known.take().zip(of_layer).map(|(a, b)| joined(a, b));
            }
        }
        for (number, image) in (0..).zip(self.images) {
            if let Some(holder) = self.sums.document(&image.row.config) {
                keepers.insert(holder, Some(vec![number]));
            }
        }
        Ok(keepers)
    }

    /// Snapshots that stay whatever images are removed, and all below them.
    fn staying(&self, images: &HashMap<&SnapshotKey, Vec<u32>>) -> Result<HashSet<&SnapshotKey>> {
        let mut stay = HashSet::new();
        for snapshot in &self.roots.snapshots {
            let goes = images.contains_key(&snapshot.key) && snapshot.labels.contains_key(IMPORTED);
            if goes || stay.contains(&snapshot.key) {
                continue;
            }
            for below in self.roots.ancestors(Some(&snapshot.key))? {
                stay.insert(&below.key);
            }
        }
        Ok(stay)
    }
}

fn joined(mut a: Vec<u32>, b: Vec<u32>) -> Vec<u32> {
    a.extend(b);
    a.sort_unstable();
    a.dedup();
    a
}
