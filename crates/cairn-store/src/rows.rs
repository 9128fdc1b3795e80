//! The store's own rows: every table of the database that it keeps, and what a row of each looks like.
//!
//! `docs/format.md` has the same list. A type here is written to disk, so its fields stay in their order; a
//! change is a new type with a version of its own.

use cairn_model::PackId;
use serde::{Deserialize, Serialize};

use crate::codec::Stored;
use crate::error::{Error, Result};
use crate::kinds::{self, Kind};
use crate::meta::{Rows, Table};

/// Packs, by id.
pub(crate) const PACKS: Table<PackRowV1> = Table::new();
/// The one row about the store as a whole.
pub(crate) const STATE: Table<StateV1> = Table::new();
/// When packs were read and found whole, by id.
pub(crate) const VERIFIED: Table<VerifiedV1> = Table::new();

/// Packs whose blobs were recompressed, by id.
pub(crate) const OPTIMIZED: Table<OptimizedV1> = Table::new();

/// What the database knows of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Number of blobs.
    pub blobs: u32,
    /// Index generation that brought it.
    pub created: u64,
    /// Index generation that retired it: no longer found, unlinked when no older lease lives.
    pub retired: Option<u64>,
}

/// The same as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackRowV1 {
    pub bytes: u64,
    pub blobs: u32,
    /// Index generation that brought it.
    pub created: u64,
    pub retired: Option<u64>,
}

impl Stored for PackRowV1 {
    const KIND: Kind = kinds::PACK;
}

/// How far the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateV1 {
    /// Generation of the index that these rows go with.
    pub generation: u64,
}

impl Stored for StateV1 {
    const KIND: Kind = kinds::STATE;
}

/// When a pack was found whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct VerifiedV1 {
    /// Seconds since 1970.
    pub at: u64,
}

impl Stored for VerifiedV1 {
    const KIND: Kind = kinds::VERIFIED;
}

/// That a pack holds what was recompressed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct OptimizedV1 {
    /// Bytes of records that were left as they were, because views read them in place or the time was up.
    pub left_bytes: u64,
}

impl Stored for OptimizedV1 {
    const KIND: Kind = kinds::OPTIMIZED;
}

/// All packs and their rows.
pub fn pack_rows(rows: &dyn Rows) -> Result<Vec<(PackId, PackInfo)>> {
    let found = PACKS.scan(rows, [])?;
    let id = |key: &[u8]| key.try_into().map(PackId::from_bytes);
    found
        .into_iter()
        .map(|(key, row)| {
            let id = id(&key).map_err(|_| Error::corrupt("pack row", "its key is no id"))?;
            let PackRowV1 {
                bytes,
                blobs,
                created,
                retired,
            } = row;
            let info = PackInfo {
                bytes,
                blobs,
                created,
                retired,
            };
            Ok((id, info))
        })
        .collect()
}
