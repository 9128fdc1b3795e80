//! Where large content is cut: FastCDC 2020 (Xia et al., "The Design of Fast Content-Defined Chunking
//! for Data Deduplication Based Storage Systems"), 16/64/256 KiB, normalisation level 1.
//!
//! The cuts depend on content alone, never on how it arrives; they are part of the repository format
//! (`docs/format.md`) and held by golden values below.

use fastcdc::v2020::FastCDC;

/// No chunk but the last is shorter.
pub const CHUNK_BYTES_MIN: usize = 16 * 1024;
/// What a chunk has on average, about; content up to this length is one blob.
pub const CHUNK_BYTES_AVG: usize = 64 * 1024;
/// No chunk is longer.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// Length of the first chunk of `window`.
///
/// `window` must hold the rest of the content or at least [`CHUNK_BYTES_MAX`] bytes of it, else the
/// answer would depend on how the content arrived.
pub fn first_cut(window: &[u8]) -> usize {
    let cdc = FastCDC::new(window, CHUNK_BYTES_MIN, CHUNK_BYTES_AVG, CHUNK_BYTES_MAX);
    cdc.cut(0, window.len()).1
}

/// All cuts of content that is at hand as a whole.
pub fn cut_all(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = content.len() <= CHUNK_BYTES_AVG;
        let (chunk, tail) = rest.split_at(if whole { rest.len() } else { first_cut(rest) });
        rest = tail;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed stream of bytes (xorshift64).
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..len.div_ceil(8))
            .flat_map(|_| step())
            .take(len)
            .collect()
    }

    #[test]
    fn cuts_are_golden() {
        let data = noise(1 << 20);
        let lens: Vec<usize> = cut_all(&data).map(<[u8]>::len).collect();
        assert_eq!(lens.iter().sum::<usize>(), data.len());
        assert_eq!(lens[..6], GOLDEN);
    }

    const GOLDEN: [usize; 6] = [44750, 219_962, 100_125, 28400, 91429, 28467];

    #[test]
    fn small_content_is_one_chunk_and_none_is_too_long() {
        assert_eq!(cut_all(&[]).count(), 0);
        assert_eq!(cut_all(&noise(CHUNK_BYTES_AVG)).count(), 1);
        assert!(cut_all(&vec![0; 1 << 20]).all(|c| c.len() <= CHUNK_BYTES_MAX));
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let old = noise(4 << 20);
        let mut new = old.clone();
        new.splice(1 << 20..1 << 20, *b"inserted");
        let known: std::collections::HashSet<&[u8]> = cut_all(&old).collect();
        let fresh = cut_all(&new).filter(|c| !known.contains(c)).count();
        assert!(fresh <= 3, "{fresh} chunks changed");
    }
}
