//! The cache of views: images by tree, flattened trees for old kernels, and the objects.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cairn_layer::{Tree, checkout_for_overlay};
use cairn_model::{Driver, Head, MountPlan, ObjectId, TreeId};
use cairn_store::Store;
use rustix::fs::{FlockOperation, flock};

use crate::copy::ensure_copy;
use crate::error::{At, Result};
use crate::flat::{ASIDE, Flat, disk_bytes};
use crate::objects::ObjectCache;
use crate::verified::{Verified, boot_id};
use crate::verify::Verify;

/// Beside a full copy: the paths that were made in it to be mounted on.
const MOUNT_POINTS: &str = "mount-points";

/// Mount points that were made in the full copy whose head directory this is.
pub fn made_mount_points(head: &Path) -> std::collections::HashSet<Vec<u8>> {
    let bytes = std::fs::read(head.join(MOUNT_POINTS)).unwrap_or_default();
    let list: Option<Vec<Vec<u8>>> = cairn_store::codec::decode_bare(&mut &bytes[..]);
    list.unwrap_or_default().into_iter().collect()
}

/// Makes in a full copy what `tree` has and it lacks, and gives the directories on the way their times
/// back. A commit takes what was made here for what it is: nothing the process did.
fn make_mount_points(copy: &Path, tree: &Tree) -> Result<()> {
    let place = |path: &[u8]| copy.join(Path::new(std::ffi::OsStr::from_bytes(path)));
    let (mut made, mut on_the_way) = (Vec::new(), Vec::new());
    for (path, node) in tree.walk() {
        let at = place(&path);
        match tree.node(node).kind {
            _ if at.symlink_metadata().is_ok() => {
                on_the_way.push((at, node));
                continue;
            }
            cairn_layer::NodeKind::Directory(_) => {
                std::fs::create_dir(&at).at("create directory", &at)?
            }
            _ => std::fs::write(&at, b"").at("create", &at)?,
        }
        made.push(path);
    }
    for (at, node) in on_the_way {
        let mtime = tree.node(node).meta.mtime;
        let time = rustix::fs::Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(
            rustix::fs::CWD,
            &at,
            &times,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .at("set the time of", &at)?;
    }
    let list = copy.with_file_name(MOUNT_POINTS);
    std::fs::write(&list, cairn_store::codec::encode_bare(&made)).at("write", &list)
}

/// Views of a repository.
#[derive(Debug, Clone)]
pub struct Views {
    directory: PathBuf,
    verify: Verify,
}

/// What [`Views::retain`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Images and flattened trees.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of all of them on disk.
    pub bytes: u64,
}

impl Views {
    /// The views in `directory`, made when first needed.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            verify: Verify::default(),
        }
    }

    /// The same views, verified as `verify` says.
    #[must_use]
    pub fn verified(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    pub(crate) fn verify(&self) -> Verify {
        self.verify
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The object cache.
    pub fn objects(&self) -> ObjectCache {
        ObjectCache::new(&self.directory.join("objects"))
    }

    /// An empty directory, which overlayfs wants as a second lower where there is no upper.
    fn empty(&self) -> Result<PathBuf> {
        let path = self.directory.join("empty");
        std::fs::create_dir_all(&path).at("create directory", &path)?;
        Ok(path)
    }

    /// Keeps an eviction away while the guard lives.
    fn hold(&self, operation: FlockOperation) -> Result<File> {
        std::fs::create_dir_all(&self.directory).at("create directory", &self.directory)?;
        let path = self.directory.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            // A repository that cannot be written to can still be read.
            .or_else(|e| File::open(&path).map_err(|_| e))
            .at("open", &path)?;
        flock(&file, operation).at("lock", &path)?;
        Ok(file)
    }

    /// Keeps an eviction away; where one is under way, calls `wait` before waiting for it, so that the
    /// caller holds nothing that the eviction needs.
    pub(crate) fn hold_shared(&self, wait: &dyn Fn()) -> Result<File> {
        self.hold(FlockOperation::NonBlockingLockShared)
            .or_else(|_| {
                wait();
                self.hold(FlockOperation::LockShared)
            })
    }

    /// Makes what `driver` needs to mount the tree `id`, if it is not there yet, and says how to mount
    /// it under `head` (read-only without one). `tree` is asked for only when something has to be made.
    pub fn plan<E: From<crate::Error>>(
        &self,
        store: &Store,
        driver: Driver,
        id: &TreeId,
        head: Option<Head>,
        wait: &dyn Fn(),
        tree: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<MountPlan, E> {
        let _guard = self.hold_shared(wait)?;
        let mut plan = MountPlan {
            driver,
            lowers: Vec::new(),
            objects: None,
            head,
        };
        match driver {
            Driver::Erofs | Driver::ErofsLoop => {
                plan.lowers.push(self.ensure_image(store, id, tree)?);
                plan.objects = Some(self.objects().directory().to_owned());
            }
            Driver::Overlay => {
                plan.lowers
                    .push(self.ensure_flat(store, id, Flat::Overlay, tree)?);
                if plan.head.is_none() {
                    plan.lowers.push(self.empty()?);
                }
            }
            Driver::Copy => match &plan.head {
                Some(head) => ensure_copy(store, &head.upper, tree)?,
                None => {
                    // Not the one overlayfs reads, where its own attributes are escaped.
                    plan.lowers
                        .push(self.ensure_flat(store, id, Flat::Copy, tree)?);
                }
            },
        }
        Ok(plan)
    }

    /// `plan` with one more lower layer on top of the others: a small tree of mount points, named `id`,
    /// kept in `place`, which belongs to the container, so that no eviction takes it away. A full copy
    /// gets them written into it.
    pub fn under_mounts<E: From<crate::Error>>(
        &self,
        store: &Store,
        mut plan: MountPlan,
        id: &TreeId,
        place: &Path,
        wait: &dyn Fn(),
        tree: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<MountPlan, E> {
        let _guard = self.hold_shared(wait)?;
        let own = place.join("mount-points");
        match (plan.driver, &plan.head) {
            (Driver::Erofs | Driver::ErofsLoop, _) => {
                let path = self.ensure_image(store, id, tree)?;
                std::fs::copy(&path, &own).at("copy", &path)?;
            }
            (Driver::Overlay, _) => {
                std::fs::create_dir_all(&own).at("create directory", &own)?;
                checkout_for_overlay(store, &tree()?, &own).map_err(crate::Error::from)?;
            }
            (Driver::Copy, head) => {
                if let Some(head) = head {
                    make_mount_points(&head.upper, &tree()?)?;
                }
                return Ok(plan);
            }
        }
        plan.lowers.insert(0, own);
        Ok(plan)
    }

    /// Removes views of other trees and objects other than those that `keep` says. It is asked once no
    /// view can be made any more; while one is being made, nothing is removed.
    pub fn retain<E: From<crate::Error>>(
        &self,
        keep: impl FnOnce() -> Result<(HashSet<TreeId>, HashSet<ObjectId>), E>,
    ) -> Result<Evicted, E> {
        let mut evicted = Evicted::default();
        if !self.directory.exists() {
            return Ok(evicted);
        }
        let Ok(_guard) = self.hold(FlockOperation::NonBlockingLockExclusive) else {
            return Ok(evicted);
        };
        let (trees, objects) = keep()?;
        let aside = format!("{ASIDE}{}-", boot_id().unwrap_or_default());
        for name in ["views", "flat", "roots"] {
            let Ok(entries) = std::fs::read_dir(self.directory.join(name)) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let stem = path
                    .file_stem()
                    .map(|s| s.to_string_lossy().into_owned())
                    .unwrap_or_default();
                // What was moved aside in this boot may still be mounted.
                if stem.parse().is_ok_and(|id| trees.contains(&id)) || stem.starts_with(&aside) {
                    continue;
                }
                let is_view = path.is_dir() || path.extension().is_some_and(|e| e == "erofs");
                evicted.views += u64::from(is_view);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    evicted.bytes += disk_bytes(&path);
                    std::fs::remove_dir_all(&path).at("remove", &path)?;
                } else {
                    evicted.bytes += entry.metadata().map_or(0, |m| m.len());
                    std::fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        let (count, bytes) = self.objects().retain(&objects)?;
        Verified::load(&self.directory).compact(&|id| objects.contains(id))?;
        Ok(Evicted {
            objects: count,
            bytes: evicted.bytes + bytes,
            ..evicted
        })
    }
}
