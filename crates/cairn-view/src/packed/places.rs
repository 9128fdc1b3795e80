//! Which contents the kernel can read from packs, and where they are.
//!
//! A file is read from packs if each of its pieces is a frame in a pack of this repository (not of its base, which
//! may be elsewhere tomorrow) that the kernel decodes and finds damage in, and if no two of them may be read
//! together by mistake. Any other file becomes an object: one with holes, or with content that was stored
//! before there were frames.

use std::collections::HashMap;

use cairn_model::{Content, ObjectId, PackId, Piece};
use cairn_store::{Codec, Index, Slot, Store, is_checksum_cut};
use cairn_sys::threads;

use crate::erofs::{
    BLOCK, DEVICES_MAX, Encoded, Extent, FILE_BYTES_MAX, FRAME_BYTES_MAX, may_merge,
};
use crate::error::{At, Result};

/// Bytes of a record before its frame.
const RECORD_HEADER: u64 = 16;

/// Where contents are.
#[derive(Default)]
pub(super) struct Places {
    /// Files in packs; the devices are the packs.
    pub encoded: Encoded,
    /// In the order of the devices.
    pub packs: Vec<PackId>,
    /// Contents that are objects.
    pub objects: Vec<Content>,
}

/// Where a frame is in its pack; none where the kernel must not read it.
fn frame_of(slot: &Slot, length: u32) -> Option<(u64, u32)> {
    let at = u64::from(slot.offset) + RECORD_HEADER;
    let readable = slot.codec == Codec::Frame
        && slot.raw == length
        && slot.raw <= FRAME_BYTES_MAX
        && slot.stored <= FRAME_BYTES_MAX
        && !is_checksum_cut(at + u64::from(slot.stored));
    readable.then_some((at, slot.stored))
}

/// A piece of a file.
struct Frame {
    pack: PackId,
    at: u64,
    stored: u32,
    len: u32,
}

/// The frames of a content; none where the kernel must not read one of them, or there is none.
fn locations(index: &Index, content: &Content) -> Result<Option<Vec<Frame>>> {
    if content.size > FILE_BYTES_MAX {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(content.pieces.len());
    for piece in &content.pieces {
        let Piece::Data { id, len } = piece else {
            return Ok(None);
        };
        let Some(found) = index.find(id)? else {
            return Ok(None);
        };
        let Some((at, stored)) = frame_of(&found.slot, *len) else {
            return Ok(None);
        };
        let (pack, len) = (found.pack, *len);
        out.push(Frame {
            pack,
            at,
            stored,
            len,
        });
    }
    Ok(Some(out))
}

impl Places {
    /// Of these contents, with their objects.
    pub fn find(store: &Store, contents: &[(ObjectId, &Content)]) -> Result<Self> {
        let index = store.index();
        let mut out = Self::default();
        let mut numbers = HashMap::new();
        // Looking blobs up takes longest, and each by itself.
        let count = threads::for_items(contents.len());
        let found = threads::map(count, contents, |(_, content)| locations(&index, content))?;
        for ((object, content), found) in contents.iter().zip(found) {
            match out.extents_of(store, content, found, &mut numbers)? {
                Some(extents) => drop(out.encoded.files.insert(*object, extents)),
                None => out.objects.push(Content::clone(content)),
            }
        }
        Ok(out)
    }

    fn extents_of(
        &mut self,
        store: &Store,
        content: &Content,
        found: Option<Vec<Frame>>,
        numbers: &mut HashMap<PackId, u32>,
    ) -> Result<Option<Vec<Extent>>> {
        let Some(found) = found else {
            return Ok(None);
        };
        let mut extents = Vec::with_capacity(found.len());
        let mut start = 0_u64;
        for found in found {
            let Frame {
                at, stored, len, ..
            } = found;
            let device = match numbers.get(&found.pack) {
                Some(number) => *number,
                None if self.packs.len() == DEVICES_MAX => return Ok(None),
                None => self.add(store, found.pack, numbers)?,
            };
            // The kernel reads whole blocks, and the end of the file inside one is an error to it.
            let end = (at + u64::from(stored)).next_multiple_of(BLOCK as u64);
            if end > self.encoded.devices[device as usize] {
                return Ok(None);
            }
            extents.push(Extent {
                device,
                at,
                stored,
                start: start as u32,
            });
            start += u64::from(len);
        }
        let fits = start == content.size && !may_merge(&extents);
        Ok(fits.then_some(extents))
    }

    fn add(
        &mut self,
        store: &Store,
        pack: PackId,
        numbers: &mut HashMap<PackId, u32>,
    ) -> Result<u32> {
        let path = store.pack_path(&pack);
        let bytes = match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(cairn_store::Error::MissingPack(pack).into());
            }
            done => done.at("stat pack", &path)?.len(),
        };
        let number = self.packs.len() as u32;
        self.packs.push(pack);
        self.encoded.devices.push(bytes);
        numbers.insert(pack, number);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::BlobId;

    use super::*;

    #[test]
    fn what_the_kernel_would_not_find_damage_in_is_not_read_by_it() {
        let slot = |codec, offset, stored| Slot {
            id: BlobId::of(b"x"),
            offset,
            stored,
            raw: 100_000,
            codec,
        };
        let readable = |slot| frame_of(&slot, 100_000).is_some();
        assert!(readable(slot(Codec::Frame, 32, 5000)));
        assert_eq!(
            frame_of(&slot(Codec::Frame, 32, 5000), 100_000),
            Some((48, 5000))
        );
        assert!(frame_of(&slot(Codec::Frame, 32, 5000), 99_999).is_none());
        for codec in [Codec::Plain, Codec::Zstd] {
            assert!(!readable(slot(codec, 32, 5000)));
        }
        assert!(!readable(slot(Codec::Frame, 32, (1 << 20) + 1)));
        for (end, whole) in [
            (8191, true),
            (8192, true),
            (8193, false),
            (8195, false),
            (8196, true),
        ] {
            assert_eq!(readable(slot(Codec::Frame, 84, end - 100)), whole, "{end}");
        }
    }
}
