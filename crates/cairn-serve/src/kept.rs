//! Views that stay mounted, read-only, below a runtime directory: the lowers of mounts that others make.
//!
//! A view is an overlay of a metadata image and the object cache, which only descriptors can mount; containerd and
//! its shims mount with words. So each view that an active snapshot or a view stands on is mounted once, at
//! `STATE/REPOSITORY/TREE-IMAGE`, whoever asks; for containers with user namespaces once more for each mapping of ids, at
//! `TREE-IMAGE-IDS`, with those ids. The mounts belong to nobody: they outlive the server, are
//! found again by their names, and go when no record stands on their tree ([`Kept::drop_unneeded`]).

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cairn_model::{MappedIds, MountPlan, StackPlan, TreeId};
use cairn_view::detached::Users;
use rustix::fs::{FlockOperation, flock};

use crate::error::{At, Error, Result};
use crate::ids;
use crate::proto::types::Mount;

/// Longest path that mount options can name twice beside the rest, bytes: they are a page in all.
const PATH_BYTES_MAX: usize = 1000;

/// Digits of a tree's id.
const TREE_DIGITS: usize = 64;

/// The directory of a repository's kept mounts.
#[derive(Debug)]
pub(crate) struct Kept {
    directory: PathBuf,
}

/// Nothing is unmounted while this lives.
#[must_use = "kept mounts may go once this is dropped"]
pub(crate) struct Hold(#[expect(dead_code, reason = "the lock goes with it")] File);

/// Refuses a path that mount options cannot hold.
pub(crate) fn check_path(path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let why = if bytes.len() > PATH_BYTES_MAX {
        "is too long"
    } else if bytes
        .iter()
        .any(|byte| b",:\\\"".contains(byte) || byte.is_ascii_control())
    {
        "has a comma, colon, quote or backslash in it"
    } else if path.to_str().is_none() {
        "is not UTF-8"
    } else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(Error::Unmountable { path, why })
}

impl Kept {
    /// Those of the repository in `root`, below `state`.
    pub fn open(state: &Path, root: &Path) -> Result<Self> {
        check_path(state)?;
        check_path(root)?;
        let name = cairn_view::place_name(root).at("look at", root)?;
        let directory = state.join(name);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&directory)
            .at("create directory", &directory)?;
        Ok(Self { directory })
    }

    /// Keeps what is mounted, until the record is there that needs it.
    pub fn hold(&self) -> Result<Hold> {
        self.lock("lock", FlockOperation::LockShared).map(Hold)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<File> {
        let path = self.directory.join(name);
        let mut options = File::options();
        options.create(true).write(true).truncate(false);
        let file = options.open(&path).at("open", &path)?;
        flock(&file, operation).at("lock", &path)?;
        Ok(file)
    }

    /// A directory that shows the view of a plan, without its head, with these ids.
    pub fn lower(&self, plan: &MountPlan, ids: Option<&MappedIds>) -> Result<PathBuf> {
        if let (Some(view), [image, ..]) = (plan.images_alone(), plan.images()) {
            let make = |users: Users<'_>| Ok(cairn_view::mount_for(&view, users)?);
            return self.mounted(&image.file, ids, make);
        }
        match (plan, ids) {
            (MountPlan::Overlay(of) | MountPlan::OverlayUser(of), None) => first(of),
            (MountPlan::Copy(of), None) => Ok(of.directory.clone()),
            (MountPlan::Overlay(of), Some(_)) => {
                let directory = first(of)?;
                self.mounted(&directory, ids, |users| bound(&directory, users))
            }
            _ => Err(Error::Unmapped {
                path: "a view".into(),
                source: format!("the driver {} maps no ids", plan.driver()).into(),
            }),
        }
    }

    /// What `make` mounts of the file or directory `of`, at its place.
    fn mounted(
        &self,
        of: &Path,
        ids: Option<&MappedIds>,
        make: impl FnOnce(Users<'_>) -> Result<OwnedFd>,
    ) -> Result<PathBuf> {
        let ids_name = ids.map(|ids| format!("-{}", ids::name(ids)));
        let name = name(of)? + &ids_name.unwrap_or_default();
        let place = self.directory.join(name);
        if self.is_mounted(&place) {
            return Ok(place);
        }
        // One at a time, also of two servers: a second mount would cover the first.
        let _only = self.lock("making", FlockOperation::LockExclusive)?;
        if self.is_mounted(&place) {
            return Ok(place);
        }
        match std::fs::create_dir(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            done => done.at("create directory", &place)?,
        }
        let mount = match ids {
            None => make(None)?,
            Some(ids) => mapped(of, ids, make)?,
        };
        cairn_view::attach(&mount, &place)?;
        tracing::debug!(place = %place.display(), "view kept mounted");
        Ok(place)
    }

    /// The tree that mounts of a view show, where they are ours: they name it in the place where it is mounted or, by
    /// drivers that mount no view, in the cache below `root`.
    pub fn tree(&self, mounts: &[Mount], root: &Path) -> Option<TreeId> {
        let [mount] = mounts else { return None };
        let is_view = mount.r#type == "bind" && mount.options.iter().any(|o| o == "ro");
        let source = Path::new(&mount.source);
        let is_ours = source.parent() == Some(&self.directory) || source.starts_with(root);
        let name = source.file_name()?.to_str()?;
        let tree = name.get(..TREE_DIGITS)?;
        tree.parse().ok().filter(|_| is_view && is_ours)
    }

    /// Without a look at the table of mounts, which may be long.
    fn is_mounted(&self, place: &Path) -> bool {
        let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
        device(place).is_some_and(|of| Some(of) != device(&self.directory))
    }

    /// Unmounts what no tree of `needed` stands on, with the ids that are named there; it is asked once nobody can mount.
    /// Returns how many went.
    pub fn drop_unneeded<E: From<Error>>(
        &self,
        needed: impl FnOnce() -> Result<HashSet<(TreeId, Option<String>)>, E>,
    ) -> Result<u64, E> {
        let Ok(_none) = self.lock("lock", FlockOperation::NonBlockingLockExclusive) else {
            return Ok(0);
        };
        let needed = needed()?.into_iter();
        let needed: HashSet<(String, Option<String>)> =
            needed.map(|(tree, ids)| (tree.hex(), ids)).collect();
        let entries = std::fs::read_dir(&self.directory).at("list", &self.directory)?;
        let mut count = 0;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut parts = name.splitn(3, '-').map(str::to_owned);
            let (Some(tree), Some(_image)) = (parts.next(), parts.next()) else {
                continue;
            };
            if !needed.contains(&(tree, parts.next())) {
                self.drop_one(&entry.path())?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn drop_one(&self, place: &Path) -> Result<()> {
        if self.is_mounted(place) {
            // Whoever mounted an overlay over it has a mount of its own by now.
            let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(place, flags).at("unmount", place)?;
        }
        std::fs::remove_dir(place).at("remove", place)
    }
}

/// The same with the ids of a container.
fn mapped(
    of: &Path,
    ids: &MappedIds,
    make: impl FnOnce(Users<'_>) -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unmapped {
        path: of.to_owned(),
        source,
    };
    let users = ids::namespace(ids).map_err(|e| refused(e.into()))?;
    make(Some(users.as_fd())).map_err(|e| refused(e.into()))
}

/// A directory as a mount of its own, read-only.
fn bound(directory: &Path, users: Users<'_>) -> Result<OwnedFd> {
    let refused = |e: cairn_view::detached::Refused| Error::Io {
        action: "mount",
        path: directory.to_owned(),
        source: std::io::Error::other(e),
    };
    let mount = cairn_view::detached::clone(directory, false).map_err(refused)?;
    cairn_view::detached::map_ids(&mount, users, directory).map_err(refused)?;
    cairn_sys::mount_read_only(&mount, false).at("make read-only", directory)?;
    Ok(mount)
}

/// The topmost lower holds all; a second one is there only where overlayfs wants two.
fn first(of: &StackPlan) -> Result<PathBuf> {
    let lower = of.lowers.first().cloned();
    lower.ok_or_else(|| Error::Server("a plan has no lower".into()))
}

/// The tree, and the file of its image: one that was made anew is another.
fn name(image: &Path) -> Result<String> {
    let meta = image.metadata().at("look at", image)?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let tree = name.split('.').next().unwrap_or_default();
    Ok(format!("{tree}-{:x}.{:x}", meta.ino(), meta.ctime_nsec()))
}
