//! The blobs of a table one by one, for questions that groups do not answer.

use cairn_model::BlobId;
use cairn_store::{Index, Store};

use super::sums::{Place, locate};
use super::table::Table;
use super::update::blob_key;
use crate::error::Result;

/// Bytes of a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// What it holds.
    pub raw: u32,
    /// What it takes in a pack of this repository; 0 where the base has it.
    pub stored: u32,
}

/// Numbers and sizes of all blobs that somebody holds or held.
pub(crate) struct Blobs<'a> {
    table: &'a Table,
    sizes: Vec<Size>,
}

impl<'a> Blobs<'a> {
    /// Looks up every blob of the table, which takes 8 bytes each.
    pub fn new(store: &Store, index: &Index, table: &'a Table) -> Result<Self> {
        let mut sizes = vec![Size::default(); table.blobs.len()];
        locate(store, index, table, |number, place| {
            sizes[number] = match place {
                Place::Here(found) => Size {
                    raw: found.slot.raw,
                    stored: found.slot.stored,
                },
                Place::Below(found) => Size {
                    raw: found.slot.raw,
                    stored: 0,
                },
                Place::Nowhere => Size::default(),
            };
            Ok::<_, cairn_store::Error>(())
        })?;
        Ok(Self { table, sizes })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// The number of a blob.
    pub fn find(&self, id: &BlobId) -> Option<usize> {
        self.table.find(&blob_key(id))
    }

    /// Bytes of the blob with this number.
    pub fn size(&self, number: usize) -> Size {
        self.sizes[number]
    }

    /// The group of the blob with this number.
    pub fn group(&self, number: usize) -> usize {
        self.table.blobs[number].1 as usize
    }
}
