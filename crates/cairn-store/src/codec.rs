//! The one place that turns values into bytes and back.
//!
//! A stored value is an envelope around bincode: magic, type, version, length, CRC-32 of the payload.
//! Decoding has limits, consumes every byte, and refuses what it does not know.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};
use crate::kinds::Kind;

const MAGIC: u16 = 0xCA1E;
const HEADER: usize = 12;

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_varint_encoding()
        .reject_trailing_bytes()
}

/// A type with a frozen wire form.
pub trait Stored: Serialize + DeserializeOwned {
    /// What it is, from the one list of all kinds.
    const KIND: Kind;
    /// Version of its wire form.
    const VERSION: u8 = 1;
}

/// Bare bincode, for streams that carry their own frame and checksum.
pub fn encode_bare<T: Serialize>(value: &T) -> Vec<u8> {
    options()
        .serialize(value)
        .unwrap_or_else(|e| unreachable!("BUG: plain data always encodes: {e}"))
}

/// Reads one bare value from the front of `bytes` and moves past it; `None` where it does not decode.
pub fn decode_bare<T: DeserializeOwned>(bytes: &mut &[u8]) -> Option<T> {
    let limit = bytes.len() as u64;
    options()
        .allow_trailing_bytes()
        .with_limit(limit)
        .deserialize_from(&mut *bytes)
        .ok()
}

/// Envelope and payload of a value.
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    let payload = encode_bare(value);
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[T::KIND.number, T::VERSION]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
    out
}

/// The value in an envelope.
///
/// # Errors
/// [`Error::Corrupt`] for anything that [`encode`] did not write.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T> {
    let bad = |why: String| Error::corrupt(T::KIND.name, why);
    let Some((header, payload)) = bytes.split_at_checked(HEADER) else {
        return Err(bad(format!(
            "it has {} bytes, fewer than its header",
            bytes.len()
        )));
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[..2] != MAGIC.to_le_bytes() || header[2] != T::KIND.number {
        return Err(bad("its header is that of something else".into()));
    }
    if header[3] != T::VERSION {
        return Err(bad(format!(
            "it has version {}, this program knows {}",
            header[3],
            T::VERSION
        )));
    }
    if word(4) as usize != payload.len() || word(8) != crc32fast::hash(payload) {
        return Err(bad("its checksum does not match".into()));
    }
    options()
        .with_limit(payload.len() as u64)
        .deserialize(payload)
        .map_err(|e| bad(e.to_string()))
}

/// The version that the envelope in `bytes` says it has, of whatever type.
pub(crate) fn version(bytes: &[u8]) -> Option<u8> {
    bytes.get(3).copied()
}

/// True where `bytes` are one whole envelope, of whatever type.
pub fn is_whole(bytes: &[u8]) -> bool {
    enveloped(bytes) == Some(bytes.len())
}

/// Length of the whole envelope at the front of `bytes`, of whatever type; `None` where there is none.
pub(crate) fn enveloped(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    if header[..2] != MAGIC.to_le_bytes() {
        return None;
    }
    let word = |at: usize| crate::pack::u32_at(header, at);
    let end = HEADER.checked_add(word(4) as usize)?;
    let payload = bytes.get(HEADER..end)?;
    (crc32fast::hash(payload) == word(8)).then_some(end)
}

/// A stored value for tests.
#[cfg(test)]
pub(crate) fn tests_value(i: u8) -> Vec<u8> {
    encode(&tests::Sample(
        i.into(),
        "x".repeat(usize::from(i) * 40),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Sample(pub u32, pub String, pub Option<[u8; 4]>);

    impl Stored for Sample {
        const KIND: crate::kinds::Kind = crate::kinds::Kind {
            number: 250,
            prefix: None,
            name: "sample",
        };
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(&Sample(300, "ab".into(), Some([1, 2, 3, 4])));
        let golden = [0x1e, 0xca, 250, 1, 11, 0, 0, 0];
        assert_eq!(bytes[..8], golden);
        assert_eq!(bytes[12..], [251, 44, 1, 2, b'a', b'b', 1, 1, 2, 3, 4]);
        assert_eq!(
            decode::<Sample>(&bytes).unwrap(),
            Sample(300, "ab".into(), Some([1, 2, 3, 4]))
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(&Sample(7, "hello".into(), None));
        for cut in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..cut]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Sample>(&bad).is_err(), "bit {bit}");
        }
    }
}
