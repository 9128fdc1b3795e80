//! How documents of images name layers.

use std::fmt;
use std::str::FromStr;

use crate::id::{Digest, IdError, LayerId};

/// Before the digits of a layer's own name.
const OWN: &str = "blake3:";

/// The name that a document has for a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerName {
    /// The SHA-256 of its tar, which the OCI image specification calls diff id.
    Tar(Digest),
    /// The id of its entries, `blake3:` and 64 hex digits: that of a layer that was made here and has no tar yet.
    /// Only documents that stay here say so.
    Own(LayerId),
}

impl LayerName {
    /// The diff id, if it is one.
    pub fn diff_id(&self) -> Option<Digest> {
        match self {
            Self::Tar(digest) => Some(*digest),
            Self::Own(_) => None,
        }
    }

    /// True for one that only documents have that stay here.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar(digest) => digest.fmt(f),
            Self::Own(id) => write!(f, "{OWN}{id}"),
        }
    }
}

impl FromStr for LayerName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix(OWN) {
            Some(digits) => Ok(Self::Own(digits.parse()?)),
            None => Ok(Self::Tar(text.parse()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_through_text_and_others_are_refused() {
        let own = LayerName::Own(LayerId::from_bytes([7; 32]));
        let tar = LayerName::Tar(Digest::from_bytes([7; 32]));
        for name in [own, tar] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert!(own.to_string().starts_with("blake3:0707"));
        assert_eq!((own.diff_id(), tar.diff_id().is_some()), (None, true));
        let digits = "0".repeat(64);
        for bad in [
            "",
            "blake3:",
            "sha512:00",
            &digits,
            &format!("blake3:{digits}0"),
        ] {
            assert!(bad.parse::<LayerName>().is_err(), "{bad}");
        }
    }
}
