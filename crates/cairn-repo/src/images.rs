//! Images: by name or id, their documents, their names, their removal.

use std::collections::HashMap;

use cairn_image::ImageConfig;
use cairn_layer::Layer;
use cairn_model::{Digest, ImageRef, Reference, SnapshotKey};
use cairn_snapshot::graph;
use cairn_store::{Rows, Txn};

use crate::containers;
use crate::error::{Error, Result};
use crate::import::IMPORTED;
use crate::repo::Repo;
use crate::rows::{self, ImageRow};

/// Longest image document that is read.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = cairn_image::DOCUMENT_BYTES_MAX as u64;

/// An image with its document and layers.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its row.
    pub row: ImageRow,
    /// Names that point at it.
    pub names: Vec<ImageRef>,
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
pub struct ListedImage {
    /// Its row.
    pub row: ImageRow,
    /// Names that point at it.
    pub names: Vec<ImageRef>,
    /// The image, or why its document cannot be read.
    pub image: Result<Image>,
}

/// What [`Repo::remove_image`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The name is gone, the image has others.
    Untagged(ImageRef),
    /// The image is gone.
    Image(Digest),
}

/// Names and layers, as they are at one moment.
struct Known {
    tags: Vec<(ImageRef, Digest)>,
    layers: HashMap<Digest, Layer>,
}

impl Known {
    fn read(rows: &dyn Rows) -> Result<Self> {
        let layers = rows::layers(rows)?.into_iter();
        Ok(Self {
            tags: rows::tags(rows)?,
            layers: layers
                .filter_map(|layer| Some((layer.diff_id?, layer)))
                .collect(),
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

impl Repo {
    /// All images, newest first. One whose document is damaged is listed as such and does not hide the
    /// others.
    pub fn list_images(&self) -> Result<Vec<ListedImage>> {
        let (mut found, known) = self
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
    pub fn images(&self) -> Result<Vec<Image>> {
        let listed = self.list_images()?.into_iter();
        Ok(listed.filter_map(|listed| listed.image.ok()).collect())
    }

    /// The image of a name, an id, or the start of an id.
    pub fn image(&self, reference: &str) -> Result<Image> {
        Ok(self.image_named(reference)?.0)
    }

    /// The same, with the name that led to it; none where it was an id.
    pub(crate) fn image_named(&self, reference: &str) -> Result<(Image, Option<ImageRef>)> {
        let ((row, name), known) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((resolve(rows, reference)?, Known::read(rows)?)))?;
        Ok((self.load(row, &known)?, name))
    }

    fn load(&self, row: ImageRow, known: &Known) -> Result<Image> {
        let config = ImageConfig::parse(self.store.read_stream(&row.config, DOCUMENT_BYTES_MAX)?)?;
        let layer = |diff_id: &Digest| {
            let gone = || cairn_store::Error::corrupt(format!("layer {diff_id}"), "it has no row");
            known.layers.get(diff_id).copied().ok_or_else(gone)
        };
        let layers = config.diff_ids().iter().map(layer);
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(Image {
            names: known.names(&row.id),
            row,
            config,
            layers,
        })
    }

    /// Points `name` at the image of `reference`.
    pub fn tag(&self, reference: &str, name: &ImageRef) -> Result<()> {
        self.store.db().write(|txn| {
            let (image, _) = resolve(txn, reference)?;
            rows::put_tag(txn, name, &image.id)
        })
    }

    /// Removes a name; with the last one, or by id, the image and the snapshots that only it needed.
    pub fn remove_image(&self, reference: &str) -> Result<Removed> {
        self.store.may_spend_reserve();
        self.store.db().write(|txn| {
            let (image, name) = resolve(txn, reference)?;
            let tags: Vec<ImageRef> = rows::tags(txn)?
                .into_iter()
                .filter(|(_, id)| *id == image.id)
                .map(|(name, _)| name)
                .collect();
            if let Some(name) = &name
                && tags.len() > 1
            {
                rows::delete_tag(txn, name)?;
                return Ok(Removed::Untagged(name.clone()));
            }
            if let Some(container) = containers::all(txn)?
                .into_iter()
                .find(|container| container.image == Some(image.id))
            {
                return Err(Error::InUse {
                    what: format!("image {reference}"),
                    by: format!("container {}", container.name),
                    next: format!("remove it first with \"cairn rm {}\"", container.name),
                });
            }
            if let Some(top) = &image.top {
                refuse_if_used(txn, reference, top, &image.id)?;
            }
            for tag in &tags {
                rows::delete_tag(txn, tag)?;
            }
            rows::delete_image(txn, &image.id);
            remove_chain(txn, image.top.as_ref())?;
            Ok(Removed::Image(image.id))
        })
    }
}

/// The row a name, id or start of an id leads to, and the name if it was one. An id is never looked up as
/// a name, so that no name can stand for the id of another image.
pub(crate) fn resolve(rows: &dyn Rows, reference: &str) -> Result<(ImageRow, Option<ImageRef>)> {
    let missing = || Error::NoImage(reference.to_owned());
    let by_name = |name: ImageRef| match rows::tag(rows, &name)? {
        Some(id) => Ok(Some((rows::image(rows, &id)?.ok_or_else(missing)?, name))),
        None => Ok::<_, Error>(None),
    };
    match reference.parse::<Reference>() {
        Ok(Reference::Id(id)) => Ok((rows::image(rows, &id)?.ok_or_else(missing)?, None)),
        Ok(Reference::Prefix(hex)) => {
            let found = by_prefix(rows, &hex, reference)?.ok_or_else(missing)?;
            Ok((found, None))
        }
        Ok(Reference::Name(name, hex)) => {
            let named = by_name(name)?;
            let prefixed = match hex {
                Some(hex) => by_prefix(rows, &hex, reference)?,
                None => None,
            };
            match (named, prefixed) {
                (Some((named, _)), Some(prefixed)) if named.id != prefixed.id => {
                    Err(Error::Ambiguous(reference.to_owned()))
                }
                (Some((named, name)), _) => Ok((named, Some(name))),
                (None, Some(prefixed)) => Ok((prefixed, None)),
                (None, None) => Err(missing()),
            }
        }
        // What is no name today may be one that an earlier version took, unless it looks like an id.
        Err(_) if reference.starts_with("sha256:") || reference.contains('@') => Err(missing()),
        Err(_) => {
            let found = match by_name(ImageRef::stored(reference))? {
                None => by_name(ImageRef::stored(&format!("{reference}:latest")))?,
                found => found,
            };
            let (row, name) = found.ok_or_else(missing)?;
            Ok((row, Some(name)))
        }
    }
}

/// The one image whose id starts with `hex`.
fn by_prefix(rows: &dyn Rows, hex: &str, reference: &str) -> Result<Option<ImageRow>> {
    let mut found = rows::images(rows)?
        .into_iter()
        .filter(|image| image.id.hex().starts_with(hex));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Error::Ambiguous(reference.to_owned())),
        (found, None) => Ok(found),
    }
}

/// Active snapshots and views over the image's top keep it.
fn refuse_if_used(txn: &Txn<'_>, reference: &str, top: &SnapshotKey, id: &Digest) -> Result<()> {
    if rows::images(txn)?
        .iter()
        .any(|other| other.id != *id && other.top.as_ref() == Some(top))
    {
        return Ok(());
    }
    for child in graph::children(txn, top)? {
        if graph::stat(txn, &child)?.kind != cairn_snapshot::Kind::Committed {
            let next = format!("remove it first with \"cairn snapshot rm {child}\"");
            return Err(Error::InUse {
                what: format!("image {reference}"),
                by: format!("snapshot {child}"),
                next,
            });
        }
    }
    Ok(())
}

/// Removes imported snapshots from `top` down as far as nothing else needs them.
fn remove_chain(txn: &mut Txn<'_>, top: Option<&SnapshotKey>) -> Result<()> {
    let mut at = top.cloned();
    while let Some(key) = at {
        let Some(snapshot) = graph::find(txn, &key)? else {
            break;
        };
        let needed = !graph::children(txn, &key)?.is_empty()
            || rows::images(txn)?
                .iter()
                .any(|image| image.top.as_ref() == Some(&key));
        if needed || !snapshot.labels.contains_key(IMPORTED) {
            break;
        }
        at = graph::remove(txn, &key)?.parent;
    }
    Ok(())
}
