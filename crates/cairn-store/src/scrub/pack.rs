//! One pack of the repository: its directory against its row and the index, and its blobs.

use cairn_model::{BlobId, PackId};

use super::{Damage, Scrub, is_damage};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::rows::PackInfo;
use crate::store::Store;

fn is_live(store: &Store, id: &PackId) -> bool {
    let rows = store.pack_rows().unwrap_or_default();
    rows.iter()
        .any(|(known, row)| known == id && row.retired.is_none())
}

/// Reads a pack.
pub(super) fn pack(
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
        if store.watch().is_cancelled() {
            return out;
        }
        // Another copy may be the one that is found.
        let Ok(found) = index.find(&slot.id) else {
            continue;
        };
        // What a blob is the difference from is in its record, which may be damaged: the index says what it was.
        let own = found.filter(|at| at.pack == *id && at.slot.is_at(slot));
        let slot = own.as_ref().map_or(slot, |at| &at.slot);
        lost += u64::from(match found {
            None => in_force,
            Some(at) => known && at.pack == *id && own.is_none(),
        });
        out.blobs += 1;
        out.bytes += slot.record_bytes();
        if content {
            let other = slot.codec.reference();
            // What it is the difference from was collected, as nobody needed it any more. Whether somebody does is told
            // with the layers.
            if other.is_some_and(|other| matches!(store.has(&other), Ok(false))) {
                continue;
            }
            let read = file.blob(slot, &mut scratch, &|other| store.reference(other));
            // Where that is damaged, this is whole.
            let blamed = match (&read, other) {
                (Err(e), Some(other)) if is_damage(e) && store.reference(&other).is_err() => {
                    store.pack_of(&other).unwrap_or(*id)
                }
                _ => *id,
            };
            out.note(slot.id, &blamed, read.map(drop));
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

impl Scrub {
    /// Notes how the reading of a blob ended.
    fn note(&mut self, id: BlobId, pack: &PackId, read: Result<()>) {
        match read {
            Ok(()) => {}
            Err(error) if is_damage(&error) => self.damage.push(Damage::Blob {
                id,
                pack: *pack,
                error,
            }),
            // One line says it for all of them.
            Err(error) if self.unread.is_empty() => self.unread.push(error),
            Err(_) => {}
        }
    }
}
