//! Which blob is needed by whom.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind};
use cairn_store::gc::Marks;
use cairn_store::{Store, StreamRef};

use super::Stats;
use crate::error::{Error, Result};

/// Nobody has the blob yet.
pub(super) const NONE: u32 = u32::MAX;
/// Several have it.
const MANY: u32 = u32::MAX - 1;

/// Notes one more owner.
pub(super) fn own(owner: &mut u32, who: u32) {
    *owner = match *owner {
        NONE => who,
        same if same == who => who,
        _ => MANY,
    };
}

/// A blob that is needed, as the report sees it.
#[derive(Clone, Copy)]
pub(super) struct Blob {
    pub stored: u32,
    pub layer: u32,
    pub image: u32,
    /// How many layers and documents have it.
    pub users: u32,
    /// Whoever removes something here frees nothing there.
    pub in_base: bool,
}

/// Directory and index entry of a blob and its record header, bytes.
pub(super) const BLOB_OVERHEAD: u64 = 44 + 48 + 16;

/// Every blob that is needed, and who needs it.
pub(super) struct Ledger {
    pub marks: Marks,
    pub places: HashMap<BlobId, usize>,
    pub blobs: Vec<Blob>,
    /// Blobs of each layer, each once.
    pub of_layer: Vec<Vec<usize>>,
    pub metadata: HashSet<usize>,
}

impl Ledger {
    pub fn new(marks: Marks) -> Self {
        Self {
            marks,
            places: HashMap::new(),
            blobs: Vec::new(),
            of_layer: Vec::new(),
            metadata: HashSet::new(),
        }
    }

    pub fn place(&mut self, id: &BlobId) -> Result<usize> {
        if let Some(place) = self.places.get(id) {
            return Ok(*place);
        }
        let missing = || Error::from(cairn_store::Error::MissingBlob(*id));
        let mut own = self.marks.mark(id)?;
        if own.is_none() {
            own = self.marks.index().find(id)?;
        }
        let in_base = own.is_none();
        let found = match own {
            Some(found) => found,
            None => self.marks.find_below(id)?.ok_or_else(missing)?,
        };
        self.blobs.push(Blob {
            stored: found.slot.stored,
            layer: NONE,
            image: NONE,
            users: 0,
            in_base,
        });
        self.places.insert(*id, self.blobs.len() - 1);
        Ok(self.blobs.len() - 1)
    }

    /// Counts a stored document.
    pub fn document(&mut self, store: &Store, document: &StreamRef) -> Result<()> {
        let mut mine = HashSet::new();
        for id in store.stream_blobs(document)? {
            let place = self.place(&id)?;
            self.metadata.insert(place);
            self.blobs[place].users += u32::from(mine.insert(place));
        }
        Ok(())
    }

    /// Counts a layer.
    pub fn layer(
        &mut self,
        store: &Store,
        layer: &Layer,
        number: u32,
        stats: &mut Stats,
    ) -> Result<()> {
        let mut mine = HashSet::new();
        for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
            for id in store.stream_blobs(stream)? {
                let place = self.place(&id)?;
                self.metadata.insert(place);
                own(&mut self.blobs[place].layer, number);
                mine.insert(place);
            }
        }
        for entry in layer.read_entries(store)? {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            stats.holes += content.size - content.data_bytes();
            for (id, len) in content.blobs() {
                let place = self.place(&id)?;
                let len = u64::from(len);
                // A small file may have the bytes of a manifest; it is content then.
                self.metadata.remove(&place);
                if !mine.insert(place) {
                    stats.shared_within += len;
                } else if self.blobs[place].layer == NONE {
                    stats.unique += len;
                } else {
                    stats.shared_between += len;
                }
                own(&mut self.blobs[place].layer, number);
            }
        }
        for place in &mine {
            self.blobs[*place].users += 1;
        }
        self.of_layer.push(mine.into_iter().collect());
        Ok(())
    }

    /// Stored bytes of content, and of metadata, of the blobs that are here or of those in the base.
    pub fn stored(&self, in_base: bool) -> (u64, u64) {
        let (mut content, mut metadata) = (0, 0);
        let blobs = self.blobs.iter().enumerate();
        for (place, blob) in blobs.filter(|(_, blob)| blob.in_base == in_base) {
            match self.metadata.contains(&place) {
                true => metadata += u64::from(blob.stored),
                false => content += u64::from(blob.stored),
            }
        }
        (content, metadata)
    }
}
