//! Which blobs the tar of a layer is made of.

use std::collections::HashSet;

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind};
use cairn_store::Store;

use crate::error::Result;

/// The blobs of a layer, each once, in the order in which they are needed: manifest, framing, contents.
pub(crate) fn blobs_of(store: &Store, layer: &Layer) -> Result<Vec<BlobId>> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    let mut add = |id: BlobId| {
        if seen.insert(id) {
            out.push(id);
        }
    };
    for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
        store.stream_blobs(stream)?.into_iter().for_each(&mut add);
    }
    for entry in layer.read_entries(store)? {
        if let Kind::File(content) = &entry.kind {
            content.blobs().for_each(|(id, _)| add(id));
        }
    }
    Ok(out)
}
