//! What keeps blobs, at one moment.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{LayerId, SnapshotKey};
use cairn_snapshot::{Snapshot, graph};
use cairn_store::{Rows, StreamRef};

use crate::error::{Error, Result};
use crate::rows;

/// All that keeps blobs.
pub(crate) struct Roots {
    pub snapshots: Vec<Snapshot>,
    by_key: HashMap<SnapshotKey, usize>,
    pub layers: Vec<Layer>,
    pub unreferenced: Vec<Layer>,
    pub documents: Vec<StreamRef>,
}

/// Reads the roots at one moment.
pub(crate) fn roots(rows: &dyn Rows) -> Result<Roots> {
    let snapshots = graph::list(rows)?;
    let wanted: HashSet<LayerId> = snapshots
        .iter()
        .filter_map(|snapshot| snapshot.layer)
        .collect();
    let (layers, unreferenced) = rows::layers(rows)?
        .into_iter()
        .partition(|layer| wanted.contains(&layer.id));
    let documents = rows::images(rows)?
        .into_iter()
        .map(|image| image.config)
        .collect();
    let keys = snapshots.iter().map(|snapshot| snapshot.key.clone());
    Ok(Roots {
        by_key: keys.zip(0..).collect(),
        snapshots,
        layers,
        unreferenced,
        documents,
    })
}

impl Roots {
    /// Takes snapshots away; what only they needed stays among the layers, and is needed by nobody.
    pub fn forget(&mut self, gone: &HashSet<SnapshotKey>) {
        self.snapshots
            .retain(|snapshot| !gone.contains(&snapshot.key));
        let keys = self.snapshots.iter().map(|snapshot| snapshot.key.clone());
        self.by_key = keys.zip(0..).collect();
    }

    /// One snapshot.
    pub fn find(&self, key: &SnapshotKey) -> Option<&Snapshot> {
        self.by_key.get(key).map(|place| &self.snapshots[*place])
    }

    /// A snapshot and those below it, itself first.
    pub fn ancestors(&self, top: Option<&SnapshotKey>) -> Result<Vec<&Snapshot>> {
        let chain = graph::ancestors(top, |key| Ok(self.find(key)));
        Ok(chain.collect::<Result<_, _>>()?)
    }

    /// Layers of a snapshot, lowest first.
    pub fn chain(&self, top: &Snapshot) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for id in self
            .ancestors(Some(&top.key))?
            .iter()
            .filter_map(|s| s.layer)
        {
            let layer = self.layers.iter().find(|layer| layer.id == id);
            layers.push(*layer.ok_or(Error::LayerGone)?);
        }
        layers.reverse();
        Ok(layers)
    }
}
