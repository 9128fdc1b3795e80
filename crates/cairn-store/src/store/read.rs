//! How blobs are found and read.

use std::sync::{Arc, PoisonError};

use cairn_model::{BlobId, PackId};

use super::Store;
use crate::base::Base;
use crate::error::{Error, Result};
use crate::index::{Index, Location};
use crate::pack::{ContentOf, PackReader, Packed, Slot};

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
        if fresh.generation() != before.generation() {
            // One that is unlinked gives its space back when nobody has it open any more.
            let in_force = fresh.packs().filter(|id| !fresh.hidden().contains(id));
            self.0.packs.retain(|| in_force.collect());
        }
        Ok(fresh)
    }

    /// Closes a pack if it is open.
    pub(crate) fn let_go_of(&self, id: &PackId) {
        self.0.packs.forget(id);
    }

    /// An open pack.
    pub fn pack(&self, id: &PackId) -> Result<Arc<PackReader>> {
        self.0.packs.get(id)
    }

    /// Looks a blob up here, then in the base; asks the files on disk again before it says that it is
    /// missing.
    fn locate(&self, id: &BlobId) -> Result<Found<'_>> {
        if let Some(found) = self.loaded(id)? {
            return Ok(found);
        }
        self.reload_index()?;
        if let Some(base) = self.base() {
            base.reload()?;
        }
        self.loaded(id)?.ok_or(Error::MissingBlob(*id))
    }

    fn loaded(&self, id: &BlobId) -> Result<Option<Found<'_>>> {
        if let Some(at) = self.index().find(id)? {
            return Ok(Some(Found { at, base: None }));
        }
        let Some(base) = self.base() else {
            return Ok(None);
        };
        let base_has = base.find(id)?;
        Ok(base_has.map(|at| Found {
            at,
            base: Some(base),
        }))
    }

    /// The pack that a blob is read from, here or in the base.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] where there is none.
    pub fn pack_of(&self, id: &BlobId) -> Result<PackId> {
        Ok(self.locate(id)?.at.pack)
    }

    /// Bytes that a blob takes in its pack, here or in the base.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] where there is none.
    pub fn stored_bytes(&self, id: &BlobId) -> Result<u64> {
        Ok(u64::from(self.locate(id)?.at.slot.stored))
    }

    /// True where a blob is here or in the base, by the index as it was loaded last.
    pub fn has(&self, id: &BlobId) -> Result<bool> {
        let Some(Found { at, base }) = self.loaded(id)? else {
            return Ok(false);
        };
        // A difference whose other blob was collected is nothing.
        match (at.slot.codec.reference(), base) {
            (Some(other), None) => Ok(self.loaded(&other)?.is_some()),
            (Some(other), Some(base)) => Ok(base.find(&other)?.is_some()),
            (None, _) => Ok(true),
        }
    }

    /// Content of a blob, checked against its id.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>> {
        self.read(id, |pack, slot, content_of| {
            pack.blob(slot, &mut Vec::new(), content_of)
        })
    }

    /// Content of a blob that others are differences from, so that it is none itself.
    pub(crate) fn reference(&self, id: &BlobId) -> Result<Vec<u8>> {
        self.read(id, |pack, slot, _| pack.reference_blob(slot))
    }

    /// A blob as it is stored, its content checked against its id.
    pub fn packed(&self, id: &BlobId) -> Result<Packed> {
        self.read(id, PackReader::packed)
    }

    /// Reads a blob with `read`, which is also given who has the content of what it may be the difference from.
    fn read<T>(
        &self,
        id: &BlobId,
        read: impl Fn(&PackReader, &Slot, ContentOf<'_>) -> Result<T>,
    ) -> Result<T> {
        // Whatever takes long reads blobs, or stores them.
        self.watch().check()?;
        match self.read_at(&self.locate(id)?, &read) {
            // A collection, here or in the base, may have moved the blob since the index was loaded.
            Err(e) if may_have_moved(&e) => {
                self.reload_index()?;
                if let Some(base) = self.base() {
                    base.reload()?;
                }
                self.read_at(&self.locate(id)?, &read)
            }
            done => done,
        }
    }

    fn read_at<T>(
        &self,
        found: &Found<'_>,
        read: impl Fn(&PackReader, &Slot, ContentOf<'_>) -> Result<T>,
    ) -> Result<T> {
        let Found { at, base } = found;
        match base {
            None => read(&*self.pack(&at.pack)?, &at.slot, &|other| {
                self.reference(other)
            }),
            // What is in the base is complete in itself.
            Some(base) => read(&*base.pack(&at.pack)?, &at.slot, &|other| {
                base.content(other)
            })
            .map_err(|e| base.wrap(e)),
        }
    }
}

/// Where a blob is, and whose pack that is.
struct Found<'a> {
    at: Location,
    base: Option<&'a Arc<Base>>,
}

fn may_have_moved(error: &Error) -> bool {
    match error {
        Error::Io { .. } | Error::MissingPack(_) => true,
        Error::InBase { source, .. } => may_have_moved(source),
        _ => false,
    }
}
