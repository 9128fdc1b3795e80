//! What a blob is probably similar to: the same place of the same file in an earlier version.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use cairn_layer::Layer;
use cairn_model::{BlobId, Content, Kind, PackId, Piece};
use cairn_store::Index;

use crate::error::Result;
use crate::repo::Repo;

/// Files whose last version is remembered, by two names each, and blobs that are guessed about.
const FILES_MAX: usize = 1 << 21;
const GUESSED_MAX: usize = 1 << 20;
/// Pieces of the earlier version that one is held against.
const NEAREST: usize = 3;
/// A name's part of this many hexadecimal digits is a hash.
const HASH_DIGITS_MIN: usize = 8;

/// A piece of a file: the blob, and its middle.
type Place = (BlobId, u64);

/// The pieces of a file, and its length.
#[derive(Clone)]
struct Version {
    pieces: Rc<[Place]>,
    bytes: u64,
}

impl Version {
    fn of(content: &Content) -> Self {
        let mut at = 0;
        let mut pieces = Vec::new();
        for piece in &content.pieces {
            match piece {
                Piece::Data { id, len } => {
                    pieces.push((*id, at + u64::from(*len) / 2));
                    at += u64::from(*len);
                }
                Piece::Hole { len } => at += len,
            }
        }
        Self {
            pieces: pieces.into(),
            bytes: content.size,
        }
    }

    /// The pieces nearest to a place in a file of another length, the nearest first.
    fn nearest(&self, middle: u64, of: u64) -> Vec<BlobId> {
        let scaled = u128::from(middle) * u128::from(self.bytes) / u128::from(of.max(1));
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        let after = self.pieces.partition_point(|(_, at)| *at < scaled);
        let around = after.saturating_sub(NEAREST)..(after + NEAREST).min(self.pieces.len());
        let mut near: Vec<Place> = self.pieces[around].to_vec();
        near.sort_by_key(|(_, at)| at.abs_diff(scaled));
        near.truncate(NEAREST);
        near.into_iter().map(|(id, _)| id).collect()
    }
}

/// Length of the digits at the front, and of parts of digits with dots between them.
fn number(text: &[u8]) -> usize {
    let digits = |at: usize| text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    while end > 0 && text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    end
}

/// The path without what changes with a version: hashes, and numbers with dots in or before them.
fn normalised(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while !rest.is_empty() {
        let hex = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let is_hash = hex >= HASH_DIGITS_MIN && rest[..hex].iter().any(u8::is_ascii_digit);
        let number = number(rest);
        let has_dot = out.last() == Some(&b'.') || rest[..number].contains(&b'.');
        let length = match (is_hash, number) {
            (true, _) => hex,
            (false, 0) => 1,
            (false, number) => number,
        };
        let (token, after) = rest.split_at(length);
        match is_hash || (number > 0 && has_dot) {
            true => out.push(b'#'),
            false => out.extend_from_slice(token),
        }
        rest = after;
    }
    out
}

/// The start of a hash of a path as it is remembered.
fn key(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8]))
}

/// Guesses about the blobs of packs that are due.
pub(super) struct Guesses<'a> {
    index: &'a Index,
    due: &'a HashSet<PackId>,
    /// By path as it is, and without what changes with a version.
    last: HashMap<u64, Version>,
    /// Those of the layer that is being read.
    layer: Vec<(u64, Version)>,
    similar: HashMap<BlobId, Vec<BlobId>>,
}

impl Guesses<'_> {
    fn is_due(&self, id: &BlobId) -> Result<bool> {
        let found = self.index.find(id)?;
        Ok(found.is_some_and(|found| self.due.contains(&found.pack)))
    }

    fn file(&mut self, path: &[u8], content: &Content) -> Result<()> {
        let version = Version::of(content);
        let keys = [key(path), key(&normalised(path))];
        let before = keys.iter().find_map(|key| self.last.get(key)).cloned();
        if let Some(before) = before {
            let same: HashSet<BlobId> = before.pieces.iter().map(|(id, _)| *id).collect();
            for (id, middle) in version.pieces.iter() {
                let is_new = !same.contains(id) && !self.similar.contains_key(id);
                if is_new && self.similar.len() < GUESSED_MAX && self.is_due(id)? {
                    let near = before.nearest(*middle, version.bytes);
                    self.similar.insert(*id, near);
                }
            }
        }
        self.layer.extend(keys.map(|key| (key, version.clone())));
        Ok(())
    }

    /// The files of the layer are the earlier versions of those that follow.
    fn end_layer(&mut self) {
        for (key, version) in std::mem::take(&mut self.layer) {
            if self.last.len() < FILES_MAX || self.last.contains_key(&key) {
                self.last.insert(key, version);
            }
        }
    }
}

impl Repo {
    /// What the blobs of the packs in `due` may be similar to, by the files of `layers`, in their order.
    pub(super) fn guesses(
        &self,
        index: &Index,
        due: &HashSet<PackId>,
        layers: &[Layer],
    ) -> Result<HashMap<BlobId, Vec<BlobId>>> {
        let mut guesses = Guesses {
            index,
            due,
            last: HashMap::new(),
            layer: Vec::new(),
            similar: HashMap::new(),
        };
        for layer in layers {
            self.watch().check()?;
            for entry in layer.read_entries(&self.store)? {
                if let Kind::File(content) = &entry.kind {
                    guesses.file(&entry.path, content)?;
                }
            }
            guesses.end_layer();
        }
        Ok(guesses.similar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_two_versions_are_the_same_one() {
        let same = |a: &str, b: &str| normalised(a.as_bytes()) == normalised(b.as_bytes());
        assert!(same(
            "lib/numpy-1.24.2.dist-info/RECORD",
            "lib/numpy-1.25.0.dist-info/RECORD"
        ));
        assert!(same(
            "l/libopenblas-0cf96a72.3.so",
            "l/libopenblas-5f60b8ab.23.so"
        ));
        assert!(same("usr/lib/libz.so.1.2.13", "usr/lib/libz.so.1.3"));
        assert!(!same("usr/lib/libz.so.1", "usr/lib/libm.so.1"));
        // Numbers that tell files of one version apart.
        assert!(!same("share/icon1.png", "share/icon2.png"));
        // Words of letters alone are no hashes.
        assert!(!same("share/defaced", "share/deadbeef"));
    }

    #[test]
    fn the_nearest_pieces_of_the_earlier_version_are_tried() {
        let id = |n: u8| BlobId::from_bytes([n; 32]);
        let data = |n: u8| Piece::Data {
            id: id(n),
            len: 1000,
        };
        let before = Version::of(&Content {
            size: 10_000,
            pieces: (0..10).map(data).collect(),
        });
        assert_eq!(before.nearest(500, 10_000), [id(0), id(1), id(2)]);
        assert_eq!(before.nearest(5500, 10_000), [id(5), id(4), id(6)]);
        assert_eq!(before.nearest(20_000, 20_000), [id(9), id(8), id(7)]);
        let none = Version::of(&Content {
            size: 0,
            pieces: Vec::new(),
        });
        assert!(none.nearest(5, 0).is_empty());
    }
}
