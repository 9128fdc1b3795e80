//! Volumes that an image declares.

use std::path::{Path, PathBuf};

use cairn_layer::{NodeKind, Tree, checkout};
use cairn_model::Kind;

use super::{Container, Containers};
use crate::error::{At, Result};

impl Containers<'_> {
    /// Makes directories for volumes that an image declares, with what the image has there, and the owner and
    /// mode it has there; in the order of `targets`.
    pub fn seed_volumes(&self, container: &Container, targets: &[&String]) -> Result<Vec<PathBuf>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.dir(&container.id).join("volumes");
        let tree = self.repo.snapshots().tree(&container.snapshot)?;
        let seed = |target: &&String| self.seed_volume(&tree, &place, target.as_bytes());
        targets.iter().map(seed).collect()
    }

    fn seed_volume(&self, tree: &Tree, place: &Path, target: &[u8]) -> Result<PathBuf> {
        let directory = place.join(cairn_model::BlobId::of(target).to_string());
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        let mut seed = Tree::new();
        if let Some(id) = tree.resolve(target).and_then(|path| tree.get(&path))
            && matches!(tree.node(id).kind, NodeKind::Directory(_))
        {
            let mut below = Vec::new();
            tree.walk_below(b"", id, &mut below);
            *seed.meta_mut(seed.root()) = tree.node(id).meta.clone();
            for (path, id) in below {
                // A volume is not part of the image's root, where devices are shut off.
                if matches!(
                    tree.kind(id),
                    Kind::CharDevice { .. } | Kind::BlockDevice { .. }
                ) {
                    continue;
                }
                seed.insert(&path, tree.node(id).meta.clone(), tree.kind(id))?;
            }
        }
        checkout(&self.repo.store, &seed, &directory)?;
        Ok(directory)
    }
}
