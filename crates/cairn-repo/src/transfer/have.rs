//! A list of what a repository has, for whoever fills a file for it.
//!
//! ```text
//! header  16  "CAIRNHAV" version:u32=1 zero:u32
//! count    8  number of entries
//! entry    8  the first eight bytes of a blob's id, in order      (many)
//! end     32  BLAKE3 of all before
//! ```
//! Two of a hundred million blobs have the same first bytes once in three thousand lists. What is left out of a file
//! then, or because the list is old, is told by name when the file is imported.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use cairn_layer::Layer;
use cairn_model::BlobId;

use crate::chunks::blobs_of;
use crate::error::{At, Error, Result};
use crate::images::Images;
use crate::rows;

const MAGIC: &[u8; 16] = b"CAIRNHAV\x01\0\0\0\0\0\0\0";
const ENTRY: usize = 8;
const END: usize = 32;
/// Longest list: of a hundred million blobs.
const BYTES_MAX: u64 = 800_000_056;

/// Blobs that somebody has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Have(HashSet<[u8; ENTRY]>);

impl Have {
    /// Adds blobs.
    fn add(&mut self, ids: &[BlobId]) {
        self.0.extend(ids.iter().map(start));
    }

    /// True where a blob is in it.
    pub fn has(&self, id: &BlobId) -> bool {
        self.0.contains(&start(id))
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list as a file has it.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut entries: Vec<[u8; ENTRY]> = self.0.iter().copied().collect();
        entries.sort_unstable();
        let count = (entries.len() as u64).to_le_bytes();
        let bytes = [&MAGIC[..], &count, entries.as_flattened()].concat();
        out.write_all(&bytes)?;
        out.write_all(blake3::hash(&bytes).as_bytes())?;
        out.flush()
    }

    /// The list in a file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path).at("open", path)?;
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .at("read", path)?;
        let why = "it is damaged, or not a list that \"cairn have\" wrote";
        let wrong = || Error::Invalid(format!("{}: {why}", path.display()));
        Self::parse(&bytes).ok_or_else(wrong)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (listed, end) = bytes.split_at_checked(bytes.len().checked_sub(END)?)?;
        let rest = listed.strip_prefix(MAGIC)?;
        let (count, entries) = rest.split_first_chunk::<8>()?;
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        let right = blake3::hash(listed).as_bytes() == end
            && rest.is_empty()
            && u64::from_le_bytes(*count) == entries.len() as u64;
        right.then(|| Self(entries.iter().copied().collect()))
    }
}

fn start(id: &BlobId) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    out.copy_from_slice(&id.as_bytes()[..ENTRY]);
    out
}

impl Images<'_> {
    /// What the layers of this repository have. Blobs that no layer refers to are left out: they may go.
    pub fn have(&self) -> Result<Have> {
        let layers = self.repo.store.db().read(|rows| rows::layers(rows))?;
        self.have_of(&layers)
    }

    /// What these layers have.
    pub(super) fn have_of(&self, layers: &[Layer]) -> Result<Have> {
        let mut have = Have::default();
        for layer in layers {
            self.repo.watch().check()?;
            have.add(&blobs_of(&self.repo.store, layer)?);
        }
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_and_damage_is_found() {
        let mut have = Have::default();
        let ids: Vec<BlobId> = (0..100_u8).map(|i| BlobId::of(&[i])).collect();
        have.add(&ids);
        let mut bytes = Vec::new();
        have.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 24 + 100 * 8 + 32);
        assert_eq!(Have::parse(&bytes).unwrap(), have);
        assert!(have.has(&ids[7]) && !have.has(&BlobId::of(b"other")));
        for at in 0..bytes.len() {
            assert!(Have::parse(&bytes[..at]).is_none());
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Have::parse(&bad).is_none(), "byte {at}");
        }
    }
}
