//! Flattened trees, `flat/TREE/`: the lower of the driver overlay, and read-only views of the driver copy.
//!
//! `flat/TREE.whole` names the boot in which the directory was written to its end or compared with the
//! tree. A directory without it, or with that of another boot, is compared before it is used: it was
//! never synced. One that differs is moved aside, because a mount may still stand on it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_layer::{
    NodeId, NodeKind, OverlayAttributes, Owners, Tree, checkout, checkout_for_overlay,
};
use cairn_model::{TreeId, path_display};
use cairn_store::Store;
use cairn_sys::IdMap;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use crate::cache::Views;
use crate::checked::{read_checked, write_checked};
use crate::error::{At, Result};
use crate::objects::for_each;
use crate::verified::boot_id;
use crate::verify::{Verify, holds};

/// How a directory that was moved aside begins, before the boot in which it was.
pub(crate) const ASIDE: &str = "old-";
/// Longest marker, bytes.
const MARKER_BYTES_MAX: u64 = 16 << 10;

/// What a flattened tree is for: overlayfs wants attributes of its own kind escaped, which a plain mount
/// would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flat {
    /// `flat/TREE`, with the marker `TREE.whole`.
    Overlay,
    /// `flat/TREE.user`, with the marker `TREE.user-whole`; for overlays in user namespaces.
    OverlayUser,
    /// `flat/TREE.copy`, with the marker `TREE.copy-whole`.
    Copy,
}

impl Views {
    pub(crate) fn flat_path(&self, id: &TreeId, flat: Flat) -> PathBuf {
        let path = self.directory().join("flat").join(id.hex());
        match flat {
            Flat::Overlay => path,
            Flat::OverlayUser => path.with_extension("user"),
            Flat::Copy => path.with_extension("copy"),
        }
    }

    fn marker(&self, id: &TreeId, flat: Flat) -> PathBuf {
        let path = self.flat_path(id, flat);
        match flat {
            Flat::Overlay => path.with_extension("whole"),
            Flat::OverlayUser => path.with_extension("user-whole"),
            Flat::Copy => path.with_extension("copy-whole"),
        }
    }

    /// In which boot a flattened tree was whole, and with which ids, as [`now`] says it.
    fn marked(&self, id: &TreeId, flat: Flat) -> Option<(String, String)> {
        let found = read_checked(&self.marker(id, flat), MARKER_BYTES_MAX)?;
        let found = String::from_utf8_lossy(&found);
        let (boot, ids) = found.split_once(' ').unwrap_or((&found, ""));
        Some((boot.to_owned(), ids.to_owned()))
    }

    /// The flattened tree `id`, if it is there and need not be compared first.
    pub(crate) fn trusted_flat(&self, id: &TreeId, flat: Flat) -> Option<PathBuf> {
        let path = self.flat_path(id, flat);
        let (boot, ids) = now();
        let found = self.marked(id, flat)?;
        let trusted = match self.verify() {
            Verify::Always => false,
            Verify::Never => ids == found.1,
            Verify::Boot => !boot.is_empty() && (boot, ids) == found,
        };
        (trusted && path.is_dir()).then_some(path)
    }

    /// Compares a flattened tree with `tree`, and makes it again where it differs; says in what.
    pub fn check_flat(
        &self,
        store: &Store,
        id: &TreeId,
        flat: Flat,
        tree: &Tree,
        spent: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<String>> {
        let path = self.flat_path(id, flat);
        let marker = self.marker(id, flat);
        // With other ids it has other owners, and no fault.
        let is_ours = self.marked(id, flat).is_none_or(|(_, ids)| ids == now().1);
        let differs = match path.symlink_metadata() {
            Ok(_) if is_ours => differs(tree, &path, spent)?,
            Ok(_) => None,
            Err(_) => Some("it is not there".to_owned()),
        };
        if differs.is_some() || !is_ours {
            let _ = std::fs::remove_file(&marker);
            self.move_aside(&path)?;
            self.make_flat(store, &path, flat, tree)?;
        }
        let (boot, ids) = now();
        let words = format!("{boot} {ids}");
        write_checked(&marker, words.trim_end().as_bytes())?;
        Ok(differs)
    }

    fn move_aside(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        // A name that nothing has: the directory is replaced by the rename.
        let prefix = format!("{ASIDE}{}-", boot_id().unwrap_or_default());
        let directory = self.directory().join("flat");
        let place = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&directory)
            .at("make a directory in", &directory)?;
        let aside = place.keep();
        if !path.is_dir() {
            return std::fs::rename(path, aside.join("file")).at("rename", path);
        }
        std::fs::rename(path, &aside).at("rename", path)
    }

    fn make_flat(&self, store: &Store, path: &Path, flat: Flat, tree: &Tree) -> Result<()> {
        let directory = self.directory().join("flat");
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        let temporary =
            tempfile::TempDir::new_in(&directory).at("make a directory in", &directory)?;
        let trusted = OverlayAttributes::Trusted;
        let user = OverlayAttributes::User;
        match flat {
            Flat::Overlay => checkout_for_overlay(store, tree, temporary.path(), trusted)?,
            Flat::OverlayUser => checkout_for_overlay(store, tree, temporary.path(), user)?,
            Flat::Copy => checkout(store, tree, temporary.path())?,
        };
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
}

/// This boot, and the ids that files can have here where those are not all: with others, owners differ.
fn now() -> (String, String) {
    let ids = IdMap::of_this_process();
    let ids = (!ids.is_full()).then(|| ids.to_string());
    (boot_id().unwrap_or_default(), ids.unwrap_or_default())
}

/// A directory of the tree and of the file system, to be compared.
struct Pair {
    directory: OwnedFd,
    path: Vec<u8>,
    id: NodeId,
}

/// In what the directory `at` differs from `tree`, if it does: names, kinds, owners, modes, times, link
/// targets, attributes, and every byte of content.
fn differs(tree: &Tree, at: &Path, spent: &(dyn Fn(u64) + Sync)) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(root) = openat(rustix::fs::CWD, at, flags, Mode::empty()) else {
        return Ok(Some("it is not a directory that can be read".to_owned()));
    };
    let root = Pair {
        directory: root,
        path: Vec::new(),
        id: tree.root(),
    };
    // Descriptors are held for the directories on the way to where the comparison is, and no others.
    let mut stack: Vec<(Arc<Pair>, Vec<u8>)> = Vec::new();
    let compare = Compare {
        tree,
        owners: Owners::of_this_process(),
        spent,
    };
    if let Some(why) = compare.meta(&root.directory, b"", root.id, b"") {
        return Ok(Some(why));
    }
    let mut open = Some(Arc::new(root));
    loop {
        if let Some(pair) = open.take() {
            if let Some(why) = compare.directory(&pair, at)? {
                return Ok(Some(why));
            }
            let inner = tree
                .children(pair.id)
                .filter(|(_, child)| matches!(tree.node(*child).kind, NodeKind::Directory(_)));
            stack.extend(inner.map(|(name, _)| (pair.clone(), name.to_vec())));
        }
        let Some((parent, name)) = stack.pop() else {
            return Ok(None);
        };
        let path = cairn_layer::join(&parent.path, &name);
        let (Some(id), Ok(directory)) = (
            tree.child(parent.id, &name),
            openat(&parent.directory, &name[..], flags, Mode::empty()),
        ) else {
            return Ok(Some(format!("/{} cannot be opened", path_display(&path))));
        };
        open = Some(Arc::new(Pair {
            directory,
            path,
            id,
        }));
    }
}

struct Compare<'a> {
    tree: &'a Tree,
    owners: Owners,
    spent: &'a (dyn Fn(u64) + Sync),
}

impl Compare<'_> {
    /// Everything in one directory, without what is in those in it.
    fn directory(&self, pair: &Pair, at: &Path) -> Result<Option<String>> {
        let mut extra = None;
        let mut names = BTreeSet::new();
        let list = rustix::fs::Dir::read_from(&pair.directory).at("list", at)?;
        for entry in list {
            let name = entry.at("list", at)?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if self.tree.child(pair.id, &name).is_none() {
                extra = Some(name.clone());
            }
            names.insert(name);
        }
        let say = |name: &[u8], what: &str| {
            let path = match name {
                b"" => pair.path.clone(),
                name => cairn_layer::join(&pair.path, name),
            };
            Some(format!("/{} {what}", path_display(&path)))
        };
        if let Some(name) = extra {
            return Ok(say(&name, "is not in the image"));
        }
        let mut files = Vec::new();
        for (name, id) in self.tree.children(pair.id) {
            let kind = &self.tree.node(id).kind;
            if !names.contains(name) {
                let is_device =
                    matches!(kind, NodeKind::CharDevice(..) | NodeKind::BlockDevice(..));
                if is_device && !self.owners.are_all() {
                    continue;
                }
                return Ok(say(name, "is missing"));
            }
            if let Some(why) = self.meta(&pair.directory, name, id, &pair.path) {
                return Ok(Some(why));
            }
            if let NodeKind::File(content) = kind {
                files.push((name, content));
            }
        }
        let wrong: Mutex<Option<String>> = Mutex::new(None);
        for_each(&files, |(name, content)| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let whole = openat(&pair.directory, *name, flags, Mode::empty())
                .map_err(std::io::Error::from)
                .and_then(|file| holds(&File::from(file), content, self.spent));
            if !whole.unwrap_or(false) {
                let why = say(name, "has other content");
                *wrong.lock().unwrap_or_else(PoisonError::into_inner) = why;
            }
            Ok(())
        })?;
        let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stat = rustix::fs::fstat(&pair.directory).at("stat", at)?;
        if wrong.is_none() && !self.same_time(&stat, pair.id) {
            return Ok(say(b"", "has another time"));
        }
        Ok(wrong)
    }

    fn same_time(&self, stat: &rustix::fs::Stat, id: NodeId) -> bool {
        let mtime = self.tree.node(id).meta.mtime;
        (stat.st_mtime, stat.st_mtime_nsec as u32) == (mtime.secs, mtime.nanos)
    }

    /// What a node is and whose, against the file of this name.
    fn meta(&self, dir: &OwnedFd, name: &[u8], id: NodeId, above: &[u8]) -> Option<String> {
        let node = self.tree.node(id);
        let say = |what: &str| {
            let path = cairn_layer::join(above, name);
            Some(format!("/{} {what}", path_display(&path)))
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let Ok(stat) = statat(dir, name, flags) else {
            return say("is missing");
        };
        let kind = match &node.kind {
            NodeKind::Directory(_) => 0o040_000,
            NodeKind::File(_) => 0o100_000,
            NodeKind::Symlink(_) => 0o120_000,
            NodeKind::CharDevice(..) => 0o020_000,
            NodeKind::BlockDevice(..) => 0o060_000,
            NodeKind::Fifo => 0o010_000,
        };
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        if stat.st_mode & 0o170_000 != kind {
            return say("is of another kind");
        }
        if !is_link && stat.st_mode & 0o7777 != node.meta.mode & 0o7777 {
            return say("has another mode");
        }
        let owner = self.owners.on_disk(&node.meta);
        if owner.is_some_and(|owner| owner != (stat.st_uid, stat.st_gid)) {
            return say("has another owner");
        }
        // A directory's comes after what is in it, which says more.
        if kind != 0o040_000 && !self.same_time(&stat, id) {
            return say("has another time");
        }
        match &node.kind {
            NodeKind::Symlink(target)
                if rustix::fs::readlinkat(dir, name, Vec::new())
                    .is_ok_and(|found| found.to_bytes() != &target[..]) =>
            {
                return say("leads to another place");
            }
            NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor)
                if stat.st_rdev != rustix::fs::makedev(*major, *minor) =>
            {
                return say("is another device");
            }
            _ => {}
        }
        for (key, value) in &node.meta.xattrs {
            let mut found = vec![0; 1 << 16];
            let place = proc_path(dir, name);
            // One that is not there is one that this file system or user cannot have.
            if let Ok(length) = rustix::fs::lgetxattr(&place[..], &key[..], &mut found)
                && found[..length] != value[..]
            {
                return say("has another extended attribute");
            }
        }
        None
    }
}

/// A path that leads to `name` in an open directory, for calls that take no descriptor.
fn proc_path(dir: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", std::os::fd::AsRawFd::as_raw_fd(dir)).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    path
}

/// Bytes on disk of all that is below a directory.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    below
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => meta.blocks() * 512 + disk_bytes(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
