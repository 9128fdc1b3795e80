//! Reads what is stored and checks it; remembers when each pack was last found whole.
//!
//! Packs are the unit: one that was read to its end without a fault has that moment written down, so a
//! scrub that was stopped goes on where it was, and one that takes a share each night comes to all of
//! them in turn, those that were read longest ago first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cairn_model::{BlobId, Class, PackId};
use cairn_sys::threads;

use crate::base::Base;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::rows::{PackInfo, VERIFIED, VerifiedV1, pack_rows};
use crate::store::Store;

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

/// A pack that is read.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Which.
    pub id: PackId,
    /// Its length, bytes.
    pub bytes: u64,
    /// What its row says; none for a pack of the base.
    row: Option<PackInfo>,
}

/// Packs of the base. One that does not open is chosen too, so that it is said.
fn base_packs(store: &Store) -> Result<Vec<Chosen>> {
    let Some(base) = store.base() else {
        return Ok(Vec::new());
    };
    base.reload()?;
    let chosen = |id: PackId| Chosen {
        id,
        bytes: base.pack(&id).and_then(|pack| pack.size()).unwrap_or(0),
        row: None,
    };
    Ok(base.pack_ids().into_iter().map(chosen).collect())
}

/// Packs whose content a scrub of `scope` would read, and how many it would not.
pub fn choose(store: &Store, scope: Scope) -> Result<(Vec<Chosen>, usize)> {
    let (rows, verified) = store
        .db()
        .read::<_, Error>(|rows| Ok((pack_rows(rows)?, VERIFIED.scan(rows, [])?)))?;
    let verified: HashMap<Vec<u8>, u64> = verified
        .into_iter()
        .map(|(key, row)| (key, row.at))
        .collect();
    let at = |id: &PackId| verified.get(&id.as_bytes()[..]).copied().unwrap_or(0);
    let mut packs = base_packs(store)?;
    let own = rows.into_iter().filter(|(_, row)| row.retired.is_none());
    packs.extend(own.map(|(id, row)| Chosen {
        id,
        bytes: row.bytes,
        row: Some(row),
    }));
    let all = packs.len();
    packs.sort_by_key(|pack| at(&pack.id));
    match scope {
        Scope::Structure | Scope::All => {}
        Scope::Share(share) => {
            let total: u64 = packs.iter().map(|pack| pack.bytes).sum();
            let mut left = total as f64 * share;
            packs.retain(|pack| {
                let wanted = left > 0.0;
                left -= pack.bytes as f64;
                wanted
            });
        }
        Scope::OlderThan(age) => {
            let limit = now().saturating_sub(age.as_secs());
            // A moment in the future is a clock that was wrong: read again.
            packs.retain(|pack| at(&pack.id) <= limit || at(&pack.id) > now());
        }
    }
    let skipped = all - packs.len();
    Ok((packs, skipped))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

/// Keeps reading under a rate, over all threads.
pub struct Throttle {
    start: Instant,
    rate: Option<u64>,
    bytes: Mutex<u64>,
}

impl Throttle {
    /// Bytes a second, at most; none for as fast as it goes.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            start: Instant::now(),
            rate,
            bytes: Mutex::new(0),
        }
    }

    /// Counts bytes that were read, and waits where that was too fast.
    pub fn spend(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let mut spent = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *spent += bytes;
        let due = Duration::from_secs_f64(*spent as f64 / rate.max(1) as f64);
        drop(spent);
        std::thread::sleep(due.saturating_sub(self.start.elapsed()));
    }
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
        let spend = |bytes| {
            throttle.spend(bytes);
            progress(bytes);
        };
        let part = match (row, store.base()) {
            (None, Some(base)) => base_pack(base, &index, id, content, &spend),
            (None, None) => return Ok(()),
            (Some(row), _) => pack(store, &index, (id, row), content, &spend),
        };
        if content && let Err(e) = remember(store, id, &part) {
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
    if let Some(base) = store.base() {
        for segment in base.index().segments() {
            let verified = segment.verify();
            blame(base, &mut scrub, verified.err(), None, None);
        }
    }
    Ok(scrub)
}

/// Puts an error of the base where it belongs.
fn blame(
    base: &Base,
    out: &mut Scrub,
    error: Option<Error>,
    pack: Option<PackId>,
    blob: Option<BlobId>,
) {
    let Some(error) = error else { return };
    let error = match error {
        wrapped @ Error::InBase { .. } => wrapped,
        bare => base.wrap(bare),
    };
    if is_damage(&error) {
        out.damage.push(Damage::Base { pack, blob, error });
    } else if out.unread.is_empty() {
        // One line says it for all of them.
        out.unread.push(error);
    }
}

/// Reads a pack of the base.
fn base_pack(
    base: &Base,
    own: &Index,
    id: &PackId,
    content: bool,
    progress: &dyn Fn(u64),
) -> Scrub {
    let mut out = Scrub::default();
    let opened = base.pack(id).and_then(|file| Ok((file.directory()?, file)));
    let (directory, file) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            // Its owner's collection may have taken it since the index was read.
            let gone = base.reload().is_ok() && !base.pack_ids().contains(id);
            blame(base, &mut out, (!gone).then_some(e), Some(*id), None);
            return out;
        }
    };
    let mut scratch = Vec::new();
    for slot in &directory.slots {
        out.blobs += 1;
        out.bytes += slot.record_bytes();
        // A copy here is the one that is read, whatever the base's is like.
        let needed = !matches!(own.find(&slot.id), Ok(Some(_)));
        if content && needed {
            let read = file.blob(slot, &mut scratch);
            blame(base, &mut out, read.err(), Some(*id), Some(slot.id));
        }
        progress(slot.record_bytes());
    }
    out
}

fn remember(store: &Store, id: &PackId, part: &Scrub) -> Result<()> {
    if !part.unread.is_empty() {
        return Ok(());
    }
    let whole = part.damage.is_empty();
    store.db().write::<_, Error>(|txn| {
        if whole {
            VERIFIED.put(txn, id.as_bytes(), &VerifiedV1 { at: now() })?;
        } else {
            VERIFIED.delete(txn, id.as_bytes());
        }
        Ok(())
    })
}

fn is_live(store: &Store, id: &PackId) -> bool {
    let rows = store.pack_rows().unwrap_or_default();
    rows.iter()
        .any(|(known, row)| known == id && row.retired.is_none())
}

fn pack(
    store: &Store,
    index: &Index,
    (id, row): (&PackId, &PackInfo),
    content: bool,
    progress: &dyn Fn(u64),
) -> Scrub {
    let mut out = Scrub::default();
    let opened = store
        .pack(id)
        .and_then(|file| Ok((file.directory()?, file)));
    let (directory, file) = match opened {
        Ok(opened) => opened,
        // A collection may have taken it since the rows were read.
        Err(_) if !is_live(store, id) => return out,
        Err(error) if !is_damage(&error) => {
            out.unread.push(error);
            return out;
        }
        Err(error) => {
            out.damage.push(Damage::Pack { id: *id, error });
            return out;
        }
    };
    if directory.bytes != row.bytes
        || directory.slots.len() as u32 != row.blobs
        || directory.id != *id
    {
        let error = Error::corrupt(
            format!("pack {id}"),
            "its length, count or name differ from its row",
        );
        out.damage.push(Damage::Pack { id: *id, error });
    }
    let hidden = index.hidden().contains(id);
    let known = !hidden && index.packs().any(|pack| pack == *id);
    // The segment of a pack in force may be gone as a whole, with a sound one of another pack in its place.
    let in_force = known || (!hidden && row.retired.is_none());
    let mut lost = 0;
    let mut scratch = Vec::new();
    for slot in &directory.slots {
        // Another copy may be the one that is found.
        let Ok(found) = index.find(&slot.id) else {
            continue;
        };
        lost += u64::from(match found {
            None => in_force,
            Some(at) => known && at.pack == *id && at.slot != *slot,
        });
        out.blobs += 1;
        out.bytes += slot.record_bytes();
        if content {
            match file.blob(slot, &mut scratch) {
                Ok(_) => {}
                Err(error) if is_damage(&error) => out.damage.push(Damage::Blob {
                    id: slot.id,
                    pack: *id,
                    error,
                }),
                // One line says it for all of them.
                Err(error) if out.unread.is_empty() => out.unread.push(error),
                Err(_) => {}
            }
            progress(slot.record_bytes());
        }
    }
    // Unless a collection took the pack since the rows were read.
    if lost > 0 && (known || is_live(store, id)) {
        out.damage.push(Damage::Index(Error::corrupt(
            "the index",
            format!("it does not say where {lost} blobs of pack {id} are"),
        )));
    }
    out
}
