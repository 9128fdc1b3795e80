//! Every kind of value that is stored in an envelope, of this crate and of those above it.
//!
//! The numbers and prefixes are part of the format: one that was given away is never given to anything
//! else. `docs/format.md` lists the same; a test compares. Numbers from 200 on are for tests.

/// A kind of stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The number in its envelope.
    pub number: u8,
    /// First byte of the keys of its rows; none where it is no row.
    pub prefix: Option<u8>,
    /// For messages.
    pub name: &'static str,
}

impl Kind {
    /// Key of the row about what is named `name`.
    pub fn key(&self, name: &[u8]) -> Vec<u8> {
        let mut key = Vec::from_iter(self.prefix);
        key.extend_from_slice(name);
        key
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $prefix:expr, $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: Kind = Kind {
            number: $number,
            prefix: $prefix,
            name: $name,
        };)*

        /// All of them.
        pub const ALL: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    /// Which segments the index has.
    INDEX_LIST = 1, None, "index list";
    /// A pack.
    PACK = 2, Some(b'p'), "pack row";
    /// How far the store is.
    STATE = 3, Some(b'g'), "store state";
    /// When a pack was found whole.
    VERIFIED = 4, Some(b'v'), "verified row";
    /// That the blobs of a pack were recompressed.
    OPTIMIZED = 5, Some(b'z'), "optimized row";
    /// A snapshot.
    SNAPSHOT = 10, Some(b's'), "snapshot row";
    /// A label of a snapshot.
    LABEL = 11, Some(b'k'), "label row";
    /// A snapshot above another.
    CHILD = 12, Some(b'c'), "child row";
    /// A layer.
    LAYER = 20, Some(b'l'), "layer row";
    /// The layer that a diff id names.
    DIFF = 21, Some(b'd'), "diff id row";
    /// An image.
    IMAGE = 22, Some(b'm'), "image row";
    /// A name of an image.
    TAG = 23, Some(b't'), "tag row";
    /// A directory that was imported.
    KNOWN_TREE = 24, Some(b'f'), "known tree row";
    /// How long an image is to be kept.
    KEEP = 25, Some(b'h'), "keep row";
    /// Blobs of registries that a layer is.
    FORM = 26, Some(b'b'), "form row";
    /// The diff id of a layer that was named by its entries before.
    OWN_DIFF = 27, Some(b'e'), "own diff id row";
    /// The image that a manifest of a registry leads to.
    ORIGIN = 29, Some(b'o'), "origin row";
    /// A container.
    CONTAINER = 30, Some(b'r'), "container row";
}

/// The kind of the rows whose keys start with `prefix`.
pub fn of_prefix(prefix: u8) -> Option<Kind> {
    ALL.iter().find(|kind| kind.prefix == Some(prefix)).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_number_and_no_prefix_is_given_twice() {
        let numbers: BTreeSet<u8> = ALL.iter().map(|kind| kind.number).collect();
        assert_eq!(numbers.len(), ALL.len());
        assert!(numbers.iter().all(|number| *number < 200));
        let prefixes: Vec<u8> = ALL.iter().filter_map(|kind| kind.prefix).collect();
        let unique: BTreeSet<u8> = prefixes.iter().copied().collect();
        assert_eq!(unique.len(), prefixes.len());
    }

    #[test]
    fn the_document_of_the_format_lists_exactly_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let prefix = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
            let [prefix] = prefix.as_bytes() else {
                return None;
            };
            Some((*prefix, cells.get(3)?.parse::<u8>().ok()?))
        });
        let listed: BTreeSet<(u8, u8)> = rows.collect();
        let given = |kind: &Kind| Some((kind.prefix?, kind.number));
        assert_eq!(listed, ALL.iter().filter_map(given).collect());
        for kind in ALL.iter().filter(|kind| kind.prefix.is_none()) {
            let words = format!("enveloped (type {},", kind.number);
            assert!(text.contains(&words), "{}", kind.name);
        }
    }
}
