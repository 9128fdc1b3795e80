//! What a user decided about the life of an image: pins, and dates at which images go.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use cairn_model::Digest;
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};

use super::{Images, resolve};
use crate::error::{Error, Result};

#[derive(Serialize, Deserialize)]
struct KeepV1 {
    pinned: bool,
    expires: Option<i64>,
}

impl Stored for KeepV1 {
    const KIND: kinds::Kind = kinds::KEEP;
}

const KEPT: Table<KeepV1> = Table::new();

/// How long an image is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// It is not removed, by nobody, until it is unpinned.
    pub pinned: bool,
    /// When the next collection removes it, seconds since 1970.
    pub expires: Option<i64>,
}

/// What was decided about an image.
pub(crate) fn keep(rows: &dyn Rows, id: &Digest) -> Result<Keep> {
    let row = KEPT.get(rows, id.as_bytes())?;
    Ok(row.map_or_else(Keep::default, |row| Keep {
        pinned: row.pinned,
        expires: row.expires,
    }))
}

/// The same of all images of which something was decided.
pub(super) fn all(rows: &dyn Rows) -> Result<HashMap<Digest, Keep>> {
    let row = |(key, row): (Vec<u8>, KeepV1)| {
        let KeepV1 { pinned, expires } = row;
        let id = key.try_into().ok().map(Digest::from_bytes)?;
        Some((id, Keep { pinned, expires }))
    };
    Ok(KEPT.scan(rows, [])?.into_iter().filter_map(row).collect())
}

fn put(txn: &mut Txn<'_>, id: &Digest, keep: Keep) -> Result<()> {
    if keep == Keep::default() {
        forget(txn, id);
        return Ok(());
    }
    let Keep { pinned, expires } = keep;
    Ok(KEPT.put(txn, id.as_bytes(), &KeepV1 { pinned, expires })?)
}

/// Forgets what was decided about an image that goes.
pub(crate) fn forget(txn: &mut Txn<'_>, id: &Digest) {
    KEPT.delete(txn, id.as_bytes());
}

/// A pinned image stays.
pub(crate) fn refuse_if_pinned(rows: &dyn Rows, id: &Digest, reference: &str) -> Result<()> {
    let refused = || Error::InUse {
        what: format!("image {reference}"),
        by: "a pin".to_owned(),
        next: format!("take it away with \"cairn unpin {reference}\""),
    };
    let is_pinned = keep(rows, id)?.pinned;
    if is_pinned { Err(refused()) } else { Ok(()) }
}

impl Images<'_> {
    /// Pins an image, by whatever name: it is not removed until it is unpinned. False where it was pinned.
    pub fn pin(&self, reference: &str) -> Result<bool> {
        self.change(reference, |keep| keep.pinned = true)
    }

    /// Takes a pin away. False where there was none.
    pub fn unpin(&self, reference: &str) -> Result<bool> {
        self.change(reference, |keep| keep.pinned = false)
    }

    /// Has the image removed, by all its names, by the first collection after `at` (seconds since 1970), unless
    /// it is pinned or in use then. Without a time it stays as long as others do. False where that was so.
    pub fn expire(&self, reference: &str, at: Option<i64>) -> Result<bool> {
        self.change(reference, |keep| keep.expires = at)
    }

    fn change(&self, reference: &str, change: impl Fn(&mut Keep)) -> Result<bool> {
        self.repo.store.db().write(|txn| {
            let (image, _) = resolve(txn, reference)?;
            let before = keep(txn, &image.id)?;
            let mut after = before;
            change(&mut after);
            put(txn, &image.id, after).map(|()| before != after)
        })
    }
}
