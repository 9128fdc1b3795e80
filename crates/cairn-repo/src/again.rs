//! Reports beside removals: what a report began to read may be collected before it gets there.

use cairn_layer::Layer;
use cairn_store::Rows;

use crate::error::Result;
use crate::repo::Repo;
use crate::rows;

/// After so many changes in the middle of a report its error is told.
const TRIES: usize = 5;

impl Repo {
    /// Reads, and reads again where something was missing, as long as layers come and go meanwhile.
    pub(crate) fn unless_changed<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        let mut known: Option<Vec<Layer>> = None;
        for _ in 0..TRIES {
            match read() {
                Err(e) if e.is_corruption() => {
                    let now = self.store.db().read(|rows: &dyn Rows| rows::layers(rows))?;
                    if known.as_ref() == Some(&now) {
                        return Err(e);
                    }
                    known = Some(now);
                }
                done => return done,
            }
        }
        read()
    }
}
