//! What only those who leave need: diff ids of layers that were made here, and the document that says them.
//!
//! An image that was made here keeps its id, which is that of the document as it was made (`docs/design/0006`).

use std::io::{self, Write};

use cairn_image::ImageConfig;
use cairn_layer::{Layer, export_layer};
use cairn_model::{Class, Digest, LayerName, Watch};
use cairn_store::{OWN_NAMES, Txn};

use super::{Image, Images};
use crate::error::{Error, Result};
use crate::{origins, rows};

impl Image {
    /// The document as others get it, if all that it says of layers is known.
    pub fn outside(&self) -> Result<Option<ImageConfig>> {
        if !self.config.layers().iter().any(LayerName::is_own) {
            return Ok(Some(self.config.clone()));
        }
        let names = self.layers.iter().map(|layer| layer.diff_id);
        let names: Option<Vec<LayerName>> = names.map(|id| id.map(LayerName::Tar)).collect();
        Ok(names
            .map(|names| self.config.with_names(&names))
            .transpose()?)
    }

    /// The id that the image has elsewhere, the digest of its document as others get it; none where nobody has asked
    /// for the diff ids of its layers yet.
    pub fn digest(&self) -> Option<Digest> {
        let outside = self.outside().ok().flatten()?;
        Some(outside.digest())
    }
}

impl Images<'_> {
    /// The image with the document that others get and the diff ids of all layers. What was not asked for before is
    /// read once, and kept.
    pub(crate) fn settled(&self, mut image: Image) -> Result<Image> {
        let mut made: Vec<Layer> = Vec::new();
        for layer in &mut image.layers {
            if layer.diff_id.is_none() {
                let done = made.iter().find(|done| done.id == layer.id);
                *layer = match done {
                    Some(done) => *done,
                    None => self.repo.with_diff_id(layer)?,
                };
                made.push(*layer);
            }
        }
        let config = image.outside()?.ok_or(Error::LayerGone)?;
        let digest = config.digest();
        if digest != image.row.id {
            self.keep_diff_ids(&made, Some((&digest, &image.row.id)))?;
        }
        image.config = config;
        Ok(image)
    }

    /// The same of several.
    pub(crate) fn all_settled(&self, images: &[Image]) -> Result<Vec<Image>> {
        let settle = |image: &Image| self.settled(image.clone());
        images.iter().map(settle).collect()
    }

    /// Notes diff ids of layers, and that a digest leads to an image from now on. It only saves work: whoever may only
    /// read goes without, and so does one whose disk is full, for whom what goes out may be what makes room.
    pub(crate) fn keep_diff_ids(
        &self,
        layers: &[Layer],
        digest: Option<(&Digest, &Digest)>,
    ) -> Result<()> {
        match self.write_diff_ids(layers, digest) {
            Err(e) if e.class() == Class::Unavailable => {
                tracing::debug!(error = %e, "what was found is not kept");
                Ok(())
            }
            kept => kept,
        }
    }

    fn write_diff_ids(&self, layers: &[Layer], digest: Option<(&Digest, &Digest)>) -> Result<()> {
        let db = self.repo.store.db();
        let leads = |(digest, id): (&Digest, &Digest)| -> Result<bool> {
            let known = db.read(|rows| origins::image(rows, digest))?;
            Ok(known.is_some_and(|known| known.id == *id))
        };
        let is_known = layers.is_empty() && digest.map_or(Ok(true), leads)?;
        if is_known || !cairn_store::can_write(self.repo.store.root()) {
            return Ok(());
        }
        db.write::<_, Error>(|txn: &mut Txn<'_>| {
            for layer in layers {
                // Removed and collected meanwhile, perhaps.
                if rows::twin(txn, layer)?.is_some() {
                    rows::put_layer(txn, layer)?;
                }
            }
            match digest {
                Some((digest, id)) => origins::remember(txn, digest, id),
                None => Ok(()),
            }
        })
    }
}

impl crate::Repo {
    /// Gives the repository the feature that a layer needs whose tar nobody wanted yet.
    pub(crate) fn require_own_names(&self, layer: &Layer) -> Result<()> {
        match layer.diff_id {
            None => Ok(self.store.require(OWN_NAMES)?),
            Some(_) => Ok(()),
        }
    }

    /// The layer with its diff id, for which its tar is made where nobody wanted it before.
    pub(crate) fn with_diff_id(&self, layer: &Layer) -> Result<Layer> {
        if layer.diff_id.is_some() {
            return Ok(*layer);
        }
        let _span = tracing::info_span!("diff_id", layer = %layer.id.short()).entered();
        let (diff_id, bytes) = export_layer(&self.store, layer, &mut Nowhere(self.watch()))?;
        Ok(Layer {
            diff_id: Some(diff_id),
            tar_bytes: Some(bytes),
            ..*layer
        })
    }
}

/// Keeps nothing, and ends where the work is to end. What it gets counts as read by nobody: it is read again to go out.
struct Nowhere<'a>(&'a Watch);

impl Write for Nowhere<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.check()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
