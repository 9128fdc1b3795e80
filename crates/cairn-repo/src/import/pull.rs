//! Images of a registry: documents first, then the layers that are not there yet.

use std::path::PathBuf;
use std::sync::Arc;

use cairn_image::{Platform, SourceImage};
use cairn_model::Digest;
use cairn_registry::{Client, Location};
use serde::Serialize;

use super::{Import, ImportOptions, Imported};
use crate::error::{Error, Result};
use crate::images::Images;
use crate::origins;
use crate::repo::Repo;
use crate::report;

/// What a pull brought.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Pulled {
    /// Digest of the manifest or index that the reference leads to.
    #[serde(serialize_with = "report::text")]
    pub digest: Digest,
    /// The image.
    #[serde(flatten)]
    pub image: Imported,
}

/// What a pull is asked.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Which image of a multi-platform index.
    pub platform: Platform,
    /// Layers that are brought at once.
    pub jobs: usize,
}

impl Repo {
    /// Where parts of blobs are kept while an image is pulled, made where it is not there yet: for
    /// [`cairn_registry::Options`].
    pub fn downloads(&self) -> Result<PathBuf> {
        let directory = self.layout().downloads();
        cairn_store::private_directory(&directory, self.store.disk())?;
        Ok(directory)
    }
}

impl Images<'_> {
    /// Brings the image at `location` here. Layers that are present are not fetched.
    pub fn pull(
        &self,
        client: &Arc<Client>,
        location: &Location,
        options: &PullOptions,
    ) -> Result<Pulled> {
        let _span = tracing::info_span!("pull", reference = %location).entered();
        let pulled = cairn_registry::pull(client, location, &options.platform)?;
        for item in &pulled.found.passed_over {
            self.repo.watch().passed_over(&item.what, &item.why);
        }
        let import = Import {
            repo: self.repo,
            options: &ImportOptions {
                name: None,
                platform: options.platform.clone(),
                read_all: false,
            },
            jobs: options.jobs.max(1),
        };
        let image = only(location, options, &pulled.found.images)?;
        let bring = || import.images(std::slice::from_ref(image));
        // What of its layers is new is known when they are here.
        let imported = self.repo.with_room(bring, || Ok(None));
        self.repo.note_growth("import");
        if let Some(layer) = image.layers.first() {
            layer.release(imported.is_ok());
        }
        let image = imported?.into_iter().next().ok_or(Error::LayerGone)?;
        let db = self.repo.store.db();
        db.write::<_, Error>(|txn| origins::remember(txn, &pulled.digest, &image.id))?;
        Ok(Pulled {
            digest: pulled.digest,
            image,
        })
    }
}

/// The image that a location leads to.
pub(super) fn only<'a>(
    location: &Location,
    options: &PullOptions,
    images: &'a [SourceImage],
) -> Result<&'a SourceImage> {
    let [image] = images else {
        return Err(Error::Invalid(format!(
            "{location} leads to {} images for {}; name one by its digest",
            images.len(),
            options.platform
        )));
    };
    Ok(image)
}
