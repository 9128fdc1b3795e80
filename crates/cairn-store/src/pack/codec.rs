//! How the content of a blob is stored, and how it comes back.

use std::cell::RefCell;

use cairn_model::BlobId;
use zstd::zstd_safe::DCtx;

use super::Slot;

/// Bytes of a reference's id, which come before the frame of a difference.
pub(crate) const REFERENCE: usize = 32;
const DELTA: u8 = 3;

/// How a blob's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Plain,
    /// One zstd frame.
    Zstd,
    /// One zstd frame with its content checksum, also around what does not get shorter, so that the kernel
    /// can read it in place and finds damage by itself. In repositories with the feature `frames` only.
    Frame,
    /// The difference from another blob: its id, and a zstd frame of which that blob's content is the prefix. The
    /// other is stored in any of the other ways. In repositories with the feature `deltas` only.
    Delta(BlobId),
}

impl Codec {
    /// The number that stands for it in packs and indexes.
    pub fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Zstd => 1,
            Self::Frame => 2,
            Self::Delta(_) => DELTA,
        }
    }

    /// The one with this number; none where there is none, or where it takes more than a number.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            2 => Some(Self::Frame),
            _ => None,
        }
    }

    /// The one with this number; `reference` is asked where it is a difference.
    pub(crate) fn with<E>(
        number: u8,
        reference: impl FnOnce() -> Result<BlobId, E>,
    ) -> Result<Option<Self>, E> {
        match number {
            DELTA => reference().map(|id| Some(Self::Delta(id))),
            _ => Ok(Self::of(number)),
        }
    }

    /// The blob without which the content does not come back.
    pub fn reference(self) -> Option<BlobId> {
        match self {
            Self::Delta(id) => Some(id),
            _ => None,
        }
    }
}

/// The id at the front of the payload of a difference.
pub(super) fn reference_of(payload: &[u8]) -> Option<BlobId> {
    payload.first_chunk().map(|id| BlobId::from_bytes(*id))
}

thread_local! {
    /// Making one takes longer than to decompress a short blob.
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// The content of a stored payload; `None` where it does not decompress to the length of `slot`. `reference` is the
/// content of the blob that it is the difference from.
pub fn decompress(slot: &Slot, payload: &[u8], reference: Option<&[u8]>) -> Option<Vec<u8>> {
    let raw = slot.raw as usize;
    match slot.codec {
        Codec::Plain => (payload.len() == raw).then(|| payload.to_vec()),
        // A checksum that there is, is checked.
        Codec::Zstd | Codec::Frame => {
            let mut content = Vec::with_capacity(raw);
            CONTEXT.with_borrow_mut(|context| {
                let context = match context {
                    Some(context) => context,
                    none => none.insert(DCtx::try_create()?),
                };
                context.decompress(&mut content, payload).ok()
            })?;
            (content.len() == raw).then_some(content)
        }
        Codec::Delta(id) => {
            let (own, frame) = payload.split_at_checked(REFERENCE)?;
            let prefix = reference.filter(|_| own == id.as_bytes())?;
            let mut context = DCtx::try_create()?;
            context.ref_prefix(prefix).ok()?;
            let mut content = Vec::with_capacity(raw);
            context.decompress(&mut content, frame).ok()?;
            (content.len() == raw).then_some(content)
        }
    }
}
