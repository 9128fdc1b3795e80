//! Packs that are open, a few at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_model::{Class, PackId};

use super::{PackReader, PackSource};
use crate::error::{Error, Result};

const OPEN_PACKS_MAX: usize = 128;

/// A source, and those of its packs that were read lately.
#[derive(Debug)]
pub struct OpenPacks {
    source: Arc<dyn PackSource>,
    opened: Mutex<HashMap<PackId, Arc<PackReader>>>,
}

impl OpenPacks {
    /// Nothing open yet.
    pub fn new(source: Arc<dyn PackSource>) -> Self {
        Self {
            source,
            opened: Mutex::default(),
        }
    }

    /// Where they come from.
    pub fn source(&self) -> &dyn PackSource {
        &*self.source
    }

    /// An open pack.
    pub fn get(&self, id: &PackId) -> Result<Arc<PackReader>> {
        if let Some(pack) = self.opened().get(id) {
            return Ok(pack.clone());
        }
        let opened = self.source.open(id).map_err(|e| match e.class() {
            Class::NotFound => Error::MissingPack(*id),
            _ => e,
        });
        let pack = Arc::new(opened?);
        let mut packs = self.opened();
        // Descriptors are few. Those in use stay open until their readers are done.
        if packs.len() >= OPEN_PACKS_MAX {
            packs.clear();
        }
        packs.insert(*id, pack.clone());
        Ok(pack)
    }

    /// Lets go of a pack.
    pub fn forget(&self, id: &PackId) {
        self.opened().remove(id);
    }

    /// Lets go of all packs but those that `stays` says.
    pub fn retain(&self, stays: impl FnOnce() -> HashSet<PackId>) {
        let mut opened = self.opened();
        if !opened.is_empty() {
            let stays = stays();
            opened.retain(|id, _| stays.contains(id));
        }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<PackId, Arc<PackReader>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
