//! Reads what is stored and checks it; remembers when each pack was last found whole.
//!
//! Packs are the unit: one that was read to its end without a fault has that moment written down, so a
//! scrub that was stopped goes on where it was, and one that takes a share each night comes to all of
//! them in turn, those that were read longest ago first.

mod below;
mod choose;
mod pack;
mod throttle;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_model::{BlobId, Class, PackId, clock};
use cairn_sys::threads;

use crate::error::{Error, Result};
use crate::rows::{STATE, StateV1, VERIFIED, VerifiedV1, pack_rows};
use crate::store::Store;

pub use choose::{Chosen, choose};
pub use throttle::Throttle;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scope {
    /// Directories of packs, no content.
    Structure,
    /// Every byte.
    All,
    /// This share of all bytes (0 to 1; at least one pack), packs read longest ago first.
    Share(f64),
    /// Packs that were not found whole within this time.
    OlderThan(Duration),
}

/// How to scrub.
#[derive(Debug, Clone, Copy)]
pub struct ScrubOptions {
    /// What is read.
    pub scope: Scope,
    /// Bytes read a second, at most.
    pub rate: Option<u64>,
}

impl ScrubOptions {
    /// Every byte, as fast as it goes.
    pub fn all() -> Self {
        Self {
            scope: Scope::All,
            rate: None,
        }
    }

    /// No content.
    pub fn structure() -> Self {
        Self {
            scope: Scope::Structure,
            rate: None,
        }
    }
}

/// Something that is not as it was written.
#[derive(Debug)]
pub enum Damage {
    /// A pack whose file is gone, or whose directory does not read: all its blobs are in doubt.
    Pack {
        /// Which.
        id: PackId,
        /// How it shows.
        error: Error,
    },
    /// One blob.
    Blob {
        /// Which.
        id: BlobId,
        /// In which pack.
        pack: PackId,
        /// How it shows.
        error: Error,
    },
    /// A file of the index; made anew by a repair.
    Index(Error),
    /// Something in the base, which no repair here touches.
    Base {
        /// Which pack; none for a file of its index.
        pack: Option<PackId>,
        /// Which blob, where it is one.
        blob: Option<BlobId>,
        /// How it shows.
        error: Error,
    },
}

fn is_damage(error: &Error) -> bool {
    matches!(error.class(), Class::Corrupt | Class::NotFound)
}

/// What a scrub read.
#[derive(Debug, Default)]
pub struct Scrub {
    /// Packs read.
    pub packs: usize,
    /// Packs whose content was not read this time.
    pub skipped: usize,
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was wrong.
    pub damage: Vec<Damage>,
    /// Packs of the base among those that were read.
    pub base_packs: usize,
    /// What the system did not let be read, so that nothing is known of it.
    pub unread: Vec<Error>,
    /// Why it could not be written down what was found whole.
    pub forgotten: Option<Error>,
}

/// Checks packs as `options` say, on all cores, and the index. `progress` is told of bytes read.
pub fn scrub(
    store: &Store,
    options: &ScrubOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Scrub> {
    let _span = tracing::debug_span!("scrub").entered();
    let (chosen, skipped) = choose(store, options.scope)?;
    let content = options.scope != Scope::Structure;
    let index = store.reload_index()?;
    let throttle = Throttle::new(options.rate);
    let total = Mutex::new(Scrub::default());
    let failed = Mutex::new(None);
    let done = threads::for_each(threads::cores(), &chosen, |_, Chosen { id, row, .. }| {
        if store.watch().is_cancelled() {
            return Ok(());
        }
        let spend = |bytes| {
            throttle.spend(bytes);
            progress(bytes);
        };
        let part = match (row, store.base()) {
            (None, Some(base)) => below::pack(base, &index, id, content, &spend),
            (None, None) => return Ok(()),
            (Some(row), _) => pack::pack(store, &index, (id, row), content, &spend),
        };
        // What was not read to its end is not known to be whole.
        if content
            && !store.watch().is_cancelled()
            && let Err(e) = remember(store, id, &part)
        {
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(e);
        }
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.packs += 1;
        total.base_packs += usize::from(row.is_none());
        total.blobs += part.blobs;
        total.bytes += part.bytes;
        total.damage.extend(part.damage);
        total.unread.extend(part.unread);
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = done;
    store.watch().check()?;
    let mut scrub = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    scrub.skipped = skipped;
    scrub.forgotten = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    for segment in index.segments() {
        match segment.verify() {
            Err(e) if is_damage(&e) => scrub.damage.push(Damage::Index(e)),
            Err(e) => scrub.unread.push(e),
            Ok(()) => {}
        }
    }
    let nameless = nameless_packs(store)?;
    scrub.damage.extend(nameless.into_iter().map(Damage::Index));
    if let Some(base) = store.base() {
        below::verify_index(base, &mut scrub);
    }
    Ok(scrub)
}

/// Packs that the index finds blobs in and that no row in force names: their files may go at any time, or are
/// gone. Index and rows are those of one moment; where a crash parted them, the next writer brings them
/// together before it builds on either, and nothing can be said of them now.
fn nameless_packs(store: &Store) -> Result<Vec<Error>> {
    let (index, rows, generation) = store.db().read::<_, Error>(|rows| {
        let state = STATE.get(rows, [])?.unwrap_or(StateV1 { generation: 0 });
        Ok((store.reload_index()?, pack_rows(rows)?, state.generation))
    })?;
    if index.generation() != generation {
        return Ok(Vec::new());
    }
    let rows = rows.into_iter().filter(|(_, row)| row.retired.is_none());
    let in_force: HashSet<PackId> = rows.map(|(id, _)| id).collect();
    let found: HashSet<PackId> = index
        .packs()
        .filter(|id| !index.hidden().contains(id) && !in_force.contains(id))
        .collect();
    let words = |id: PackId| format!("it finds blobs in pack {id}, which is no longer in use");
    Ok(found
        .into_iter()
        .map(|id| Error::corrupt("the index", words(id)))
        .collect())
}

fn remember(store: &Store, id: &PackId, part: &Scrub) -> Result<()> {
    if !part.unread.is_empty() {
        return Ok(());
    }
    let whole = part.damage.is_empty();
    store.db().write::<_, Error>(|txn| {
        if whole {
            VERIFIED.put(txn, id.as_bytes(), &VerifiedV1 { at: clock::secs() })?;
        } else {
            VERIFIED.delete(txn, id.as_bytes());
        }
        Ok(())
    })
}
