//! What an image carries and never shows: files that later layers cover or delete.

use std::collections::HashMap;

use cairn_model::{Entry, Kind};
use serde::Serialize;

use super::paths::{Paths, ROOT};

/// A later layer has a file here: no older file of this path is seen.
const COVERED: u8 = 1;
/// A later layer has taken away what older ones have below this path.
const CLEARED: u8 = 2;

/// An entry of a layer, as far as it shows or hides something.
pub(super) struct Mark {
    node: u32,
    /// What it hides of older layers.
    hides: u8,
    bytes: u64,
}

/// What an image carries and never shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waste {
    /// File content of all layers.
    pub content_bytes: u64,
    /// Content of files that a process sees.
    pub visible_bytes: u64,
    /// Where the rest is, the largest first.
    pub paths: Vec<WastedPath>,
}

/// A path whose content is in layers for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WastedPath {
    /// From the root.
    pub path: String,
    /// How many layers have it in vain.
    pub layers: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Waste {
    /// How much of what it carries is seen, 0 to 1.
    pub fn efficiency(&self) -> f64 {
        match self.content_bytes {
            0 => 1.0,
            bytes => self.visible_bytes as f64 / bytes as f64,
        }
    }
}

/// The entries of a layer as marks.
pub(super) fn marks(paths: &mut Paths, entries: &[Entry]) -> Vec<Mark> {
    let mark = |entry: &Entry| Mark {
        node: paths.node(&entry.path),
        hides: match entry.kind {
            Kind::Directory => COVERED,
            Kind::Opaque => CLEARED,
            _ => COVERED | CLEARED,
        },
        bytes: match &entry.kind {
            Kind::File(content) => content.size,
            _ => 0,
        },
    };
    entries.iter().map(mark).collect()
}

/// Adds up what images waste, one after the other.
pub(super) struct Wasting<'a> {
    paths: &'a Paths,
    /// By node: what later layers hide there.
    hidden: Vec<u8>,
}

impl<'a> Wasting<'a> {
    /// Over the paths of all marks.
    pub fn new(paths: &'a Paths) -> Self {
        Self {
            hidden: vec![0; paths.len()],
            paths,
        }
    }

    /// Of an image with these layers, lowest first; at most `top` paths are named.
    pub fn of(&mut self, layers: &[&[Mark]], top: usize) -> Waste {
        self.hidden.fill(0);
        let mut waste = Waste::default();
        let mut wasted: HashMap<u32, (u64, u64)> = HashMap::new();
        for layer in layers.iter().rev() {
            for mark in layer.iter().filter(|mark| mark.bytes > 0) {
                waste.content_bytes += mark.bytes;
                match self.is_hidden(mark.node) {
                    false => waste.visible_bytes += mark.bytes,
                    true => {
                        let (layers, bytes) = wasted.entry(mark.node).or_default();
                        *layers += 1;
                        *bytes += mark.bytes;
                    }
                }
            }
            for mark in *layer {
                self.hidden[mark.node as usize] |= mark.hides;
            }
        }
        let mut wasted: Vec<(u32, (u64, u64))> = wasted.into_iter().collect();
        wasted.sort_unstable_by_key(|(node, (_, bytes))| (std::cmp::Reverse(*bytes), *node));
        let named = wasted.into_iter().take(top);
        waste.paths = named
            .map(|(node, (layers, bytes))| self.named(node, layers, bytes))
            .collect();
        waste
    }

    fn named(&self, node: u32, layers: u64, bytes: u64) -> WastedPath {
        let path = self.paths.path(node);
        WastedPath {
            path: format!("/{}", cairn_model::path_display(&path)),
            layers,
            bytes,
        }
    }

    fn is_hidden(&self, node: u32) -> bool {
        if self.hidden[node as usize] & COVERED != 0 {
            return true;
        }
        let mut at = node;
        while at > ROOT {
            at = self.paths.parent(at);
            if self.hidden[at as usize] & CLEARED != 0 {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::{BlobId, Content, Meta, Piece};

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.as_bytes().to_vec(),
            meta: Meta::root(0o644),
            kind,
        }
    }

    fn file(path: &str, len: u32) -> Entry {
        let id = BlobId::of(path.as_bytes());
        let content = Content {
            size: u64::from(len),
            pieces: vec![Piece::Data { id, len }],
        };
        entry(path, Kind::File(content))
    }

    #[test]
    fn what_later_layers_cover_or_delete_is_wasted() {
        let layers = [
            vec![
                file("a", 10),
                file("d/x", 20),
                file("d/y", 30),
                file("o/z", 40),
                file("stays", 1),
            ],
            vec![
                file("a", 11),
                entry("d/x", Kind::Whiteout),
                entry("o", Kind::Opaque),
                file("o/new", 2),
            ],
            vec![entry("d", Kind::Symlink(b"o".to_vec())), file("a", 12)],
        ];
        let mut paths = Paths::new();
        let marks: Vec<Vec<Mark>> = layers
            .iter()
            .map(|layer| marks(&mut paths, layer))
            .collect();
        let marks: Vec<&[Mark]> = marks.iter().map(Vec::as_slice).collect();
        let mut wasting = Wasting::new(&paths);
        let waste = wasting.of(&marks, 3);
        assert_eq!(
            (waste.content_bytes, waste.visible_bytes),
            (126, 1 + 2 + 12)
        );
        let found: Vec<_> = waste
            .paths
            .iter()
            .map(|p| (p.path.as_str(), p.layers, p.bytes))
            .collect();
        assert_eq!(found, [("/o/z", 1, 40), ("/d/y", 1, 30), ("/a", 2, 21)]);
        // Nothing is left over from the image before.
        assert_eq!(wasting.of(&marks[..1], 3).visible_bytes, 101);
    }
}
