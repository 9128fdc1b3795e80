//! The cache of views: images by tree, flattened trees for old kernels, and the objects.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cairn_layer::{Tree, checkout, checkout_for_overlay};
use cairn_model::{Content, Driver, Head, MountPlan, ObjectId, TreeId};
use cairn_store::Store;
use rustix::fs::{FlockOperation, flock};

use crate::erofs::write_image;
use crate::error::{At, Result};
use crate::objects::ObjectCache;

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

/// How a tree is written into a directory.
type WriteTree = fn(&Store, &Tree, &Path) -> cairn_layer::Result<Vec<Vec<u8>>>;

/// Views of a repository.
#[derive(Debug, Clone)]
pub struct Views {
    directory: PathBuf,
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
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The object cache.
    pub fn objects(&self) -> ObjectCache {
        ObjectCache::new(&self.directory.join("objects"))
    }

    fn image_path(&self, id: &TreeId) -> PathBuf {
        self.directory
            .join("views")
            .join(format!("{}.erofs", id.hex()))
    }

    fn flat_path(&self, id: &TreeId) -> PathBuf {
        self.directory.join("flat").join(id.hex())
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
            .at("open", &path)?;
        flock(&file, operation).at("lock", &path)?;
        Ok(file)
    }

    fn boot_id() -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    fn is_of_this_boot(&self) -> bool {
        std::fs::read_to_string(self.directory.join("boot"))
            .is_ok_and(|boot| boot == Self::boot_id())
    }

    /// Nothing in the cache is synced, so what a power cut left of it is not to be trusted: with each
    /// boot it begins anew. Nothing can be mounted from it yet.
    fn begin_anew(&self) -> Result<()> {
        let _guard = self.hold(FlockOperation::LockExclusive)?;
        if self.is_of_this_boot() {
            return Ok(());
        }
        for name in ["views", "flat", "roots", "objects"] {
            let path = self.directory.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        let path = self.directory.join("boot");
        std::fs::write(&path, Self::boot_id()).at("write", &path)
    }

    /// Keeps an eviction away; where one is under way, calls `wait` before waiting for it, so that the
    /// caller holds nothing that the eviction needs.
    fn hold_shared(&self, wait: &dyn Fn()) -> Result<File> {
        if !self.is_of_this_boot() {
            wait();
            self.begin_anew()?;
        }
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
                let path = self.image_path(id);
                if !path.exists() {
                    self.make_image(store, id, &tree()?)?;
                }
                plan.lowers.push(path);
                plan.objects = Some(self.objects().directory().to_owned());
            }
            Driver::Overlay => {
                let path = self.flat_path(id);
                if !path.exists() {
                    self.make_flat(store, &path, &tree()?, checkout_for_overlay)?;
                }
                plan.lowers.push(path);
                if plan.head.is_none() {
                    plan.lowers.push(self.empty()?);
                }
            }
            Driver::Copy => match &plan.head {
                Some(head) => {
                    let done = head.upper.with_file_name("copied");
                    if !done.exists() {
                        checkout(store, &tree()?, &head.upper).map_err(crate::Error::from)?;
                        File::create(&done).at("create", &done)?;
                    }
                }
                None => {
                    // Not the one overlayfs reads, where its own attributes are escaped.
                    let path = self.flat_path(id).with_extension("copy");
                    if !path.exists() {
                        self.make_flat(store, &path, &tree()?, checkout)?;
                    }
                    plan.lowers.push(path);
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
                let path = self.image_path(id);
                if !path.exists() {
                    self.make_image(store, id, &tree()?)?;
                }
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

    /// Objects first: an image that exists promises that they do.
    fn make_image(&self, store: &Store, id: &TreeId, tree: &Tree) -> Result<()> {
        self.objects().fill(store, tree)?;
        let path = self.image_path(id);
        let directory = self.directory.join("views");
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&directory)
            .at("make a temporary file in", &directory)?;
        let tiny = |content: &Content, out: &mut Vec<u8>| {
            Ok(cairn_layer::read_content(store, content, out)?)
        };
        let left_out = write_image(tree, id, &tiny, file.as_file_mut())?;
        if left_out > 0 {
            let words = format!("left out {left_out} extended attributes that a view cannot hold");
            store.db().say(&words);
        }
        file.as_file_mut().flush().at("write", &path)?;
        file.persist(&path)
            .map_err(|e| e.error)
            .at("put in place", &path)?;
        Ok(())
    }

    fn make_flat(&self, store: &Store, path: &Path, tree: &Tree, write: WriteTree) -> Result<()> {
        let directory = self.directory.join("flat");
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        let temporary =
            tempfile::TempDir::new_in(&directory).at("make a directory in", &directory)?;
        write(store, tree, temporary.path())?;
        match std::fs::rename(temporary.path(), path) {
            // Another process was first.
            Err(_) if path.exists() => Ok(()),
            done => {
                done.at("rename", temporary.path())?;
                // It has its name now; there is nothing left to clean up.
                let _ = temporary.keep();
                Ok(())
            }
        }
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
                if stem.parse().is_ok_and(|id| trees.contains(&id)) {
                    continue;
                }
                evicted.views += 1;
                if path.is_dir() {
                    std::fs::remove_dir_all(&path).at("remove", &path)?;
                } else {
                    evicted.bytes += entry.metadata().map_or(0, |m| m.len());
                    std::fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        let (count, bytes) = self.objects().retain(&objects)?;
        Ok(Evicted {
            objects: count,
            bytes: evicted.bytes + bytes,
            ..evicted
        })
    }
}
