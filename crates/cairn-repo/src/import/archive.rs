//! Images of an archive: all of them, or none.

use std::collections::HashMap;

use cairn_image::{Compression, LayerSource, SourceImage};
use cairn_layer::{Layer, Tree};
use cairn_model::{Digest, ImageRef, Transfer, TransferState};
use cairn_store::{Ingest, IngestStats, put_stream};

use super::layers::NewLayer;
use super::names::Names;
use super::publish::Ready;
use super::{Import, Imported};
use crate::error::{Error, Result};
use crate::forms::Form;
use crate::rows;

const TRIES: usize = 3;

impl Import<'_> {
    /// Imports all images of an archive, or none.
    pub(super) fn images(&self, images: &[SourceImage]) -> Result<Vec<Imported>> {
        let names: Vec<Names> = images.iter().map(|image| self.names(image)).collect();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_images(images, &names) {
                Err(Error::LayerGone) if tries < TRIES => {}
                done => return done,
            }
        }
    }

    /// Names that an image is to have.
    pub(super) fn names(&self, image: &SourceImage) -> Names {
        match &self.options.name {
            Some(name) => Names {
                valid: vec![name.clone()],
                left_out: Vec::new(),
            },
            None => Names::of(&image.names),
        }
    }

    fn try_images(&self, images: &[SourceImage], names: &[Names]) -> Result<Vec<Imported>> {
        let ingest = self.repo.store.ingest()?;
        let mut fresh = HashMap::new();
        let mut ready = Vec::new();
        for (image, names) in images.iter().zip(names) {
            let before = ingest.stats();
            let valid = &names.valid;
            let mut image = self.read_image(&ingest, image, valid, &mut fresh)?;
            image.stats = ingest.stats().since(&before);
            image.names_left_out.clone_from(&names.left_out);
            ready.push(image);
        }
        self.repo.publish_images(ingest, ready)
    }

    /// The layers of an image, all of them there. What is new is put over what is below it, so that a layer that
    /// cannot be merged fails here and not at the first mount.
    fn merged(
        &self,
        title: &str,
        diff_ids: &[Digest],
        known: Vec<Option<Layer>>,
        fresh: &HashMap<Digest, NewLayer>,
    ) -> Result<Vec<Layer>> {
        let mut tree = Tree::new();
        let check = diff_ids.iter().any(|id| fresh.contains_key(id));
        let mut layers = Vec::new();
        for (number, (id, known)) in diff_ids.iter().zip(known).enumerate() {
            let merged = match (fresh.get(id), known) {
                (Some(new), _) => {
                    layers.push(new.layer);
                    tree.apply(&new.entries)
                }
                (None, Some(known)) => {
                    layers.push(known);
                    if !check {
                        continue;
                    }
                    tree.apply(&known.read_entries(&self.repo.store)?)
                }
                (None, None) => return Err(Error::LayerGone),
            };
            merged.map_err(|e| Error::InLayer {
                image: title.to_owned(),
                layer: format!("{} ({id})", number + 1),
                source: Box::new(e.into()),
            })?;
        }
        Ok(layers)
    }

    /// The layers of these diff ids that are there and whole.
    pub(super) fn present(&self, diff_ids: &[Digest]) -> Result<Vec<Option<Layer>>> {
        let found = self.repo.store.db().read(|rows| {
            let layer = |id| rows::layer_of_diff(rows, id);
            diff_ids.iter().map(layer).collect::<Result<Vec<_>>>()
        })?;
        // A layer with a blob missing is read again, which heals it.
        let whole = |layer: Option<Layer>| {
            layer.filter(|layer| !self.options.read_all && self.repo.is_whole(layer))
        };
        Ok(found.into_iter().map(whole).collect())
    }

    /// Tells which blobs of a registry are not fetched.
    fn tell_present(&self, image: &SourceImage, known: &[Option<Layer>]) {
        let pairs = image.layers.iter().zip(known);
        let present = pairs.filter(|(_, known)| known.is_some());
        for blob in present.filter_map(|(layer, _)| Some(layer.remote_blob()?.0)) {
            self.repo.watch().transfer(&Transfer {
                digest: blob.digest,
                bytes: blob.bytes,
                total: blob.bytes,
                state: TransferState::Present,
            });
        }
    }

    /// Reads what is not there of an image; `fresh` has the layers that this import read before.
    pub(super) fn read_image(
        &self,
        ingest: &Ingest,
        image: &SourceImage,
        names: &[ImageRef],
        fresh: &mut HashMap<Digest, NewLayer>,
    ) -> Result<Ready> {
        let diff_ids = image.config.diff_ids();
        let title = names
            .first()
            .map_or_else(|| image.config.digest().to_string(), ImageRef::to_string);
        let mut present = self.present(&diff_ids)?;
        if LayerSource::reserve(&missing(image, &present))? {
            // Another pull had them meanwhile.
            present = self.present(&diff_ids)?;
        }
        let relied_on: Vec<Layer> = present.iter().flatten().copied().collect();
        let known: Vec<Option<Layer>> = diff_ids
            .iter()
            .zip(present)
            .map(|(id, present)| present.or_else(|| fresh.get(id).map(|new| new.layer)))
            .collect();
        let layers_present = known.iter().flatten().count();
        self.tell_present(image, &known);
        let new = self.read_layers(ingest, image, &known, &title)?;
        let mut forms = Vec::new();
        for ((id, new), source) in diff_ids.iter().zip(new).zip(&image.layers) {
            if let Some(new) = new {
                let form = form_of(source).filter(|_| new.is_read);
                forms.extend(form.map(|form| (*id, form)));
                fresh.insert(*id, new);
            }
        }
        let layers = self.merged(&title, &diff_ids, known, fresh)?;
        let document = put_stream(&mut ingest.feeder(), image.config.bytes())?;
        Ok(Ready {
            config: image.config.clone(),
            document,
            layers,
            relied_on,
            names: names.to_vec(),
            layers_present,
            stats: IngestStats::default(),
            names_left_out: Vec::new(),
            taken: Vec::new(),
            forms,
        })
    }
}

/// The layers that are not present.
pub(super) fn missing<'a>(
    image: &'a SourceImage,
    present: &[Option<Layer>],
) -> Vec<&'a LayerSource> {
    let pairs = image.layers.iter().zip(present);
    let missing = pairs.filter(|(_, present)| present.is_none());
    missing.map(|(layer, _)| layer).collect()
}

/// The blob that a layer of a registry was read as.
fn form_of(source: &LayerSource) -> Option<Form> {
    let (blob, from) = source.remote_blob()?;
    Some(Form {
        digest: blob.digest,
        bytes: blob.bytes,
        compression: Compression::of_media_type(&blob.media_type)?,
        from,
    })
}
