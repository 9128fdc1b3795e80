//! Rows as bytes, wherever they are read.

use crate::error::Result;

/// What can be read of the database.
pub trait Rows {
    /// Value of one row.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// True for a row that ends with this boot of the machine.
    fn is_until_boot(&self, _key: &[u8]) -> bool {
        false
    }
    /// Rows whose key starts with `prefix`, in order of key.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
}
