//! Images: by name or id, their documents, their names, their removal.

mod commit;
mod compare;
mod flatten;
mod keep;
mod rebase;
mod remove;
mod resolve;
mod settle;
mod which;

use std::collections::HashMap;

use cairn_image::ImageConfig;
use cairn_layer::Layer;
use cairn_model::{Digest, ImageRef, LayerName};
use cairn_store::Rows;

use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::rows::{self, ImageRow};

pub use commit::CommitOptions;
pub use compare::{Comparison, FileChange, PackageChange};
pub use flatten::Flattened;
pub use keep::Keep;
pub use rebase::Rebased;
pub use remove::Removed;
pub(crate) use resolve::resolve;
pub use which::{Holder, Holding, Sought};

/// Longest image document that is read.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = cairn_image::DOCUMENT_BYTES_MAX as u64;

/// The images of a repository.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Images: import, export, names, removal, commit.
    pub fn images(&self) -> Images<'_> {
        Images { repo: self }
    }
}

/// An image with its document and layers.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its row.
    pub row: ImageRow,
    /// Names that point at it.
    pub names: Vec<ImageRef>,
    /// How long it is to be kept.
    pub keep: Keep,
    /// Its document.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Bytes of file content of all layers, as if each were stored alone.
    pub fn content_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.content_bytes).sum()
    }
}

/// An image in a list, readable or not.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedImage {
    /// Its row.
    pub row: ImageRow,
    /// Names that point at it.
    pub names: Vec<ImageRef>,
    /// The image, or why its document cannot be read.
    pub image: Result<Image>,
}

/// Names and layers, as they are at one moment.
struct Known {
    tags: Vec<(ImageRef, Digest)>,
    layers: HashMap<LayerName, Layer>,
    keeps: HashMap<Digest, Keep>,
}

impl Known {
    fn read(rows: &dyn Rows) -> Result<Self> {
        Ok(Self {
            tags: rows::tags(rows)?,
            keeps: keep::all(rows)?,
            layers: rows::named_layers(rows)?,
        })
    }

    fn names(&self, image: &Digest) -> Vec<ImageRef> {
        let of_image = |(name, id): &(ImageRef, Digest)| (id == image).then(|| name.clone());
        self.tags.iter().filter_map(of_image).collect()
    }
}

/// True where the image itself is to blame, not the machine.
fn is_damage(error: &Error) -> bool {
    error.is_corruption() || matches!(error, Error::Image(cairn_image::Error::Invalid { .. }))
}

impl Images<'_> {
    /// All images, newest first. One whose document is damaged is listed as such and does not hide the
    /// others.
    pub fn list(&self) -> Result<Vec<ListedImage>> {
        let (mut found, known) = self
            .repo
            .store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, Known::read(rows)?)))?;
        found.sort_by_key(|image| std::cmp::Reverse(image.imported));
        let listed = |row: ImageRow| {
            let names = known.names(&row.id);
            let image = match self.load(row.clone(), &known) {
                // A full disk or a lack of descriptors is no damage of this image.
                Err(e) if !is_damage(&e) => return Err(e),
                image => image,
            };
            Ok(ListedImage { row, names, image })
        };
        found.into_iter().map(listed).collect()
    }

    /// All images that can be read, newest first.
    pub fn readable(&self) -> Result<Vec<Image>> {
        let listed = self.list()?.into_iter();
        Ok(listed.filter_map(|listed| listed.image.ok()).collect())
    }

    /// The image of a name, an id, or the start of an id.
    pub fn find(&self, reference: &str) -> Result<Image> {
        Ok(self.find_named(reference)?.0)
    }

    /// The same, with the name that led to it; none where it was an id.
    pub(crate) fn find_named(&self, reference: &str) -> Result<(Image, Option<ImageRef>)> {
        let ((row, name), known) = self
            .repo
            .store
            .db()
            .read::<_, Error>(|rows| Ok((resolve(rows, reference)?, Known::read(rows)?)))?;
        Ok((self.load(row, &known)?, name))
    }

    /// The configuration of an image.
    pub(crate) fn config(&self, row: &ImageRow) -> Result<ImageConfig> {
        let store = &self.repo.store;
        Ok(ImageConfig::stored(
            store.read_stream(&row.config, DOCUMENT_BYTES_MAX)?,
        )?)
    }

    fn load(&self, row: ImageRow, known: &Known) -> Result<Image> {
        let config = self.config(&row)?;
        let layer = |name: &LayerName| {
            let gone = || cairn_store::Error::corrupt(format!("layer {name}"), "it has no row");
            known.layers.get(name).copied().ok_or_else(gone)
        };
        let layers = config.layers().iter().map(layer);
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(Image {
            names: known.names(&row.id),
            keep: known.keeps.get(&row.id).copied().unwrap_or_default(),
            row,
            config,
            layers,
        })
    }

    /// Points `name` at the image of `reference`.
    pub fn tag(&self, reference: &str, name: &ImageRef) -> Result<()> {
        self.repo.store.db().write(|txn| {
            let (image, _) = resolve(txn, reference)?;
            rows::put_tag(txn, name, &image.id)
        })
    }
}
