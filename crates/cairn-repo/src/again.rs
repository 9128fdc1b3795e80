//! Reports beside removals: what a report began to read may be collected before it gets there.

use cairn_layer::Layer;
use cairn_store::Rows;

use crate::error::Result;
use crate::repo::Repo;
use crate::rows;

/// After so many changes in the middle of a report its error is told.
const TRIES: usize = 5;

impl Repo {
    /// Reads, and reads again where something was missing that a removal meanwhile explains.
    pub(super) fn unless_changed<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        let now =
            || -> Result<Vec<Layer>> { self.store.db().read(|rows: &dyn Rows| rows::layers(rows)) };
        let mut tries = 0;
        loop {
            let before = now()?;
            match read() {
                Err(e) if e.is_corruption() && tries < TRIES && now()? != before => tries += 1,
                done => return done,
            }
        }
    }
}
