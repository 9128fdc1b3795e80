//! What only those who leave need: diff ids of layers that were made here, and the document that says them.
//!
//! An image that was made here keeps its id, which is that of the document as it was made (`docs/design/0006`).

use std::io::{self, Write};

use cairn_image::ImageConfig;
use cairn_layer::{Layer, export_layer};
use cairn_model::{Class, LayerName, Watch};
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
}

impl Images<'_> {
    /// The image with the document that others get and the diff ids of all layers. What was not asked for before is
    /// read once, and kept.
    pub(crate) fn settled(&self, mut image: Image) -> Result<Image> {
        for layer in &mut image.layers {
            *layer = self.repo.with_diff_id(layer)?;
        }
        let config = image.outside()?.ok_or(Error::LayerGone)?;
        let (id, digest) = (image.row.id, config.digest());
        if digest != id {
            let db = self.repo.store.db();
            let known = db.read(|rows| origins::image(rows, &digest))?;
            if known.is_none_or(|known| known.id != id) {
                self.repo
                    .note(&|txn| origins::remember(txn, &digest, &id))?;
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
}

impl crate::Repo {
    /// Gives the repository the feature that a layer needs whose tar nobody wanted yet.
    pub(crate) fn require_own_names(&self, layer: &Layer) -> Result<()> {
        match layer.diff_id {
            None => Ok(self.store.require(OWN_NAMES)?),
            Some(_) => Ok(()),
        }
    }

    /// The layer with its diff id. Where nobody wanted its tar before, that is made, and the diff id kept.
    pub(crate) fn with_diff_id(&self, layer: &Layer) -> Result<Layer> {
        if layer.diff_id.is_some() {
            return Ok(*layer);
        }
        // Somebody may have asked since it was looked up, or for another image.
        let twin = self.store.db().read(|rows| rows::twin(rows, layer))?;
        if let Some(known) = twin.filter(|twin| twin.diff_id.is_some()) {
            return Ok(known);
        }
        let _span = tracing::info_span!("diff_id", layer = %layer.id.short()).entered();
        let (diff_id, bytes) = export_layer(&self.store, layer, &mut Nowhere(self.watch()))?;
        let known = Layer {
            diff_id: Some(diff_id),
            tar_bytes: Some(bytes),
            ..*layer
        };
        self.note(&|txn| match rows::twin(txn, &known)? {
            Some(_) => rows::put_layer(txn, &known),
            // It never had a row, or was removed and collected meanwhile.
            None => Ok(()),
        })?;
        Ok(known)
    }

    /// Writes what only saves work: whoever may only read goes without, and so does one whose disk is full, for whom what goes
    /// out may be what makes room.
    fn note(&self, write: &dyn Fn(&mut Txn<'_>) -> Result<()>) -> Result<()> {
        if !cairn_store::can_write(self.store.root()) {
            return Ok(());
        }
        match self.store.db().write(write) {
            Err(e) if e.class() == Class::Unavailable => {
                tracing::debug!(error = %e, "what was found is not kept");
                Ok(())
            }
            noted => noted,
        }
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
