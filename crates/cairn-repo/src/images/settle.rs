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
            match self.keep_settled(&image.row.id, &digest, &made) {
                // It only saves work; what is going out may be what makes room.
                Err(e) if e.class() == Class::Unavailable => {
                    tracing::debug!(error = %e, "the digest is not kept");
                }
                kept => kept?,
            }
        }
        image.config = config;
        Ok(image)
    }

    /// The same of several.
    pub(crate) fn all_settled(&self, images: &[Image]) -> Result<Vec<Image>> {
        let settle = |image: &Image| self.settled(image.clone());
        images.iter().map(settle).collect()
    }

    /// Gives the repository the feature that its documents need, where that was lost.
    pub(crate) fn restore_feature(&self) -> Result<()> {
        let images = self.readable()?;
        let mut names = images.iter().flat_map(|image| image.config.layers());
        match names.any(LayerName::is_own) {
            true => Ok(self.repo.store.require(OWN_NAMES)?),
            false => Ok(()),
        }
    }

    /// Notes diff ids, and that the digest leads to the image from now on. Whoever may only read goes without.
    fn keep_settled(&self, id: &Digest, digest: &Digest, made: &[Layer]) -> Result<()> {
        let db = self.repo.store.db();
        let known = db.read(|rows| origins::image(rows, digest))?;
        let is_known = made.is_empty() && known.is_some_and(|known| known.id == *id);
        if is_known || !cairn_store::can_write(self.repo.store.root()) {
            return Ok(());
        }
        db.write::<_, Error>(|txn: &mut Txn<'_>| {
            for layer in made {
                // Removed and collected meanwhile, perhaps.
                if rows::twin(txn, layer)?.is_some() {
                    rows::put_layer(txn, layer)?;
                }
            }
            origins::remember(txn, digest, id)
        })
    }
}

impl crate::Repo {
    /// The layer with its diff id, for which its tar is made where nobody wanted it before.
    pub(crate) fn with_diff_id(&self, layer: &Layer) -> Result<Layer> {
        if layer.diff_id.is_some() {
            return Ok(*layer);
        }
        let _span = tracing::info_span!("diff_id", layer = %layer.id.short()).entered();
        self.watch().total(layer.tar_bytes.unwrap_or_default());
        let (diff_id, bytes) = export_layer(&self.store, layer, &mut Read(self.watch()))?;
        Ok(Layer {
            diff_id: Some(diff_id),
            tar_bytes: Some(bytes),
            ..*layer
        })
    }
}

/// Keeps nothing, tells how far it is, and ends where the work is to end.
struct Read<'a>(&'a Watch);

impl Write for Read<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.check()?;
        self.0.read(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
