//! Who stores a blob: of all threads that meet it, the first.
//!
//! A claimed id is in `seen` until the pack that holds it is staged, and in a staged segment from then
//! on. The order of the two changes is what makes it right at every moment: the segment is added before
//! the ids are taken out, and whoever claims an id looks at `seen` first and at the segments after it. All
//! schedules of this are run by `tests/in_flight.rs`, which brings its own locks under the name `sync`.

use std::collections::HashSet;
use std::hash::Hash;

use super::sync::{Mutex, PoisonError, RwLock};

/// What the threads of one ingest have taken upon them; `S` is a staged segment.
pub struct InFlight<I, S> {
    seen: Mutex<HashSet<I>>,
    staged: RwLock<Vec<S>>,
}

impl<I: Eq + Hash + Copy, S> InFlight<I, S> {
    pub fn new() -> Self {
        Self {
            seen: Mutex::new(HashSet::new()),
            staged: RwLock::new(Vec::new()),
        }
    }

    /// True for the first who asks for `id`: that one stores it, and the others rely on it. `holds` looks
    /// into a segment.
    pub fn claim<E>(&self, id: &I, holds: impl Fn(&S) -> Result<bool, E>) -> Result<bool, E> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.insert(*id) {
            return Ok(false);
        }
        drop(seen);
        let staged = self.staged.read().unwrap_or_else(PoisonError::into_inner);
        for segment in staged.iter() {
            if holds(segment)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From now on `ids` are found in a segment, which `add` puts among the others.
    pub fn stage<E>(
        &self,
        ids: &[I],
        add: impl FnOnce(&mut Vec<S>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut staged = self.staged.write().unwrap_or_else(PoisonError::into_inner);
        add(&mut staged)?;
        drop(staged);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            seen.remove(id);
        }
        Ok(())
    }
}
