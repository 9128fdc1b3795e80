//! The first content of a volume: what the image has at the place where it is mounted first.

use std::path::Path;

use cairn_layer::{NodeKind, Tree, checkout};
use cairn_model::Kind;

use super::{DATA, VolumeLock, Volumes};
use crate::containers::Container;
use crate::error::{At, Result};

/// A copy that is being made; the volume's lock is held meanwhile.
const COPY: &str = "data.new";

impl Volumes<'_> {
    /// Fills a volume that is empty with what the container's image has at `target`, owners and modes
    /// included; nothing where it is not empty any more. The copy gets its place when it is whole.
    pub fn fill(&self, volume: &VolumeLock, container: &Container, target: &[u8]) -> Result<()> {
        if !self.is_empty(&volume.name) {
            return Ok(());
        }
        let tree = self.repo.snapshots().tree(&container.snapshot)?;
        let Some(seed) = below(&tree, target)? else {
            return Ok(());
        };
        let (copy, data) = (self.dir(&volume.name).join(COPY), self.data(&volume.name));
        self.repo.store.db().release();
        // Of a copy that was cut off.
        match std::fs::remove_dir_all(&copy) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &copy)?,
            _ => {}
        }
        std::fs::create_dir(&copy).at("create directory", &copy)?;
        checkout(&self.repo.store, &seed, &copy)?;
        if self.find(&volume.name)?.container.is_none() {
            sync(&volume.directory, &copy)?;
        }
        let disk = self.repo.store.disk();
        debug_assert_eq!(data.file_name().and_then(|name| name.to_str()), Some(DATA));
        disk.rename(&copy, &data)?;
        disk.sync_dir(&self.dir(&volume.name))?;
        Ok(())
    }
}

fn sync(file_system: &std::fs::File, copy: &Path) -> Result<()> {
    rustix::fs::syncfs(file_system).at("sync", copy)
}

/// The directory at `target`, as a tree of its own; none where the image has none there.
fn below(tree: &Tree, target: &[u8]) -> Result<Option<Tree>> {
    let Some(id) = tree.resolve(target).and_then(|path| tree.get(&path)) else {
        return Ok(None);
    };
    if !matches!(tree.node(id).kind, NodeKind::Directory(_)) {
        return Ok(None);
    }
    let mut seed = Tree::new();
    *seed.meta_mut(seed.root()) = tree.node(id).meta.clone();
    let mut all = Vec::new();
    tree.walk_below(b"", id, &mut all);
    for (path, id) in all {
        // A volume is not part of the image's root, where devices are shut off.
        if matches!(
            tree.kind(id),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. }
        ) {
            continue;
        }
        seed.insert(&path, tree.node(id).meta.clone(), tree.kind(id))?;
    }
    Ok(Some(seed))
}
