//! One blob, compressed or not.

use zstd::bulk;
use zstd::zstd_safe::CParameter;

use crate::error::{Error, Result};
use crate::pack::Codec;

const ZSTD_LEVEL: i32 = 3;
/// Level of content that is compressed while nobody waits for it: an eighth smaller, at a thirtieth of the speed.
pub(crate) const THOROUGH_LEVEL: i32 = 15;
/// Content longer than this is compressed with tables of [`LONG_TABLES`] instead of the level's own,
/// which are larger than a core's nearest cache: a tenth faster for half a percent of size.
const LONG_BYTES_MIN: usize = 16 * 1024;
const LONG_TABLES: [CParameter; 3] = [
    CParameter::HashLog(15),
    CParameter::ChainLog(14),
    CParameter::MinMatch(5),
];
/// Shorter content does not get shorter: a zstd frame alone takes nine bytes or more.
const TINY_BYTES: usize = 24;
/// Content from this length on is looked at before it is compressed.
const PROBE_BYTES_MIN: usize = 16 * 1024;
/// Bytes drawn from all over the content to judge it by.
const SAMPLES: usize = 2048;
/// Stretch in the middle that a fast level tries where the samples look like noise.
const TRIAL_BYTES: usize = 8 * 1024;

/// Level for content that does not get shorter: blocks as they are, in a frame.
const FRAME_ONLY_LEVEL: i32 = -50;

/// Compresses blob after blob with one context.
#[derive(Default)]
pub struct Compressor {
    /// All content becomes a frame with a checksum.
    framed: bool,
    thorough: bool,
    noise: Option<bulk::Compressor<'static>>,
    short: Option<bulk::Compressor<'static>>,
    long: Option<bulk::Compressor<'static>>,
    trial: Option<bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl Compressor {
    /// One for a repository with the feature `frames`, or without.
    pub fn new(framed: bool) -> Self {
        Self {
            framed,
            ..Self::default()
        }
    }

    /// One that takes its time.
    pub fn thorough(framed: bool) -> Self {
        Self {
            framed,
            thorough: true,
            ..Self::default()
        }
    }

    /// The payload to store for `content`, and how it is encoded. Content that looks compressed already
    /// is stored as it is without trying.
    pub fn pack<'a>(&'a mut self, content: &'a [u8]) -> Result<(Codec, &'a [u8])> {
        if self.framed {
            self.frame(content)?;
            return Ok((Codec::Frame, &self.out));
        }
        if content.len() < TINY_BYTES || self.is_noise(content)? {
            return Ok((Codec::Plain, content));
        }
        self.compress(content, &[])?;
        Ok(if self.out.len() < content.len() {
            (Codec::Zstd, &self.out)
        } else {
            (Codec::Plain, content)
        })
    }

    /// Makes a frame of any content.
    fn frame(&mut self, content: &[u8]) -> Result<()> {
        const CHECKED: CParameter = CParameter::ChecksumFlag(true);
        if !self.is_noise(content)? {
            return self.compress(content, &[CHECKED]);
        }
        let (noise, out) = (&mut self.noise, &mut self.out);
        compress(noise, FRAME_ONLY_LEVEL, &[CHECKED], content, out)
    }

    /// `more` is the same with every call.
    fn compress(&mut self, content: &[u8], more: &[CParameter]) -> Result<()> {
        let (context, tables) = match content.len() > LONG_BYTES_MIN {
            true if !self.thorough => (&mut self.long, &LONG_TABLES[..]),
            _ => (&mut self.short, &[][..]),
        };
        let level = match self.thorough {
            true => THOROUGH_LEVEL,
            false => ZSTD_LEVEL,
        };
        let parameters = [tables, more].concat();
        compress(context, level, &parameters, content, &mut self.out)
    }

    fn is_noise(&mut self, content: &[u8]) -> Result<bool> {
        if content.len() < PROBE_BYTES_MIN || !looks_like_noise(content) {
            return Ok(false);
        }
        let start = (content.len() - TRIAL_BYTES) / 2;
        let trial = &content[start..start + TRIAL_BYTES];
        compress(&mut self.trial, 1, &[], trial, &mut self.out)?;
        Ok(self.out.len() + TRIAL_BYTES / 64 > TRIAL_BYTES)
    }
}

/// The error of a context that does not compress.
pub(crate) fn failed(source: std::io::Error) -> Error {
    Error::Io {
        action: "compress for",
        path: "pack".into(),
        source,
    }
}

fn compress(
    context: &mut Option<bulk::Compressor<'static>>,
    level: i32,
    parameters: &[CParameter],
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let context = match context {
        Some(context) => context,
        none => {
            let mut fresh = bulk::Compressor::new(level).map_err(failed)?;
            for parameter in parameters {
                fresh.set_parameter(*parameter).map_err(failed)?;
            }
            none.insert(fresh)
        }
    };
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(content.len()));
    context.compress_to_buffer(content, out).map_err(failed)?;
    Ok(())
}

/// True where bytes drawn from all over `content` are spread as evenly as chance would have them. Two
/// draws of even bytes are equal once in 256 times; text and machine code come to several times that.
fn looks_like_noise(content: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    let step = content.len() / SAMPLES;
    for i in 0..SAMPLES {
        counts[usize::from(content[i * step])] += 1;
    }
    let equal: u64 = counts.iter().map(|n| u64::from(*n) * u64::from(*n)).sum();
    let even = SAMPLES + SAMPLES * (SAMPLES - 1) / 256;
    equal < (even + even / 8) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_stored_plain_and_the_rest_is_compressed() {
        let mut compressor = Compressor::default();
        let mut noise = vec![0; 100_000];
        let mut state = 1_u64;
        for byte in &mut noise {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        assert!(looks_like_noise(&noise));
        assert_eq!(compressor.pack(&noise).unwrap(), (Codec::Plain, &noise[..]));
        let text = b"the quick brown fox jumps over the lazy dog; ".repeat(2000);
        let packed = zstd::bulk::compress(&noise, 3).unwrap();
        assert_eq!(compressor.pack(&packed).unwrap().0, Codec::Plain);
        // Even bytes, yet worth compressing: the trial says so.
        let counting: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        for content in [&text, &counting] {
            let (codec, payload) = compressor.pack(content).unwrap();
            assert_eq!(codec, Codec::Zstd);
            assert_eq!(zstd::bulk::decompress(payload, 1 << 20).unwrap(), *content);
        }
    }

    #[test]
    fn a_frame_holds_any_content_and_shows_every_flipped_bit() {
        let mut compressor = Compressor::new(true);
        let mut noise = vec![0; 70_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text = b"the quick brown fox jumps over the lazy dog; ".repeat(2000);
        for content in [&b""[..], b"x", &noise[..100], &noise, &text[..60], &text] {
            let (codec, payload) = compressor.pack(content).unwrap();
            assert_eq!(codec, Codec::Frame);
            assert!(payload.len() <= content.len() + 32, "{}", content.len());
            let back = zstd::bulk::decompress(payload, content.len()).unwrap();
            assert_eq!(back, content);
            // What follows the header: there one bit says that there is a checksum at all.
            let mut bad = payload.to_vec();
            for at in (6..bad.len()).step_by(1 + bad.len() / 200) {
                bad[at] ^= 0x10;
                let back = zstd::bulk::decompress(&bad, content.len());
                assert!(back.is_err(), "byte {at} of {}", payload.len());
                bad[at] ^= 0x10;
            }
        }
    }
}
