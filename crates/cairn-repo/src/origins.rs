//! Which image a manifest or index of a registry leads to, so that a pinned digest finds what was pulled by it; and which
//! image that was made here has a digest by which others know it.
//!
//! A row can be lost; the registry is asked again then.

use cairn_model::Digest;
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::rows::{self, ImageRow};

#[derive(Serialize, Deserialize)]
struct OriginV1([u8; 32]);

impl Stored for OriginV1 {
    const KIND: kinds::Kind = kinds::ORIGIN;
}

const ORIGINS: Table<OriginV1> = Table::new();

/// Notes what a manifest or index leads to, if the image is still there.
pub(crate) fn remember(txn: &mut Txn<'_>, digest: &Digest, image: &Digest) -> Result<()> {
    match rows::image(txn, image)? {
        Some(_) => Ok(ORIGINS.put(txn, digest.as_bytes(), &OriginV1(*image.as_bytes()))?),
        None => Ok(()),
    }
}

/// The image that a manifest or index leads to.
pub(crate) fn image(rows: &dyn Rows, digest: &Digest) -> Result<Option<ImageRow>> {
    match ORIGINS.get(rows, digest.as_bytes())? {
        Some(OriginV1(id)) => rows::image(rows, &Digest::from_bytes(id)),
        None => Ok(None),
    }
}

/// The images that digests lead to which begin with these hex digits, each once.
pub(crate) fn by_prefix(rows: &dyn Rows, hex: &str) -> Result<Vec<ImageRow>> {
    let mut found: Vec<ImageRow> = Vec::new();
    for (key, OriginV1(id)) in ORIGINS.scan(rows, [])? {
        let digest = <[u8; 32]>::try_from(key).map(Digest::from_bytes);
        let begins = digest.is_ok_and(|digest| digest.hex().starts_with(hex));
        if begins && found.iter().all(|row| *row.id.as_bytes() != id) {
            found.extend(rows::image(rows, &Digest::from_bytes(id))?);
        }
    }
    Ok(found)
}

/// Forgets what leads to an image that goes.
pub(crate) fn forget(txn: &mut Txn<'_>, image: &Digest) -> Result<()> {
    for (key, OriginV1(id)) in ORIGINS.scan(txn, [])? {
        if id == *image.as_bytes() {
            ORIGINS.delete(txn, key);
        }
    }
    Ok(())
}
