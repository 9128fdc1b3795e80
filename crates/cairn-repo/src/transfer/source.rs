//! The images of a file as the reader of registries and layouts takes them: with a manifest, and layers that are tars.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use cairn_image::{ImageConfig, Platform, Remote, RemoteBlob, RemoteError, SourceImage};
use cairn_layer::Layer;
use cairn_model::{Class, Digest};
use cairn_store::Store;
use serde_json::json;

use super::format::ImageV1;
use crate::chunks::rebuilt;
use crate::error::{Error, Result};

const TAR: &str = "application/x-tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// One image, whose layers are put together from blobs.
#[derive(Debug)]
struct FromFile {
    name: String,
    store: Store,
    document: Vec<u8>,
    layers: HashMap<Digest, Layer>,
}

/// An image of a file; its digests and diff ids are checked when it is read, as those of any other.
pub fn source(
    store: &Store,
    path: &Path,
    image: ImageV1,
    layers: &HashMap<Digest, Layer>,
    platform: &Platform,
) -> Result<SourceImage> {
    let name = path.display().to_string();
    let config = ImageConfig::parse(image.document.clone())?;
    let mut own = HashMap::new();
    let mut described = Vec::new();
    for diff_id in config.diff_ids() {
        let why = || Error::Invalid(format!("{name}: it does not describe layer {diff_id}"));
        let layer = layers.get(&diff_id).ok_or_else(why)?;
        let size = layer.tar_bytes.unwrap_or_default();
        described.push(json!({"mediaType": TAR, "digest": diff_id.to_string(), "size": size}));
        own.insert(diff_id, *layer);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": CONFIG, "digest": config.digest().to_string(), "size": image.document.len()},
        "layers": described,
    });
    let from: Arc<dyn Remote> = Arc::new(FromFile {
        name: name.clone(),
        store: store.clone(),
        document: image.document,
        layers: own,
    });
    let found = cairn_image::remote(&from, manifest.to_string().as_bytes(), None, platform)?;
    let mut images = found.images.into_iter();
    let none = || Error::Invalid(format!("{name}: it has something that is no image"));
    let mut source = images.next().ok_or_else(none)?;
    source.names = image.names;
    source.manifest = None;
    Ok(source)
}

impl Remote for FromFile {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        Err(gone(digest))
    }

    fn document(&self, _: &RemoteBlob) -> Result<Vec<u8>, RemoteError> {
        Ok(self.document.clone())
    }

    fn layer(&self, blob: &RemoteBlob) -> Result<Box<dyn Read + Send>, RemoteError> {
        let layer = self.layers.get(&blob.digest);
        let layer = layer.ok_or_else(|| gone(&blob.digest))?;
        rebuilt(&self.store, layer).map_err(|e| RemoteError {
            text: format!("cannot put layer {} together: {e}", blob.digest),
            class: Class::of_io(&e),
        })
    }

    fn reserve(&self, _: &[RemoteBlob]) -> Result<bool, RemoteError> {
        Ok(false)
    }

    fn release(&self, _: bool) {}

    fn forget(&self, _: &RemoteBlob) -> bool {
        false
    }
}

fn gone(digest: &Digest) -> RemoteError {
    RemoteError {
        text: format!("the file does not have {digest}"),
        class: Class::FailedPrecondition,
    }
}
