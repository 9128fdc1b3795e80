//! Attributes of root directories, remembered beside the views.

use std::path::PathBuf;

use cairn_layer::{Layer, Tree};
use cairn_model::{Entry, Kind, Meta, TreeId};
use cairn_store::codec::{decode_bare, encode_bare};

use super::Views;
use crate::error::Result;
use crate::trees::{ReadLayer, trees_up_to};

/// Largest record of a root directory's attributes in the cache, bytes.
pub(crate) const ROOT_BYTES_MAX: u64 = 8 << 20;

/// True for the directory itself, and not for a marker in it.
fn is_root(entry: &Entry) -> bool {
    entry.path.is_empty() && entry.kind == Kind::Directory
}

impl Views<'_> {
    /// Attributes of the root directory that the layers merge to: those of the highest layer that has it.
    pub(crate) fn root_meta(&self, layers: &[Layer]) -> Result<Meta> {
        Ok(self.root_meta_and_layer(layers)?.0)
    }

    /// The same, with the layer that it was found in, if one was read for it: a view of them has to read it, too.
    pub(crate) fn root_meta_and_layer(
        &self,
        layers: &[Layer],
    ) -> Result<(Meta, Option<ReadLayer>)> {
        let trees = trees_up_to(layers);
        let path = |count: usize| self.cache().root_records().join(trees[count].hex());
        let (mut found, mut read) = (None, None);
        for count in (0..=layers.len()).rev() {
            if let Some(bytes) = cairn_view::read_checked(&path(count), ROOT_BYTES_MAX)
                && let Some(meta) = decode_bare(&mut &bytes[..])
            {
                // That of the whole chain need not be written again.
                if count == layers.len() {
                    return Ok((meta, None));
                }
                found = Some(meta);
            } else if let Some(top) = count.checked_sub(1) {
                self.repo.store.db().release();
                let entries = layers[top].read_entries(&self.repo.store)?;
                let root = entries.iter().rfind(|entry| is_root(entry));
                found = root.map(|entry| entry.meta.clone());
                read = Some((layers[top].id, entries));
            }
            if found.is_some() {
                break;
            }
        }
        let none = Tree::new();
        let meta = found.unwrap_or_else(|| none.node(none.root()).meta.clone());
        cairn_view::write_checked(&path(layers.len()), &encode_bare(&meta))?;
        Ok((meta, read))
    }

    /// Files of the cache that hold attributes of root directories.
    pub(crate) fn root_records(&self) -> Vec<(TreeId, PathBuf)> {
        let directory = self.cache().root_records();
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let record = |entry: std::fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, entry.path()))
        };
        entries.filter_map(record).collect()
    }
}
