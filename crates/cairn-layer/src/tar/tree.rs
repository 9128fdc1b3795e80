//! A merged tree as one tar.

use std::io::Write;

use cairn_model::{Content, Kind, Piece};
use cairn_store::Store;

use super::{CanonicalTar, SparseMap};
use crate::content::read_content;
use crate::error::Result;
use crate::tree::Tree;

/// Writes the whole tree as a canonical tar.
pub fn write_tree(store: &Store, tree: &Tree, out: &mut dyn Write) -> Result<()> {
    let mut tar = CanonicalTar::new(out);
    for entry in tree.entries() {
        let Kind::File(content) = &entry.kind else {
            tar.header(&entry)?;
            continue;
        };
        let Some(map) = SparseMap::of_content(content) else {
            tar.header(&entry)?;
            read_content(store, content, tar.out())?;
            tar.pad(content.size)?;
            continue;
        };
        // Only what is between the holes, as in layers of a commit.
        tar.sparse_header(&entry, &map)?;
        let data = content.pieces.iter().copied();
        let data = Content {
            size: map.data_bytes,
            pieces: data
                .filter(|piece| matches!(piece, Piece::Data { .. }))
                .collect(),
        };
        read_content(store, &data, tar.out())?;
        tar.pad(map.data_bytes)?;
    }
    tar.finish()?;
    Ok(())
}
