//! Images: by name or id, their documents, their names, their removal.

use std::collections::HashMap;

use cairn_image::ImageConfig;
use cairn_layer::Layer;
use cairn_model::{Digest, ImageRef, SnapshotKey};
use cairn_snapshot::graph;
use cairn_store::{Rows, Txn};

use crate::containers;
use crate::error::{Error, Result};
use crate::import::IMPORTED;
use crate::repo::Repo;
use crate::rows::{self, ImageRow};

const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
const PREFIX_MIN: usize = 4;

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
}

impl Repo {
    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        let (mut found, known) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, Known::read(rows)?)))?;
        found.sort_by_key(|image| std::cmp::Reverse(image.imported));
        found
            .into_iter()
            .map(|row| self.load(row, &known))
            .collect()
    }

    /// The image of a name, an id, or the start of an id.
    pub fn image(&self, reference: &str) -> Result<Image> {
        let (row, known) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((resolve(rows, reference)?, Known::read(rows)?)))?;
        self.load(row, &known)
    }

    fn load(&self, row: ImageRow, known: &Known) -> Result<Image> {
        let config = ImageConfig::parse(self.store.read_stream(&row.config, DOCUMENT_BYTES_MAX)?)?;
        let layer = |diff_id: &Digest| {
            let gone = || cairn_store::Error::corrupt(format!("layer {diff_id}"), "it has no row");
            known.layers.get(diff_id).copied().ok_or_else(gone)
        };
        let layers = config.diff_ids().iter().map(layer);
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let names = known
            .tags
            .iter()
            .filter(|(_, id)| *id == row.id)
            .map(|(name, _)| name.clone())
            .collect();
        Ok(Image {
            row,
            names,
            config,
            layers,
        })
    }

    /// Points `name` at the image of `reference`.
    pub fn tag(&self, reference: &str, name: &ImageRef) -> Result<()> {
        self.store.db().write(|txn| {
            let image = resolve(txn, reference)?;
            rows::put_tag(txn, name, &image.id)
        })
    }

    /// Removes a name; with the last one, or by id, the image and the snapshots that only it needed.
    pub fn remove_image(&self, reference: &str) -> Result<Removed> {
        self.store.may_spend_reserve();
        self.store.db().write(|txn| {
            let image = resolve(txn, reference)?;
            let tags: Vec<ImageRef> = rows::tags(txn)?
                .into_iter()
                .filter(|(_, id)| *id == image.id)
                .map(|(name, _)| name)
                .collect();
            let name = reference
                .parse::<ImageRef>()
                .ok()
                .filter(|name| tags.contains(name));
            if let Some(name) = &name
                && tags.len() > 1
            {
                rows::delete_tag(txn, name);
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
                rows::delete_tag(txn, tag);
            }
            rows::delete_image(txn, &image.id);
            remove_chain(txn, image.top.as_ref())?;
            Ok(Removed::Image(image.id))
        })
    }
}

/// The row a name, id or start of an id leads to.
pub(crate) fn resolve(rows: &dyn Rows, reference: &str) -> Result<ImageRow> {
    let missing = || Error::NoImage(reference.to_owned());
    if let Ok(name) = reference.parse::<ImageRef>()
        && let Some(id) = rows::tag(rows, &name)?
    {
        return rows::image(rows, &id)?.ok_or_else(missing);
    }
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    if hex.len() < PREFIX_MIN || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let mut found = rows::images(rows)?
        .into_iter()
        .filter(|image| image.id.hex().starts_with(hex));
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => Err(Error::Ambiguous(reference.to_owned())),
        _ => Err(missing()),
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
