//! What a launch needs of the repository: a mount plan with every mount point in place, and volumes.

use std::path::{Path, PathBuf};

use cairn_layer::{NodeKind, Tree, checkout, split};
use cairn_model::{Kind, Meta, MountPlan, TreeId};
use cairn_snapshot::Snapshotter;

use crate::containers::Container;
use crate::error::{At, Error, Result};
use crate::repo::{Repo, tree_id};

impl Repo {
    /// How to mount a container's snapshot with these directories and files (absolute, in the container)
    /// there to be mounted on. What the snapshot lacks of them comes from a lower layer of its own, so
    /// that the upper holds what the process changed and nothing else.
    pub fn launch_plan(
        &self,
        container: &Container,
        directories: &[Vec<u8>],
        files: &[Vec<u8>],
    ) -> Result<MountPlan> {
        let key = &container.snapshot;
        self.refuse_if_mounted(&self.stat(key)?)?;
        let plan = self.mounts(key)?;
        let layers = self.layers_of(key)?;
        let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 mount points v1");
        hasher.update(tree_id(&layers).as_bytes());
        for (sign, paths) in [(b"d", directories), (b"f", files)] {
            for path in paths {
                hasher
                    .update(sign)
                    .update(&(path.len() as u64).to_le_bytes())
                    .update(path);
            }
        }
        let id = TreeId::from_bytes(*hasher.finalize().as_bytes());
        let place = self.container_dir(&container.id);
        let wait = || self.store.db().release();
        self.views()
            .under_mounts(&self.store, plan, &id, &place, &wait, || {
                let tree = self.tree(&layers)?;
                mount_points(&tree, directories, files)
            })
    }

    /// Makes directories for volumes that an image declares, with what the image has there, and the owner and
    /// mode it has there; in the order of `targets`.
    pub fn seed_volumes(&self, container: &Container, targets: &[&String]) -> Result<Vec<PathBuf>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.container_dir(&container.id).join("volumes");
        let tree = self.tree_of(&container.snapshot)?;
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
        checkout(&self.store, &seed, &directory)?;
        Ok(directory)
    }
}

/// The tree of what is missing: mount points, and the directories on the way to them just as the
/// snapshot has them (the upper one of two directories gives a merged one its attributes).
fn mount_points(tree: &Tree, directories: &[Vec<u8>], files: &[Vec<u8>]) -> Result<Tree> {
    let mut out = Tree::new();
    *out.meta_mut(out.root()) = tree.node(tree.root()).meta.clone();
    let wanted = directories
        .iter()
        .map(|path| (path, true))
        .chain(files.iter().map(|path| (path, false)));
    for (name, is_directory) in wanted {
        let text = String::from_utf8_lossy(name);
        let path = tree.resolve(name).ok_or_else(|| {
            Error::Invalid(format!(
                "{text} in the image leads through a file or a symbolic link loop"
            ))
        })?;
        match tree.get(&path).map(|id| &tree.node(id).kind) {
            None => {}
            Some(kind) if matches!(kind, NodeKind::Directory(_)) == is_directory => continue,
            Some(_) => {
                let other = if is_directory {
                    "not a directory"
                } else {
                    "a directory"
                };
                return Err(Error::Invalid(format!(
                    "{text} is {other} in the image and cannot be a mount point"
                )));
            }
        }
        parents(tree, &mut out, &path)?;
        if out.get(&path).is_none() {
            let (mode, kind) = if is_directory {
                (0o755, Kind::Directory)
            } else {
                (0o644, Kind::File(Default::default()))
            };
            out.insert(&path, Meta::root(mode), kind)?;
        }
    }
    Ok(out)
}

fn parents(tree: &Tree, out: &mut Tree, path: &[u8]) -> Result<()> {
    let Some((directory, _)) = split(path) else {
        return Ok(());
    };
    if directory.is_empty() || out.get(directory).is_some() {
        return Ok(());
    }
    parents(tree, out, directory)?;
    let meta = tree
        .get(directory)
        .map_or_else(|| Meta::root(0o755), |id| tree.node(id).meta.clone());
    Ok(out.insert(directory, meta, Kind::Directory)?)
}
