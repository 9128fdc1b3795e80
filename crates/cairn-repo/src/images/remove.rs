//! The removal of names, and with the last one of an image and its snapshots.

use cairn_model::{Digest, ImageRef, SnapshotKey};
use cairn_snapshot::{Snapshot, graph};
use cairn_store::Txn;

use super::{Images, keep, resolve};
use crate::containers;
use crate::error::{Error, Result};
use crate::import::IMPORTED;
use crate::origins;
use crate::rows;

/// What [`Images::remove`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The name is gone, the image has others.
    Untagged(ImageRef),
    /// The image is gone.
    Image(Digest),
}

impl Images<'_> {
    /// Removes a name; with the last one, or by id, the image and the snapshots that only it needed.
    pub fn remove(&self, reference: &str) -> Result<Removed> {
        self.remove_found(reference, None)
    }

    /// The same for one name of an image, or without one the image, as long as it is still this image.
    pub(crate) fn remove_if(&self, id: &Digest, name: Option<&str>) -> Result<Removed> {
        let by_id = id.to_string();
        self.remove_found(name.unwrap_or(&by_id), Some(id))
    }

    fn remove_found(&self, reference: &str, expected: Option<&Digest>) -> Result<Removed> {
        let removed = self.remove_row(reference, expected)?;
        if let Removed::Image(id) = &removed {
            // What stays goes with the next collection.
            let _ = self.repo.forget_referrers(id);
        }
        self.repo.note_growth("remove");
        Ok(removed)
    }

    fn remove_row(&self, reference: &str, expected: Option<&Digest>) -> Result<Removed> {
        self.repo.store.may_spend_reserve();
        self.repo.store.db().write(|txn| {
            let (image, name) = resolve(txn, reference)?;
            if expected.is_some_and(|id| *id != image.id) {
                return Err(Error::NoImage(reference.to_owned()));
            }
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
            keep::refuse_if_pinned(txn, &image.id, reference)?;
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
            origins::forget(txn, &image.id)?;
            keep::forget(txn, &image.id);
            remove_chain(txn, image.top.as_ref())?;
            Ok(Removed::Image(image.id))
        })
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
            let (by, next) = match containers::showing(txn, &child)? {
                Some(container) => (
                    format!("container {}, which mounts it", container.name),
                    format!("cairn rm {}", container.name),
                ),
                None => (
                    format!("snapshot {child}"),
                    format!("cairn snapshot rm {child}"),
                ),
            };
            return Err(Error::InUse {
                what: format!("image {reference}"),
                by,
                next: format!("remove it first with \"{next}\""),
            });
        }
    }
    Ok(())
}

/// Removes imported snapshots from `top` down as far as nothing else needs them.
fn remove_chain(txn: &mut Txn<'_>, top: Option<&SnapshotKey>) -> Result<()> {
    // Read first: the walk cannot go over rows that are being removed.
    let chain: Vec<Snapshot> =
        graph::ancestors(top, |key| graph::find(txn, key)).collect::<Result<_, _>>()?;
    for snapshot in chain {
        let key = &snapshot.key;
        let needed = !graph::children(txn, key)?.is_empty()
            || rows::images(txn)?
                .iter()
                .any(|image| image.top.as_ref() == Some(key));
        if needed || !snapshot.labels.contains_key(IMPORTED) {
            break;
        }
        graph::remove(txn, key)?;
    }
    Ok(())
}
