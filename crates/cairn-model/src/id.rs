//! One newtype for each kind of name, all fixed arrays of bytes, written as lower-case hex.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: expected {expected}")]
pub struct IdError {
    what: &'static str,
    expected: &'static str,
    text: String,
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal, $what:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The id's hex digits, without any prefix.
            pub fn hex(&self) -> String {
                let mut out = String::with_capacity(2 * $len);
                for byte in self.0 {
                    for nibble in [byte >> 4, byte & 15] {
                        out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
                    }
                }
                out
            }

            /// The first twelve hex digits: enough for a person to tell ids apart.
            pub fn short(&self) -> String {
                self.hex()[..12].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(&self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(parse_hex).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    expected: $expected,
                    text: text.chars().take(100).collect(),
                })
            }
        }
    };
}

id_type!(
    /// BLAKE3 of a blob's bytes.
    BlobId, 32, "", "blob id", "64 lower-case hex digits"
);
id_type!(
    /// Name of a whole file's content: the blob id where the file is one blob, else the BLAKE3 of its
    /// list of pieces (see [`crate::Content::object`]).
    ObjectId, 32, "", "object id", "64 lower-case hex digits"
);
id_type!(
    /// Name of the merge of a whole parent chain.
    TreeId, 32, "", "tree id", "64 lower-case hex digits"
);
id_type!(
    /// BLAKE3 of an encoded layer manifest.
    LayerId, 32, "", "layer id", "64 lower-case hex digits"
);
id_type!(
    /// Random name of a pack.
    PackId, 16, "", "pack id", "32 lower-case hex digits"
);
id_type!(
    /// Random name of a head: the directory that an active snapshot writes to.
    HeadId, 16, "", "head id", "32 lower-case hex digits"
);
id_type!(
    /// Random name of a container.
    ContainerId, 16, "", "container id", "32 lower-case hex digits"
);
id_type!(
    /// Random name of a lease.
    LeaseId, 16, "", "lease id", "32 lower-case hex digits"
);
id_type!(
    /// Random name of a segment of the index.
    SegmentId, 16, "", "segment id", "32 lower-case hex digits"
);
id_type!(
    /// SHA-256 as the OCI image specification writes it (`sha256:` and 64 hex digits): diff ids, blob
    /// digests, image ids, chain ids.
    Digest, 32, "sha256:", "digest", "sha256: and 64 lower-case hex digits"
);

impl BlobId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_text() {
        let id = BlobId::of(b"x");
        assert_eq!(id.to_string().parse::<BlobId>(), Ok(id));
        let digest = Digest::from_bytes([7; 32]);
        assert!(digest.to_string().starts_with("sha256:0707"));
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
    }

    #[test]
    fn bad_ids_are_refused() {
        for bad in [
            "",
            "sha256:",
            "sha512:00",
            &"0".repeat(63),
            &"G".repeat(64),
            &"A".repeat(64),
        ] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad}");
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
