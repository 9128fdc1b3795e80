//! The shortest of the ways in which a blob can be stored.

use std::sync::{Mutex, PoisonError};

use cairn_model::BlobId;
use zstd::zstd_safe::{CCtx, CParameter, ErrorCode, compress_bound, get_error_name};

use crate::compress::{Compressor, THOROUGH_LEVEL, failed};
use crate::error::Result;
use crate::pack::{Codec, REFERENCE};
use crate::store::Store;

/// A difference is kept where it is shorter than this part of the blob alone: it takes reading two blobs, and keeps
/// the other one.
const KEPT_BELOW: f64 = 0.7;
/// By which of several is chosen what a blob becomes the difference from.
const TRIAL_LEVEL: i32 = 3;
/// Least bits of a window.
const WINDOW_LOG_MIN: u32 = 10;

/// Contexts for blobs alone, which are used again and again.
pub(super) struct Encoder<'a> {
    store: &'a Store,
    alone: Mutex<Vec<Compressor>>,
}

impl<'a> Encoder<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            alone: Mutex::default(),
        }
    }

    /// How to store a content, alone or as the difference from one of those that are offered.
    pub fn encode(&self, content: &[u8], offered: &[BlobId]) -> Result<(Codec, Vec<u8>)> {
        let alone = self.alone(content)?;
        let Some((id, reference)) = self.nearest(content, offered)? else {
            return Ok(alone);
        };
        let mut payload = id.as_bytes().to_vec();
        payload.extend(difference(content, &reference, THOROUGH_LEVEL)?);
        let is_kept = (payload.len() as f64) < alone.1.len() as f64 * KEPT_BELOW;
        Ok(match is_kept {
            true => (Codec::Delta(id), payload),
            false => alone,
        })
    }

    fn alone(&self, content: &[u8]) -> Result<(Codec, Vec<u8>)> {
        let pool = || self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pool().pop();
        let mut compressor =
            before.unwrap_or_else(|| Compressor::thorough(self.store.has_frames()));
        let packed = compressor.pack(content);
        let packed = packed.map(|(codec, payload)| (codec, payload.to_vec()));
        pool().push(compressor);
        packed
    }

    /// Of several, the one from which the content differs least.
    fn nearest(&self, content: &[u8], offered: &[BlobId]) -> Result<Option<(BlobId, Vec<u8>)>> {
        let mut best: Option<(usize, BlobId, Vec<u8>)> = None;
        for id in offered {
            // One that does not read is damage, which a check names; nothing becomes a difference from it.
            let Ok(reference) = self.store.reference(id) else {
                continue;
            };
            let length = match offered.len() {
                1 => REFERENCE,
                _ => difference(content, &reference, TRIAL_LEVEL)?.len(),
            };
            if best.as_ref().is_none_or(|(least, ..)| length < *least) {
                best = Some((length, *id, reference));
            }
        }
        Ok(best.map(|(_, id, reference)| (id, reference)))
    }
}

/// A frame of `content` with `reference` as its prefix. The window holds both.
fn difference(content: &[u8], reference: &[u8], level: i32) -> Result<Vec<u8>> {
    let refused = |code: ErrorCode| failed(std::io::Error::other(get_error_name(code)));
    let context = CCtx::try_create();
    let mut context = context.ok_or_else(|| failed(std::io::ErrorKind::OutOfMemory.into()))?;
    let window = (content.len() + reference.len()).max(1).ilog2() + 1;
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window.max(WINDOW_LOG_MIN)),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(refused)?;
    }
    context.ref_prefix(reference).map_err(refused)?;
    let mut out = Vec::with_capacity(compress_bound(content.len()));
    context.compress2(&mut out, content).map_err(refused)?;
    Ok(out)
}
