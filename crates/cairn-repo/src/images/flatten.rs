//! Upper layers made one.
//!
//! No content is read or written: the new layer refers to the blobs that are there. What upper layers covered or
//! deleted is held by the image as it was, until that is removed.

use cairn_image::History;
use cairn_model::{Digest, ImageRef};
use serde::Serialize;

use super::{Image, Images};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::report;
use crate::time;

/// What a flattening made.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Flattened {
    /// The new image.
    #[serde(rename = "id", serialize_with = "crate::import::id_of")]
    pub image: Imported,
    /// The image it was made of, which is still there.
    #[serde(serialize_with = "report::text")]
    pub from: Digest,
    /// Lowest layers, which are as they were.
    pub layers_kept: usize,
    /// Layers that became one.
    pub layers_merged: usize,
    /// Content that the merged layers had.
    pub bytes_before: u64,
    /// Content that the new layer has.
    pub bytes_after: u64,
}

impl Images<'_> {
    /// Makes one layer of all that `image` has above its lowest `keep`, as a new image named `name`.
    ///
    /// # Errors
    /// Where there are not two layers to merge.
    pub fn flatten(
        &self,
        image: &Image,
        keep: usize,
        name: Option<&ImageRef>,
    ) -> Result<Flattened> {
        let merged = image.layers.len().saturating_sub(keep);
        if merged < 2 {
            return Err(Error::Invalid(format!(
                "image {} has {} layers, {keep} of which are to be kept: there are not two to merge",
                image.row.id.short(),
                image.layers.len()
            )));
        }
        let (below, above) = image.layers.split_at(keep);
        let (old, new) = (self.repo.tree(below)?, self.repo.tree(&image.layers)?);
        let ingest = self.repo.store.ingest()?;
        let scanned = cairn_layer::layer_between(
            &self.repo.store,
            &old,
            &new,
            ingest.feeder(),
            self.repo.options.limits,
        )?;
        let history = History {
            created: time::rfc3339_now(),
            created_by: "cairn flatten".to_owned(),
            comment: format!("{merged} layers merged"),
            ..History::default()
        };
        let config = image
            .config
            .flattened(keep, scanned.layer.name(), &history)?;
        let layers = [below, &[scanned.layer]].concat();
        let names: Vec<ImageRef> = name.cloned().into_iter().collect();
        let bytes_before = above.iter().map(|layer| layer.content_bytes).sum();
        let made = self
            .repo
            .publish_image(ingest, &config, &layers, &image.layers, &names)?;
        Ok(Flattened {
            image: made,
            from: image.row.id,
            layers_kept: keep,
            layers_merged: merged,
            bytes_before,
            bytes_after: scanned.layer.content_bytes,
        })
    }
}
