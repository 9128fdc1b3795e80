//! Typed rows: a prefix byte, a key, and a value in its envelope.

use std::marker::PhantomData;

use super::rows::Rows;
use super::txn::Txn;
use crate::codec::{self, Stored};
use crate::error::{Error, Result};

/// Largest encoded row, bytes: sled spills large pages into files it does not sync. A label may have
/// 4096 bytes of key and value.
const ROW_BYTES_MAX: u64 = 4096 + 1024;

/// All rows of one kind.
#[derive(Debug)]
pub struct Table<V> {
    prefix: u8,
    value: PhantomData<fn() -> V>,
}

impl<V: Stored> Table<V> {
    /// The table of rows of this kind; one that has no prefix does not compile.
    #[expect(clippy::new_without_default, reason = "it is for constants")]
    pub const fn new() -> Self {
        let Some(prefix) = V::KIND.prefix else {
            panic!("BUG: it is no kind of row");
        };
        Self {
            prefix,
            value: PhantomData,
        }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&[self.prefix], key].concat()
    }

    /// One row.
    pub fn get(&self, rows: &dyn Rows, key: impl AsRef<[u8]>) -> Result<Option<V>> {
        rows.get(&self.key(key.as_ref()))?
            .map(|bytes| codec::decode(&bytes))
            .transpose()
    }

    /// True where the row is there and ends with this boot of the machine.
    pub fn is_until_boot(&self, rows: &dyn Rows, key: impl AsRef<[u8]>) -> bool {
        rows.is_until_boot(&self.key(key.as_ref()))
    }

    /// Writes one row.
    pub fn put(&self, txn: &mut Txn<'_>, key: impl AsRef<[u8]>, value: &V) -> Result<()> {
        let bytes = codec::encode(value);
        if bytes.len() as u64 > ROW_BYTES_MAX {
            return Err(Error::TooLarge {
                what: V::KIND.name,
                size: bytes.len() as u64,
                limit: ROW_BYTES_MAX,
            });
        }
        txn.put(self.key(key.as_ref()), bytes);
        Ok(())
    }

    /// Removes one row; one that is gone is fine.
    pub fn delete(&self, txn: &mut Txn<'_>, key: impl AsRef<[u8]>) {
        txn.delete(self.key(key.as_ref()));
    }

    /// All rows whose key starts with `start`, in order of key.
    pub fn scan(&self, rows: &dyn Rows, start: impl AsRef<[u8]>) -> Result<Vec<(Vec<u8>, V)>> {
        let found = rows.scan(&self.key(start.as_ref()))?;
        found
            .into_iter()
            .map(|(key, bytes)| Ok((key[1..].to_vec(), codec::decode(&bytes)?)))
            .collect()
    }
}
