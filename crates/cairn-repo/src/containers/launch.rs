//! What a launch needs of the repository: a mount plan with every mount point in place.

use cairn_layer::{NodeKind, Tree, split};
use cairn_model::{Kind, Meta, MountPlan, TreeId};
use cairn_snapshot::Snapshotter;

use super::way::Way;
use super::{Container, Containers};
use crate::error::{Error, Result};
use crate::trees::tree_id;

impl Containers<'_> {
    /// How to mount a container's snapshot now; refused where something has it mounted.
    pub fn mounts(&self, container: &Container) -> Result<MountPlan> {
        let snapshots = self.repo.snapshots();
        let snapshot = snapshots.stat(&container.snapshot)?;
        self.repo.views().refuse_if_mounted(&snapshot)?;
        snapshots.mounts(&container.snapshot)
    }

    /// `plan` of a container with these directories and files (absolute, in the container) there to be mounted
    /// on. What the snapshot lacks of them comes from a lower layer of its own, so that the upper holds what
    /// the process changed and nothing else.
    pub fn launch_plan(
        &self,
        container: &Container,
        plan: MountPlan,
        directories: &[Vec<u8>],
        files: &[Vec<u8>],
    ) -> Result<MountPlan> {
        let key = &container.snapshot;
        let (repo, snapshots) = (self.repo, self.repo.snapshots());
        let layers = snapshots.layers(key)?;
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
        let place = self.dir(&container.id);
        let wait = || repo.store.db().release();
        let view = plan.images_alone();
        let points = || {
            let paths = directories.iter().chain(files);
            let tree = match view.map(|view| cairn_view::mount(&view)) {
                Some(Ok(root)) => Way::along(root, paths)?,
                _ => repo.tree(&layers)?,
            };
            mount_points(&tree, directories, files)
        };
        repo.views()
            .cache()
            .under_mounts(&repo.store, plan, &id, &place, &wait, points)
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
