//! The driver `copy`: a head is a full copy of the tree, and is used once it is whole on the disk.
//!
//! Beside `upper`, `copying` is on the disk before the first file of the copy and `copied` after the last
//! one; between the two there is nothing in `upper` that a process wrote, and the copy is made again.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cairn_layer::{Limits, Scanned, Tree, checkout, commit_copy};
use cairn_model::{CopyPlan, Driver, TreeId};
use cairn_store::{Feeder, Store};

use super::head::upper;
use super::{Place, Room, SAMPLE};
use crate::detached::{Users, clone, map_ids};
use crate::error::{At, Error, Result};
use crate::flat::Flat;

const BEGUN: &str = "copying";
const DONE: &str = "copied";
/// Beside a full copy: the paths that were made in it to be mounted on.
const MOUNT_POINTS: &str = "mount-points";

pub(super) struct Copy;

/// True for a head that is a full copy, or was to become one.
pub(super) fn is_copy(head: &Path) -> bool {
    [DONE, BEGUN].iter().any(|name| head.join(name).exists())
}

fn of_head(head: &Path) -> CopyPlan {
    CopyPlan {
        directory: upper(head),
        writable: true,
    }
}

fn read_only(flat: PathBuf) -> CopyPlan {
    CopyPlan {
        directory: flat,
        writable: false,
    }
}

impl Room for Copy {
    type Plan = CopyPlan;

    fn sample(&self, _scratch: &Path, head: &Path) -> Result<CopyPlan> {
        let file = upper(head).join(SAMPLE.0);
        std::fs::write(&file, SAMPLE.1).at("write", &file)?;
        Ok(of_head(head))
    }

    fn ready(&self, at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<Option<CopyPlan>> {
        Ok(match head {
            Some(head) => head.join(DONE).exists().then(|| of_head(head)),
            // Not the one that overlayfs reads, where its own attributes are escaped.
            None => at.views.trusted_flat(id, Flat::Copy).map(read_only),
        })
    }

    fn make(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        tree: &Tree,
    ) -> Result<CopyPlan> {
        if let Some(head) = head {
            copy(at.store, &upper(head), tree)?;
            return Ok(of_head(head));
        }
        at.views
            .check_flat(at.store, id, Flat::Copy, tree, &|_| ())?;
        Ok(read_only(at.views.flat_path(id, Flat::Copy)))
    }

    fn add_points<E: From<Error>>(
        &self,
        _at: Place<'_>,
        plan: CopyPlan,
        _id: &TreeId,
        _own: &Path,
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<CopyPlan, E> {
        // There is nothing to put them above, so they are made in the copy itself.
        if plan.writable {
            make_mount_points(&plan.directory, &points()?)?;
        }
        Ok(plan)
    }

    fn mount(&self, plan: &CopyPlan, users: Users<'_>) -> Result<OwnedFd> {
        let refused = |e| Error::mount(Driver::Copy, e);
        let tree = clone(&plan.directory, false).map_err(refused)?;
        map_ids(&tree, users, &plan.directory).map_err(refused)?;
        if !plan.writable {
            cairn_sys::mount_read_only(&tree, false).at("make read-only", &plan.directory)?;
        }
        Ok(tree)
    }

    fn start_head(&self, store: &Store, upper: &Path, root: &Tree) -> Result<()> {
        checkout(store, root, upper)?;
        Ok(())
    }

    fn read_head(
        &self,
        store: &Store,
        head: &Path,
        parent: &Tree,
        feeder: Feeder,
        limits: Limits,
    ) -> Result<Scanned> {
        let upper = upper(head);
        if !head.join(DONE).exists() {
            // Cut off in the middle: read as it is, files that are missing would count as deleted.
            copy(store, &upper, parent)?;
        }
        let ignore = made_mount_points(head);
        Ok(commit_copy(store, &upper, parent, &ignore, feeder, limits)?)
    }
}

fn copy(store: &Store, upper: &Path, tree: &Tree) -> Result<()> {
    let begun = upper.with_file_name(BEGUN);
    if begun.exists() {
        clear(upper)?;
    } else {
        let mut entries = std::fs::read_dir(upper).at("list", upper)?;
        if entries.next().is_some() {
            let why = "it holds what another driver wrote; name that one with --driver";
            return Err(std::io::Error::other(why)).at("copy into", upper);
        }
        mark(&begun)?;
    }
    checkout(store, tree, upper)?;
    // Thousands of files and directories in one call, instead of one for each.
    let directory = File::open(upper).at("open", upper)?;
    rustix::fs::syncfs(&directory).at("sync", upper)?;
    mark(&upper.with_file_name(DONE))?;
    std::fs::remove_file(&begun).at("remove", &begun)
}

/// Makes an empty file, durably.
fn mark(path: &Path) -> Result<()> {
    let file = File::create(path).at("create", path)?;
    file.sync_all().at("sync", path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let opened = File::open(directory).at("open", directory)?;
    opened.sync_all().at("sync", directory)
}

fn clear(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let is_directory = path.symlink_metadata().at("stat", &path)?.is_dir();
        let removed = if is_directory {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.at("remove", &path)?;
    }
    Ok(())
}

/// Mount points that were made in the full copy whose head directory this is.
fn made_mount_points(head: &Path) -> HashSet<Vec<u8>> {
    let bytes = std::fs::read(head.join(MOUNT_POINTS)).unwrap_or_default();
    let list: Option<Vec<Vec<u8>>> = cairn_store::codec::decode_bare(&mut &bytes[..]);
    list.unwrap_or_default().into_iter().collect()
}

/// Makes in a full copy what `tree` has and it lacks, and gives the directories on the way their times
/// back. A commit takes what was made here for what it is: nothing the process did.
fn make_mount_points(copy: &Path, tree: &Tree) -> Result<()> {
    let place = |path: &[u8]| copy.join(Path::new(std::ffi::OsStr::from_bytes(path)));
    // Those of an earlier start are there already, and no less ours.
    let known = made_mount_points(copy.parent().unwrap_or(copy));
    let mut made: Vec<Vec<u8>> = known.into_iter().collect();
    let mut on_the_way = Vec::new();
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
