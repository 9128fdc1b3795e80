//! The packs and the index of the base: read like one's own, and what is wrong there is said to be there.

use cairn_model::{BlobId, PackId};

use super::{Damage, Scrub, is_damage};
use crate::base::Base;
use crate::error::Error;
use crate::index::Index;

/// Reads the files of the base's index.
pub(super) fn verify_index(base: &Base, out: &mut Scrub) {
    for segment in base.index().segments() {
        blame(base, out, segment.verify().err(), None, None);
    }
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
pub(super) fn pack(
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
            let read = file.blob(slot, &mut scratch, &|other| base.content(other));
            blame(base, &mut out, read.err(), Some(*id), Some(slot.id));
        }
        progress(slot.record_bytes());
    }
    out
}
