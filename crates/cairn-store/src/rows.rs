//! The store's own rows: every table of the database that it keeps, and what a row of each looks like.
//!
//! `docs/format.md` has the same list. A type here is written to disk, so its fields stay in their order; a
//! change is a new type with a version of its own.

use cairn_model::PackId;
use serde::{Deserialize, Serialize};

use crate::codec::Stored;
use crate::error::{Error, Result};
use crate::meta::{Rows, Table};

/// Packs, by id.
pub(crate) const PACKS: Table<PackRowV1> = Table::new(b'p');
/// The one row about the store as a whole.
pub(crate) const STATE: Table<StateV1> = Table::new(b'g');
/// When packs were read and found whole, by id.
pub(crate) const VERIFIED: Table<VerifiedV1> = Table::new(b'v');

/// What the database knows of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRowV1 {
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Number of blobs.
    pub blobs: u32,
    /// Index generation that brought it.
    pub created: u64,
    /// Index generation that retired it: no longer found, unlinked when no older lease lives.
    pub retired: Option<u64>,
}

impl Stored for PackRowV1 {
    const TYPE: u8 = 2;
    const NAME: &'static str = "pack row";
}

/// How far the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateV1 {
    /// Generation of the index that these rows go with.
    pub generation: u64,
}

impl Stored for StateV1 {
    const TYPE: u8 = 3;
    const NAME: &'static str = "store state";
}

/// When a pack was found whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct VerifiedV1 {
    /// Seconds since 1970.
    pub at: u64,
}

impl Stored for VerifiedV1 {
    const TYPE: u8 = 4;
    const NAME: &'static str = "verified row";
}

/// All packs and their rows.
pub fn pack_rows(rows: &dyn Rows) -> Result<Vec<(PackId, PackRowV1)>> {
    let found = PACKS.scan(rows, [])?;
    let id = |key: &[u8]| key.try_into().map(PackId::from_bytes);
    found
        .into_iter()
        .map(|(key, row)| {
            Ok((
                id(&key).map_err(|_| Error::corrupt("pack row", "its key is no id"))?,
                row,
            ))
        })
        .collect()
}
