//! Reads everything and checks it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cairn_model::{BlobId, PackId};

use crate::error::{Error, Result};
use crate::store::{PackRowV1, Store};

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
}

/// What a scrub read.
#[derive(Debug, Default)]
pub struct Scrub {
    /// Packs read.
    pub packs: usize,
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was wrong.
    pub damage: Vec<Damage>,
}

/// Checks packs, and with `content` every blob in them, on all cores. `progress` is told of bytes read.
pub fn scrub(store: &Store, content: bool, progress: &(dyn Fn(u64) + Sync)) -> Result<Scrub> {
    let rows: Vec<(PackId, PackRowV1)> = store
        .pack_rows()?
        .into_iter()
        .filter(|(_, row)| row.condemned.is_none())
        .collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Scrub::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((id, row)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let part = pack(store, id, row, content, progress);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.packs += 1;
                    total.blobs += part.blobs;
                    total.bytes += part.bytes;
                    total.damage.extend(part.damage);
                }
            });
        }
    });
    let mut scrub = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    for segment in store.reload_index()?.segments() {
        if let Err(e) = segment.verify() {
            scrub.damage.push(Damage::Index(e));
        }
    }
    Ok(scrub)
}

fn is_live(store: &Store, id: &PackId) -> bool {
    let rows = store.pack_rows().unwrap_or_default();
    rows.iter()
        .any(|(known, row)| known == id && row.condemned.is_none())
}

fn pack(
    store: &Store,
    id: &PackId,
    row: &PackRowV1,
    content: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Scrub {
    let mut out = Scrub::default();
    let opened = store
        .pack(id)
        .and_then(|file| Ok((file.directory()?, file)));
    let (directory, file) = match opened {
        Ok(opened) => opened,
        // A collection may have taken it since the rows were read.
        Err(_) if !is_live(store, id) => return out,
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
    let index = store.index();
    let known = index.packs().any(|pack| pack == *id) && !index.hidden().contains(id);
    let mut lost = 0;
    let mut scratch = Vec::new();
    for slot in &directory.slots {
        // Another copy may be the one that is found.
        let found = index.find(&slot.id).ok().flatten();
        lost += u64::from(known && found.is_none_or(|at| at.pack == *id && at.slot != *slot));
        out.blobs += 1;
        out.bytes += slot.record_bytes();
        if content {
            if let Err(error) = file.blob(slot, &mut scratch) {
                out.damage.push(Damage::Blob {
                    id: slot.id,
                    pack: *id,
                    error,
                });
            }
            progress(slot.record_bytes());
        }
    }
    if lost > 0 {
        out.damage.push(Damage::Index(Error::corrupt(
            "the index",
            format!("it does not say where {lost} blobs of pack {id} are"),
        )));
    }
    out
}
