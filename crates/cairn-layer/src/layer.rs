//! A layer being made: entries whose content is on its way into the store.

use cairn_model::{BlobId, Content, Digest, Entry, Kind, LayerId, LayerName, Meta, Piece};
use cairn_store::{Feeder, Store, StreamRef, Ticket, put_stream};

use crate::error::{Error, Result};
use crate::manifest;
use crate::tar::{Canonical, FramingWriter};

/// A stored layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// BLAKE3 of its manifest.
    pub id: LayerId,
    /// Where its manifest is.
    pub manifest: StreamRef,
    /// Where its tar framing is; none for a layer that did not come as a tar.
    pub framing: Option<StreamRef>,
    /// SHA-256 of its tar, where known.
    pub diff_id: Option<Digest>,
    /// Length of its tar, bytes, where known.
    pub tar_bytes: Option<u64>,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub content_bytes: u64,
}

/// What a layer may have. The defaults fit any honest image and keep memory bounded.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries of one layer.
    pub entries_max: u64,
    /// Bytes of one uncompressed layer.
    pub bytes_max: u64,
    /// Bytes of one extended header (long names, pax records).
    pub header_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 4_000_000,
            bytes_max: 1 << 40,
            header_bytes_max: 1 << 20,
        }
    }
}

/// A piece whose blob is still being stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DraftPiece {
    Data(Ticket, u32),
    Hole(u64),
    /// Content that was in the store before.
    Known(Piece),
}

impl DraftPiece {
    /// The piece, with the ids of the feeder that it was handed to.
    pub(crate) fn settle(self, ids: &[BlobId]) -> Piece {
        match self {
            Self::Data(ticket, len) => Piece::Data {
                id: ids[ticket],
                len,
            },
            Self::Hole(len) => Piece::Hole { len },
            Self::Known(piece) => piece,
        }
    }
}

/// What is kept of the tar of a layer beside its contents.
pub(crate) enum Framing {
    /// Nothing: it is the canonical one, version 1.
    None,
    /// What was read with the tar.
    Read(FramingWriter),
    /// It is the canonical one, version 2, which is written down.
    Canonical,
}

/// Collects entries and stores the manifest at the end.
pub struct LayerWriter {
    /// Where content goes.
    pub(crate) feeder: Feeder,
    entries: Vec<(Entry, Vec<DraftPiece>)>,
    content_bytes: u64,
    limits: Limits,
}

impl LayerWriter {
    /// A writer with no entry yet.
    pub fn new(feeder: Feeder, limits: Limits) -> Self {
        Self {
            feeder,
            entries: Vec::new(),
            content_bytes: 0,
            limits,
        }
    }

    /// Adds an entry without content of its own on the way.
    pub fn push(&mut self, path: Vec<u8>, meta: Meta, kind: Kind) -> Result<()> {
        let pieces = match &kind {
            Kind::File(content) => content
                .pieces
                .iter()
                .copied()
                .map(DraftPiece::Known)
                .collect(),
            _ => Vec::new(),
        };
        let size = if let Kind::File(content) = &kind {
            content.size
        } else {
            0
        };
        self.push_draft(Entry { path, meta, kind }, size, pieces)
    }

    pub(crate) fn push_file(
        &mut self,
        path: Vec<u8>,
        meta: Meta,
        size: u64,
        pieces: Vec<DraftPiece>,
    ) -> Result<()> {
        let kind = Kind::File(Content {
            size,
            pieces: Vec::new(),
        });
        self.push_draft(Entry { path, meta, kind }, size, pieces)
    }

    fn push_draft(&mut self, entry: Entry, size: u64, pieces: Vec<DraftPiece>) -> Result<()> {
        if self.entries.len() as u64 >= self.limits.entries_max {
            return Err(Error::Limit {
                what: "entries",
                limit: self.limits.entries_max,
                option: "--max-entries",
            });
        }
        self.content_bytes += size;
        self.entries.push((entry, pieces));
        Ok(())
    }

    /// Gives a file that was pushed without pieces its content.
    pub(crate) fn fill(&mut self, entry: usize, pieces: Vec<Piece>) {
        self.entries[entry].1 = pieces.into_iter().map(DraftPiece::Known).collect();
    }

    /// Number of entries so far.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Waits for the content, stores the manifest and, if there is one, the framing.
    pub(crate) fn finish_with(
        mut self,
        framing: impl FnOnce(&[Entry]) -> Result<Framing>,
    ) -> Result<(Layer, Vec<Entry>)> {
        let ids = self.feeder.ids()?;
        let mut entries = Vec::with_capacity(self.entries.len());
        for (mut entry, pieces) in self.entries {
            if let Kind::File(content) = &mut entry.kind {
                content.pieces = pieces.iter().map(|piece| piece.settle(&ids)).collect();
            }
            entries.push(entry);
        }
        let framing = framing(&entries)?;
        let bytes = manifest::encode(&entries);
        let id = LayerId::from_bytes(*blake3::hash(&bytes).as_bytes());
        let manifest = put_stream(&mut self.feeder, &bytes)?;
        let framing = match framing {
            Framing::None => None,
            Framing::Read(framing) => Some(framing),
            Framing::Canonical => Some(FramingWriter::canonical(&mut self.feeder, &entries)?),
        };
        let framing = framing
            .map(|framing| framing.finish(&mut self.feeder))
            .transpose()?;
        let layer = Layer {
            id,
            manifest,
            framing,
            diff_id: None,
            tar_bytes: None,
            entries: entries.len() as u64,
            content_bytes: self.content_bytes,
        };
        Ok((layer, entries))
    }

    /// Waits for the content and stores the manifest of a layer that did not come as a tar.
    pub fn finish(self) -> Result<(Layer, Vec<Entry>)> {
        self.finish_with(|_| Ok(Framing::None))
    }

    /// The same, with the framing and the length of the canonical tar that it will have.
    pub(crate) fn finish_canonical(self) -> Result<(Layer, Vec<Entry>)> {
        let mut tar_bytes = 0;
        let (layer, entries) = self.finish_with(|entries| {
            let shape = Canonical::of(entries)?;
            tar_bytes = shape.bytes;
            Ok(match shape.has_maps {
                true => Framing::Canonical,
                false => Framing::None,
            })
        })?;
        let layer = Layer {
            tar_bytes: Some(tar_bytes),
            ..layer
        };
        Ok((layer, entries))
    }
}

impl Layer {
    /// What a document that is made now calls it: by its tar where that is known, else by its entries.
    pub fn name(&self) -> LayerName {
        let own = LayerName::Own(self.id);
        self.diff_id.map_or(own, LayerName::Tar)
    }

    /// The entries of the layer.
    pub fn read_entries(&self, store: &Store) -> Result<Vec<Entry>> {
        let bytes = store.read_stream(&self.manifest, 4 << 30)?;
        let damaged = || Error::Damaged {
            what: "the manifest",
            layer: self.id,
        };
        if *blake3::hash(&bytes).as_bytes() != *self.id.as_bytes() {
            return Err(damaged());
        }
        manifest::decode(&bytes).ok_or_else(damaged)
    }
}
