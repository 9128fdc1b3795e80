//! Marks what the roots need.

use std::collections::HashSet;

use cairn_layer::Layer;
use cairn_model::{Kind, LayerId};
use cairn_store::StreamRef;
use cairn_store::gc::Marks;

use super::{Gc, Roots};
use crate::error::Result;

/// A layer's row has both: the same entries can come in several tars.
pub(super) type LayerKey = (LayerId, Option<cairn_model::Digest>);

fn key(layer: &Layer) -> LayerKey {
    (layer.id, layer.diff_id)
}

impl Gc<'_> {
    fn mark_stream(&self, marks: &mut Marks, stream: &StreamRef) -> Result<()> {
        for id in self.repo.store.stream_blobs(stream)? {
            marks.mark(&id)?;
        }
        Ok(())
    }

    /// Marks everything of a layer.
    fn mark_layer(&self, marks: &mut Marks, layer: &Layer) -> Result<()> {
        self.mark_stream(marks, &layer.manifest)?;
        if let Some(framing) = &layer.framing {
            self.mark_stream(marks, framing)?;
        }
        for entry in layer.read_entries(&self.repo.store)? {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            for (id, _) in content.blobs() {
                marks.mark(&id)?;
            }
        }
        Ok(())
    }

    /// Marks all that the roots need, but for layers that are `done`.
    pub(super) fn mark_roots(
        &self,
        marks: &mut Marks,
        roots: &Roots,
        done: &mut HashSet<LayerKey>,
    ) -> Result<()> {
        for layer in &roots.layers {
            if done.insert(key(layer)) {
                self.mark_layer(marks, layer)?;
            }
        }
        roots
            .documents
            .iter()
            .try_for_each(|document| self.mark_stream(marks, document))
    }
}
