//! Images of a registry: documents first, then the layers that are not there yet.

use std::path::PathBuf;
use std::sync::Arc;

use cairn_image::{LayerSource, Platform, SourceImage};
use cairn_model::Digest;
use cairn_registry::{Client, Location};
use serde::Serialize;

use super::archive::missing;
use super::{Import, ImportOptions, Imported};
use crate::chunks::{self, ChunksFetched, Fetched};
use crate::error::{Error, Result};
use crate::images::Images;
use crate::origins;
use crate::referrers;
use crate::repo::Repo;
use crate::report;
use crate::rows;
use crate::trust::Policy;

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
    /// What was fetched as blobs instead of whole layers.
    pub chunks: Option<ChunksFetched>,
    /// Number of what refers to the image, where it is kept.
    pub referrers: Option<usize>,
}

/// What a pull is asked.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Which image of a multi-platform index.
    pub platform: Platform,
    /// Layers that are brought at once.
    pub jobs: usize,
    /// Which images may be taken; without it all.
    pub policy: Option<Policy>,
    /// Keep the manifest and index as they came, and what refers to them.
    pub referrers: bool,
}

impl PullOptions {
    /// What the import of what is pulled is asked.
    pub(super) fn of_import(&self) -> ImportOptions {
        ImportOptions {
            name: None,
            platform: self.platform.clone(),
            read_all: false,
            verify_key: None,
        }
    }
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
        let image = only(location, options, &pulled.found.images)?;
        if let Some(policy) = &options.policy {
            let inner = image.manifest.filter(|inner| *inner != pulled.digest);
            let digests: Vec<Digest> = std::iter::once(pulled.digest).chain(inner).collect();
            policy.admit(client, location, &digests)?;
        }
        // Documents first: where they cannot be had nothing is here.
        let beside = match image.manifest.filter(|_| options.referrers) {
            Some(manifest) => {
                let fetched = referrers::fetch(self.repo, client, &pulled.digest, &manifest)?;
                let joined = (self.repo).joined_referrers(&image.config.digest(), fetched);
                Some(self.repo.stage_referrers(&joined)?)
            }
            None => None,
        };
        let import_options = options.of_import();
        let import = Import {
            repo: self.repo,
            options: &import_options,
            recipes: None,
            jobs: options.jobs.max(1),
        };
        // What of its layers is new is known when they are here.
        let imported = (self.repo).with_room(|| import.with_chunks(client, image), || Ok(None));
        self.repo.note_growth("import");
        if let Some(layer) = image.layers.first() {
            layer.release(imported.is_ok());
        }
        let (imported, chunks) = imported?;
        let image = imported.into_iter().next().ok_or(Error::LayerGone)?;
        let db = self.repo.store.db();
        db.write::<_, Error>(|txn| origins::remember(txn, &pulled.digest, &image.id))?;
        let keep = |staged| self.repo.keep_referrers(&image.id, staged);
        let referrers = beside.map(keep).transpose()?;
        Ok(Pulled {
            digest: pulled.digest,
            image,
            chunks,
            referrers,
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

impl Import<'_> {
    /// Imports an image, of which single blobs are fetched where the registry has them.
    fn with_chunks(
        &self,
        client: &Client,
        image: &SourceImage,
    ) -> Result<(Vec<Imported>, Option<ChunksFetched>)> {
        let fetched = self.fetch_chunks(client, image)?;
        let import = Import {
            recipes: fetched.as_ref().map(|fetched| &fetched.recipes),
            ..*self
        };
        let imported = import.images(std::slice::from_ref(image))?;
        Ok((imported, fetched.as_ref().map(Fetched::counts)))
    }

    /// Fetches blobs that are lacking of an image, where the registry has them as such. What is put together from an
    /// empty repository would only be the whole layers in another form.
    fn fetch_chunks(&self, client: &Client, image: &SourceImage) -> Result<Option<Fetched>> {
        if self
            .repo
            .store
            .db()
            .read(|rows| rows::layers(rows))?
            .is_empty()
        {
            return Ok(None);
        }
        let diff_ids = image.config.diff_ids();
        let mut present = self.present(&diff_ids)?;
        if LayerSource::reserve(&missing(image, &present))? {
            present = self.present(&diff_ids)?;
        }
        let pairs = diff_ids.iter().zip(&present);
        let lacking = pairs.filter(|(_, present)| present.is_none());
        let lacking: Vec<Digest> = lacking.map(|(id, _)| *id).collect();
        Ok(chunks::fetch(self.repo, client, image, &lacking)?)
    }
}
