//! How the tar of a layer is made of blobs, for another repository.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_layer::{Layer, Limits};
use cairn_model::{BlobId, Digest, LayerId};
use cairn_store::StreamRef;
use serde::{Deserialize, Serialize};

/// Longest manifest or framing of a layer that is shared as blobs: both are read into memory.
const STREAM_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StreamV1 {
    id: [u8; 32],
    list: bool,
    len: u64,
}

/// What an artifact or file says of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RecipeV1 {
    diff_id: [u8; 32],
    layer: [u8; 32],
    tar_bytes: u64,
    entries: u64,
    content_bytes: u64,
    manifest: StreamV1,
    framing: Option<StreamV1>,
}

impl From<&StreamRef> for StreamV1 {
    fn from(stream: &StreamRef) -> Self {
        Self {
            id: *stream.id.as_bytes(),
            list: stream.list,
            len: stream.len,
        }
    }
}

impl StreamV1 {
    fn stream(&self) -> StreamRef {
        StreamRef {
            id: BlobId::from_bytes(self.id),
            list: self.list,
            len: self.len,
        }
    }
}

impl RecipeV1 {
    /// That of a layer; none where its tar is not known, or its description is too long.
    pub fn of(layer: &Layer) -> Option<Self> {
        let recipe = Self {
            diff_id: *layer.diff_id?.as_bytes(),
            layer: *layer.id.as_bytes(),
            tar_bytes: layer.tar_bytes?,
            entries: layer.entries,
            content_bytes: layer.content_bytes,
            manifest: (&layer.manifest).into(),
            framing: layer.framing.as_ref().map(StreamV1::from),
        };
        recipe.is_short().then_some(recipe)
    }

    fn is_short(&self) -> bool {
        let mut streams = std::iter::once(&self.manifest).chain(&self.framing);
        streams.all(|stream| stream.len <= STREAM_BYTES_MAX)
    }

    /// Bytes that different blobs of the layer can have at most, but for the lists of its streams.
    pub fn content_max(&self) -> u64 {
        let framing = self.framing.as_ref().map_or(0, |stream| stream.len);
        self.tar_bytes + self.manifest.len + framing
    }

    /// The layer, if it is within the limits; `Err` says what is wrong with it.
    pub fn layer(&self, limits: &Limits) -> Result<Layer, &'static str> {
        if self.tar_bytes > limits.bytes_max || self.entries > limits.entries_max {
            return Err("the layer is larger than allowed");
        }
        if !self.is_short() {
            return Err("the description of the layer is too long");
        }
        Ok(Layer {
            id: LayerId::from_bytes(self.layer),
            manifest: self.manifest.stream(),
            framing: self.framing.as_ref().map(StreamV1::stream),
            diff_id: Some(Digest::from_bytes(self.diff_id)),
            tar_bytes: Some(self.tar_bytes),
            entries: self.entries,
            content_bytes: self.content_bytes,
        })
    }
}

/// Layers that can be put together from blobs. None of it is verified.
#[derive(Debug)]
pub(crate) struct Recipes {
    layers: HashMap<Digest, Layer>,
    rebuilt: AtomicUsize,
}

impl Recipes {
    /// Of these layers, by diff id.
    pub fn new(layers: HashMap<Digest, Layer>) -> Self {
        Self {
            layers,
            rebuilt: AtomicUsize::new(0),
        }
    }

    /// The layer of this diff id.
    pub fn get(&self, diff_id: &Digest) -> Option<&Layer> {
        self.layers.get(diff_id)
    }

    /// Notes that one was put together, and found right.
    pub fn count(&self) {
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    pub fn rebuilt(&self) -> usize {
        self.rebuilt.load(Ordering::Relaxed)
    }
}
