//! Attributes of root directories, remembered beside the views.

use std::path::PathBuf;

use cairn_layer::Layer;
use cairn_model::{Meta, TreeId};

use super::Views;
use crate::error::Result;
use crate::trees::tree_id;

/// Largest record of a root directory's attributes in the cache, bytes.
pub(crate) const ROOT_BYTES_MAX: u64 = 8 << 20;

impl Views<'_> {
    /// Attributes of the root directory that the layers merge to.
    pub(crate) fn root_meta(&self, layers: &[Layer]) -> Result<Meta> {
        let path = self.cache().root_records().join(tree_id(layers).hex());
        if let Some(bytes) = cairn_view::read_checked(&path, ROOT_BYTES_MAX)
            && let Some(meta) = cairn_store::codec::decode_bare(&mut &bytes[..])
        {
            return Ok(meta);
        }
        let tree = self.repo.tree(layers)?;
        let meta = tree.node(tree.root()).meta.clone();
        cairn_view::write_checked(&path, &cairn_store::codec::encode_bare(&meta))?;
        Ok(meta)
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
