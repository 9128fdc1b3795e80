//! What contents have in common, found without holding them against each other.
//!
//! A rolling hash over the content picks positions by its own value, so that the same bytes are picked wherever they
//! lie. Of twelve different orders of the hashes there, each remembers its greatest; four together are one *super
//! feature*. Two contents that share most of their bytes share a super feature most likely (Broder 1997, "On the
//! resemblance and containment of documents"; Shilane et al. 2012, "WAN optimized replication of backup datasets
//! using stream-informed delta compression").

/// Shorter content has too few positions to be told by.
const BYTES_MIN: usize = 512;
/// One position in so many is picked, by the upper bits of its hash.
const PICKED_BITS: u32 = 4;
const FEATURES: usize = 12;
/// Super features of a sketch.
pub const SUPER_FEATURES: usize = 3;

/// Numbers without a pattern (splitmix64).
const fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const fn table<const N: usize>(first: u64) -> [u64; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = mixed(first + i as u64);
        i += 1;
    }
    out
}

/// What each byte adds to the rolling hash.
const GEAR: [u64; 256] = table(1);
/// Odd factors and what is added, which put the hashes in an order each.
const FACTORS: [u64; FEATURES] = table(1 << 20);
const ADDED: [u64; FEATURES] = table(1 << 21);

/// Super features of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sketch(pub [u64; SUPER_FEATURES]);

impl Sketch {
    /// Of a content; none of a short one.
    pub fn of(content: &[u8]) -> Option<Self> {
        if content.len() < BYTES_MIN {
            return None;
        }
        let mut features = [0; FEATURES];
        let mut rolling = 0_u64;
        for byte in content {
            rolling = (rolling << 1).wrapping_add(GEAR[usize::from(*byte)]);
            if rolling >> (u64::BITS - PICKED_BITS) != 0 {
                continue;
            }
            for (i, feature) in features.iter_mut().enumerate() {
                let place = rolling.wrapping_mul(FACTORS[i] | 1).wrapping_add(ADDED[i]);
                *feature = place.max(*feature);
            }
        }
        let mut out = [0; SUPER_FEATURES];
        for (i, part) in features.chunks(FEATURES / SUPER_FEATURES).enumerate() {
            let join = |all: u64, feature: &u64| mixed(all.rotate_left(17) ^ feature);
            out[i] = part.iter().fold(i as u64, join);
        }
        Some(Self(out))
    }

    /// True where one super feature is that of the other.
    #[cfg(test)]
    fn resembles(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a == b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        let hasher = blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof();
        { hasher }.fill(&mut out);
        out
    }

    #[test]
    fn what_differs_little_resembles_and_what_is_strange_does_not() {
        let mut like = 0;
        for seed in 0..50 {
            let content = noise(seed, 60_000);
            let sketch = Sketch::of(&content).unwrap();
            assert_eq!(Sketch::of(&content), Some(sketch));
            // Bytes put in at the front, and some changed here and there.
            let mut other = [&b"some words before"[..], &content].concat();
            for at in (0..other.len()).step_by(20_000) {
                other[at] ^= 0x55;
            }
            like += usize::from(sketch.resembles(&Sketch::of(&other).unwrap()));
            let strange = Sketch::of(&noise(seed + 1000, 60_000)).unwrap();
            assert!(!sketch.resembles(&strange));
        }
        assert!(like >= 48, "{like} of 50");
        assert_eq!(Sketch::of(&noise(1, BYTES_MIN - 1)), None);
    }
}
