//! A merged tree as one tar.

use std::io::Write;

use cairn_model::Kind;
use cairn_store::Store;

use super::CanonicalTar;
use crate::content::read_content;
use crate::error::Result;
use crate::tree::Tree;

/// Writes the whole tree as a canonical tar.
pub fn write_tree(store: &Store, tree: &Tree, out: &mut dyn Write) -> Result<()> {
    let mut tar = CanonicalTar::new(out);
    for entry in tree.entries() {
        tar.header(&entry)?;
        if let Kind::File(content) = &entry.kind {
            read_content(store, content, tar.out())?;
            tar.pad(content.size)?;
        }
    }
    tar.finish()?;
    Ok(())
}
