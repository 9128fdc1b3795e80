//! A transaction while it is decided.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::Rows;
use crate::error::Result;

/// A transaction being decided: reads see the database with this transaction's own writes.
pub struct Txn<'a> {
    pub(super) base: &'a dyn Rows,
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Keys of rows that end with this boot of the machine.
    pub(super) until_boot: BTreeSet<Vec<u8>>,
    pub(super) all_until_boot: bool,
}

impl Txn<'_> {
    /// What is put from here on ends with this boot of the machine, at the latest, and costs no sync; or, with
    /// `false`, lasts. A row that is there already stays what it is.
    pub fn until_boot(&mut self, passing: bool) {
        self.all_until_boot = passing;
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if self.all_until_boot {
            self.until_boot.insert(key.clone());
        }
        self.changes.insert(key, Some(value));
    }

    /// Removes a row by its whole key, whatever it is. For repairs.
    pub fn remove_row(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }
}

impl Rows for Txn<'_> {
    fn is_until_boot(&self, key: &[u8]) -> bool {
        self.until_boot.contains(key) || self.base.is_until_boot(key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows: BTreeMap<_, _> = self.base.scan(prefix)?.into_iter().collect();
        for (key, value) in self
            .changes
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().collect())
    }
}
