//! What a reference leads to: a name, an id, or the start of an id.

use cairn_model::{ImageRef, Reference};
use cairn_store::Rows;

use crate::error::{Error, Result};
use crate::origins;
use crate::rows::{self, ImageRow};

/// The row a name, id or start of an id leads to, and the name if it was one. An id is never looked up as
/// a name, so that no name can stand for the id of another image.
pub(crate) fn resolve(rows: &dyn Rows, reference: &str) -> Result<(ImageRow, Option<ImageRef>)> {
    let missing = || Error::NoImage(reference.to_owned());
    let by_name = |name: ImageRef| match rows::tag(rows, &name)? {
        Some(id) => Ok(Some((rows::image(rows, &id)?.ok_or_else(missing)?, name))),
        None => Ok::<_, Error>(None),
    };
    match reference.parse::<Reference>() {
        Ok(Reference::Id(id)) => {
            let found = match rows::image(rows, &id)? {
                // Not an image, but what leads to one in a registry.
                None => origins::image(rows, &id)?,
                found => found,
            };
            Ok((found.ok_or_else(missing)?, None))
        }
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

/// The one image whose id starts with `hex`, or else a digest that leads to it.
fn by_prefix(rows: &dyn Rows, hex: &str, reference: &str) -> Result<Option<ImageRow>> {
    let mut found = rows::images(rows)?;
    found.retain(|image| image.id.hex().starts_with(hex));
    if found.is_empty() {
        found = origins::by_prefix(rows, hex)?;
    }
    match &mut found[..] {
        [_, _, ..] => Err(Error::Ambiguous(reference.to_owned())),
        _ => Ok(found.pop()),
    }
}
