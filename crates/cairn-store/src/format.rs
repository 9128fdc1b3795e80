//! What the file `format` says: the version of the repository's format, and which features a program has
//! to know to work on it.
//!
//! ```text
//! cairn repository 1, fastcdc-2020 16/64/256 KiB
//! ```
//! is a repository without features. One that has some says version 2, and a line for each:
//! ```text
//! cairn repository 2, fastcdc-2020 16/64/256 KiB
//! requires: NAME
//! ```
//! As with git's extensions, a program that does not know a feature leaves the repository alone, and one
//! that is older than features takes version 2 for a newer format. A feature is needed only where
//! reading, or collecting, without knowing it would go wrong.

use std::collections::BTreeSet;

/// First line of a repository without features.
pub const FORMAT: &str = "cairn repository 1, fastcdc-2020 16/64/256 KiB";
const WITH_FEATURES: &str = "cairn repository 2, fastcdc-2020 16/64/256 KiB";
const REQUIRES: &str = "requires: ";

/// Blobs may be in another repository, see [`crate::base`].
pub const BASE: &str = "base";

/// New blobs are stored as zstd frames with a checksum of their own, see [`crate::Codec::Frame`].
pub const FRAMES: &str = "frames";

/// Blobs may be stored as differences from others, see [`crate::Codec::Delta`].
pub const DELTAS: &str = "deltas";

/// Documents of images may name layers by their own ids, see [`cairn_model::LayerName`].
pub const OWN_NAMES: &str = "own-names";

/// Features that this program knows.
pub const FEATURES: [&str; 4] = [BASE, FRAMES, DELTAS, OWN_NAMES];

/// What is known of a repository's format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Format {
    /// Features that it requires, each known.
    pub requires: BTreeSet<&'static str>,
}

/// Why a text is no format that this program works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No version would have written it.
    Damaged,
    /// A later version may have written it.
    Newer,
    /// These features are not known here.
    Unknown(Vec<String>),
}

impl Format {
    /// Reads the content of the file.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim_end() == FORMAT {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix(WITH_FEATURES) else {
            return Err(newer_or_damaged(text));
        };
        let Some(lines) = rest.strip_prefix('\n') else {
            return Err(Fault::Damaged);
        };
        let mut format = Self::default();
        let mut unknown = Vec::new();
        for line in lines.split_inclusive('\n') {
            let name = line
                .strip_prefix(REQUIRES)
                .and_then(|name| name.strip_suffix('\n'))
                .filter(|name| is_name(name))
                .ok_or(Fault::Damaged)?;
            match known(name) {
                Some(feature) => drop(format.requires.insert(feature)),
                None => unknown.push(name.to_owned()),
            }
        }
        if unknown.is_empty() {
            Ok(format)
        } else {
            Err(Fault::Unknown(unknown))
        }
    }

    /// The content of the file.
    pub fn text(&self) -> String {
        if self.requires.is_empty() {
            return format!("{FORMAT}\n");
        }
        let mut text = format!("{WITH_FEATURES}\n");
        for name in &self.requires {
            text.extend([REQUIRES, name, "\n"]);
        }
        text
    }
}

fn known(name: &str) -> Option<&'static str> {
    FEATURES.iter().find(|known| **known == name).copied()
}

fn is_name(name: &str) -> bool {
    let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(byte)
}

/// A first line of another version is a newer program's; anything else is nobody's.
fn newer_or_damaged(text: &str) -> Fault {
    let Some(rest) = text.strip_prefix("cairn repository ") else {
        return Fault::Damaged;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let end = rest.as_bytes().get(digits);
    let newer = rest[..digits]
        .parse::<u32>()
        .is_ok_and(|version| version > 1);
    if newer && matches!(end, Some(b',' | b'\n')) && text.ends_with('\n') {
        Fault::Newer
    } else {
        Fault::Damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_and_the_first_format_stays_as_it_was() {
        let plain = Format::default();
        assert_eq!(
            plain.text(),
            "cairn repository 1, fastcdc-2020 16/64/256 KiB\n"
        );
        assert_eq!(Format::parse(&plain.text()), Ok(plain));
        for feature in FEATURES {
            let format = Format {
                requires: [feature].into(),
            };
            let text = format.text();
            assert_eq!(Format::parse(&text), Ok(format));
            for cut in FORMAT.len() + 1..text.len() {
                let half = Format::parse(&text[..cut]);
                assert!(cut == WITH_FEATURES.len() + 1 || half.is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn unknown_features_are_named_and_other_texts_are_told_apart() {
        let with = |lines: &str| Format::parse(&format!("{WITH_FEATURES}\n{lines}"));
        let unknown = |names: &[&str]| {
            Err(Fault::Unknown(
                names.iter().map(|name| (*name).to_owned()).collect(),
            ))
        };
        assert_eq!(with("requires: warp\n"), unknown(&["warp"]));
        assert_eq!(
            with("requires: warp\nrequires: delta-2\n"),
            unknown(&["warp", "delta-2"])
        );
        assert_eq!(with(""), Ok(Format::default()));
        for damaged in [
            "requires: warp",
            "requires: \n",
            "requires: W\n",
            "wants: warp\n",
            "\n",
        ] {
            assert_eq!(with(damaged), Err(Fault::Damaged), "{damaged:?}");
        }
        for newer in ["cairn repository 3, else\n", "cairn repository 2, else\n"] {
            assert_eq!(Format::parse(newer), Err(Fault::Newer), "{newer:?}");
        }
        for damaged in ["", "cairn", "cairn repository 3", "cairn repository 1, x\n"] {
            assert_eq!(Format::parse(damaged), Err(Fault::Damaged), "{damaged:?}");
        }
    }
}
