//! The tree of layers, for a view to be made of.

use std::cell::Cell;

use cairn_layer::{Layer, Tree};
use cairn_model::TreeId;
use cairn_view::{Over, Small, Source};

use super::Views;
use crate::error::{Error, Result};
use crate::trees::{ReadLayer, trees_up_to};

/// Layers, lowest first.
pub(super) struct Layers<'a> {
    pub views: Views<'a>,
    pub layers: &'a [Layer],
    /// One of them that was read already.
    pub read: Cell<Option<ReadLayer>>,
}

impl Source for Layers<'_> {
    type Error = Error;

    fn tree(&self) -> Result<Tree> {
        self.views.repo.tree_after(self.layers, self.read.take())
    }

    /// Over the view of the nearest tree below, by as few layers as can be.
    fn small(
        &self,
        over: &dyn Fn(&TreeId) -> cairn_view::Result<Option<Over>>,
    ) -> Result<Option<(Over, Small)>> {
        let mut trees = trees_up_to(self.layers);
        trees.pop();
        // The tree of no layers has nothing to lie over.
        let nearest = trees.iter().skip(1).rev();
        let Some(found) = nearest.map(over).find_map(Result::transpose).transpose()? else {
            return Ok(None);
        };
        let Some(count) = trees.iter().position(|tree| *tree == found.base) else {
            return Ok(None);
        };
        let changed = &self.layers[count..];
        if changed.iter().map(|layer| layer.entries).sum::<u64>() > found.entries_max {
            return Ok(None);
        }
        let root = self.views.root_meta(self.layers)?;
        self.views.repo.store.db().release();
        let known = self.read.take();
        let read = |layer: &Layer| match &known {
            Some((id, entries)) if *id == layer.id => Ok(entries.clone()),
            _ => Ok(layer.read_entries(&self.views.repo.store)?),
        };
        let changed = changed.iter().map(read).collect::<Result<Vec<_>>>()?;
        self.read.set(known);
        // What a record says of a layer that came from elsewhere need not be so.
        let count: u64 = changed.iter().map(|entries| entries.len() as u64).sum();
        if count > found.entries_max {
            return Ok(None);
        }
        Ok(Small::new(root, &changed).map(|small| (found, small)))
    }
}
