//! How blobs are found and read.

use std::sync::{Arc, PoisonError};

use cairn_model::{BlobId, PackId};

use super::Store;
use crate::error::{Error, Result};
use crate::index::{Index, Location};
use crate::pack::PackReader;

impl Store {
    /// The index as last loaded.
    pub fn index(&self) -> Arc<Index> {
        self.0
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The index as it is on disk now.
    pub fn reload_index(&self) -> Result<Arc<Index>> {
        let before = self.index();
        let fresh = Arc::new(Index::open(&self.index_dir(), Some(&before))?);
        *self.0.index.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    /// An open pack.
    pub fn pack(&self, id: &PackId) -> Result<Arc<PackReader>> {
        self.0.packs.get(id)
    }

    /// Where a blob is; looks at the index on disk again before it says that it is missing.
    pub fn find(&self, id: &BlobId) -> Result<Location> {
        if let Some(found) = self.index().find(id)? {
            return Ok(found);
        }
        let again = self.reload_index()?.find(id)?;
        again.ok_or(Error::MissingBlob(*id))
    }

    /// Content of a blob, checked against its id.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>> {
        let found = self.find(id)?;
        let read = |found: &Location| self.pack(&found.pack)?.blob(&found.slot, &mut Vec::new());
        match read(&found) {
            // A collection may have moved the blob since the index was loaded.
            Err(Error::Io { .. } | Error::MissingPack(_)) => {
                let again = self.reload_index()?.find(id)?;
                read(&again.ok_or(Error::MissingBlob(*id))?)
            }
            done => done,
        }
    }
}
