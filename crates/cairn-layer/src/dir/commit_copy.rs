//! What changed in a full copy of a tree: the commit of the copy driver, which needs no privilege.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::{BlobId, Content, Kind, Meta, Piece};
use cairn_store::{CHUNK_BYTES_MAX, Feeder, Store};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek};

use super::emit::Emitter;
use super::owners::Owners;
use super::scan::refuse_marker;
use super::{Scanned, inode};
use crate::error::{Error, Result};
use crate::layer::Limits;
use crate::path::join;
use crate::tree::{NodeId, NodeKind, Tree};

/// Reads the changes in `copy`, which [`super::checkout`] made of `parent`. Without privilege a copy
/// could not have the parent's owners, devices and most xattrs, so these are taken as unchanged. Paths in
/// `ignore` (mount points made for a launch) are left out while they are still empty.
pub fn commit_copy(
    store: &Store,
    copy: &Path,
    parent: &Tree,
    ignore: &HashSet<Vec<u8>>,
    feeder: Feeder,
    limits: Limits,
) -> Result<Scanned> {
    let _span = tracing::debug_span!("compare_copy").entered();
    let name = || copy.as_os_str().as_encoded_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(rustix::fs::CWD, copy, flags, Mode::empty())
        .map_err(|e| Error::file("open", name(), e))?;
    let stat = fstat(&dir).map_err(|e| Error::file("stat", name(), e))?;
    let mut commit = Commit {
        emitter: Emitter::new(store, feeder, limits),
        parent,
        ignore,
        owners: Owners::of_this_process(),
        regrouped: HashSet::new(),
    };
    let mut groups = Groups::new();
    collect_links(&dir, b"", &mut groups)?;
    commit.regrouped = groups
        .into_iter()
        .filter(|(_, names)| !is_group(parent, names))
        .map(|(inode, _)| inode)
        .collect();
    let root = Some(parent.root());
    let meta = commit.meta(&stat, inode::xattrs_of(&dir, b"")?, root);
    if meta != parent.node(parent.root()).meta {
        commit.emitter.known(b"", meta, Kind::Directory)?;
    }
    commit.children(&dir, b"", root)?;
    commit.emitter.finish()
}

struct Commit<'a> {
    emitter: Emitter<'a>,
    parent: &'a Tree,
    ignore: &'a HashSet<Vec<u8>>,
    owners: Owners,
    /// Files whose names are not those of one file of the parent: all their names are written out, for a
    /// layer's hard links should lead to files of its own.
    regrouped: HashSet<(u64, u64)>,
}

/// Names of each file that has several, by device and inode.
type Groups = HashMap<(u64, u64), Vec<Vec<u8>>>;

fn collect_links(dir: &OwnedFd, path: &[u8], groups: &mut Groups) -> Result<()> {
    for name in inode::names(dir, path)? {
        let inner = join(path, &name);
        let stat = inode::stat(dir, &name, &inner)?;
        if inode::file_type(&stat) == FileType::Directory {
            collect_links(&inode::open(dir, &name, &inner)?, &inner, groups)?;
        } else if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            groups.entry(key).or_default().push(inner);
        }
    }
    Ok(())
}

/// True where these are just the names of one file of the tree.
fn is_group(tree: &Tree, names: &[Vec<u8>]) -> bool {
    let first = names.first().and_then(|name| tree.get(name));
    first.is_some_and(|id| {
        tree.node(id).nlink as usize == names.len()
            && names.iter().all(|name| tree.get(name) == Some(id))
    })
}

impl Commit<'_> {
    fn meta(&self, stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>, before: Option<NodeId>) -> Meta {
        let mut meta = inode::meta(stat);
        meta.xattrs = xattrs;
        let old = before.map(|id| &self.parent.node(id).meta);
        for (name, value) in old.into_iter().flat_map(|old| never_held(old, stat)) {
            if meta.xattr(name).is_none() {
                meta.set_xattr(name, value);
            }
        }
        // Owners and attributes that a checkout could not have are those of the parent still.
        self.owners.restore(&mut meta, old);
        meta
    }

    /// True for a directory made for a launch that holds nothing but what was made for it too.
    fn is_untouched(&self, dir: &OwnedFd, path: &[u8]) -> Result<bool> {
        if !self.ignore.contains(path) {
            return Ok(false);
        }
        for name in inode::names(dir, path)? {
            let inner = join(path, &name);
            let stat = inode::stat(dir, &name, &inner)?;
            let same = match inode::file_type(&stat) {
                FileType::Directory => {
                    self.is_untouched(&inode::open(dir, &name, &inner)?, &inner)?
                }
                FileType::RegularFile => stat.st_size == 0 && self.ignore.contains(&inner),
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn children(&mut self, dir: &OwnedFd, path: &[u8], before: Option<NodeId>) -> Result<()> {
        let names = inode::names(dir, path)?;
        for (name, id) in before.into_iter().flat_map(|id| self.parent.children(id)) {
            let device = matches!(
                self.parent.node(id).kind,
                NodeKind::CharDevice(..) | NodeKind::BlockDevice(..)
            );
            // Without privileges a checkout makes no devices: that one is missing says nothing.
            if names.binary_search_by(|n| n.as_slice().cmp(name)).is_err()
                && (self.owners.are_all() || !device)
            {
                self.emitter
                    .known(&join(path, name), Meta::default(), Kind::Whiteout)?;
            }
        }
        for name in names {
            self.child(
                dir,
                &name,
                &join(path, &name),
                before.and_then(|id| self.parent.child(id, &name)),
            )?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        before: Option<NodeId>,
    ) -> Result<()> {
        refuse_marker(name, path)?;
        let stat = inode::stat(dir, name, path)?;
        let old = before.map(|id| self.parent.node(id));
        let same_names = old.is_some_and(|old| u64::from(old.nlink) == stat.st_nlink)
            && !self.regrouped.contains(&(stat.st_dev, stat.st_ino));
        let kind = match inode::file_type(&stat) {
            FileType::Directory => {
                let fd = inode::open(dir, name, path)?;
                let meta = self.meta(&stat, inode::xattrs_of(&fd, path)?, before);
                // A mount point that a launch made in the tree is not the container's doing.
                if self.is_untouched(&fd, path)? {
                    return Ok(());
                }
                let same_kind = old.is_some_and(|old| matches!(old.kind, NodeKind::Directory(_)));
                if !same_kind || old.is_some_and(|old| old.meta != meta) {
                    self.emitter.known(path, meta, Kind::Directory)?;
                }
                return self.children(&fd, path, before.filter(|_| same_kind));
            }
            FileType::RegularFile if stat.st_size == 0 && self.ignore.contains(path) => {
                return Ok(());
            }
            FileType::RegularFile => {
                let fd = inode::open(dir, name, path)?;
                let meta = self.meta(&stat, inode::xattrs_of(&fd, path)?, before);
                // Time and size can be set back, so the content itself is compared, cheap tests first.
                if let Some(old) = old
                    && same_names
                    && old.meta == meta
                    && let NodeKind::File(content) = &old.kind
                    && content.size == stat.st_size as u64
                    && holds(&fd, content, path)?
                {
                    return Ok(());
                }
                if let Some(target) = self.emitter.link_target(&stat, path) {
                    return self.emitter.known(path, meta, Kind::Hardlink(target));
                }
                return self
                    .emitter
                    .file(path, meta, inode::open(dir, name, path)?, &stat);
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(|e| Error::file("read link", path, e))?;
                Kind::Symlink(target.into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice | FileType::BlockDevice if old.is_some() => return Ok(()),
            _ => {
                self.emitter.report.dropped.push(path.to_vec());
                return Ok(());
            }
        };
        let meta = self.meta(&stat, inode::xattrs_at(dir, name, path)?, before);
        let same =
            |id| self.parent.node(id).meta == meta && self.parent.kind(id) == kind && same_names;
        if before.is_some_and(same) {
            return Ok(());
        }
        if let Some(target) = self.emitter.link_target(&stat, path) {
            return self.emitter.known(path, meta, Kind::Hardlink(target));
        }
        self.emitter.known(path, meta, kind)
    }
}

/// Bytes of attributes, with their names, that every file system holds for one file.
const XATTR_BYTES_SURE: usize = 3 * 1024;

/// Attributes that a checkout may have left out, for the file system takes none of the kind or not so many
/// bytes. That they are missing says nothing of what a process did.
fn never_held<'m>(meta: &'m Meta, stat: &Stat) -> impl Iterator<Item = (&'m [u8], &'m [u8])> {
    let bytes: usize = meta.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
    let takes_user = matches!(
        inode::file_type(stat),
        FileType::RegularFile | FileType::Directory
    );
    meta.xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(move |(name, _)| {
            let class = name.split(|b| *b == b'.').next().unwrap_or_default();
            let known = matches!(class, b"trusted" | b"security" | b"system");
            bytes > XATTR_BYTES_SURE || !(known || takes_user && class == b"user")
        })
}

/// True where the file has just this content.
fn holds(file: &OwnedFd, content: &Content, path: &[u8]) -> Result<bool> {
    let fail = |e| Error::file("read", path, e);
    let mut file = std::fs::File::from(file.try_clone().map_err(fail)?);
    let mut buffer = Vec::new();
    let mut at = 0;
    for piece in &content.pieces {
        match piece {
            Piece::Data { id, len } => {
                buffer.clear();
                (&mut file)
                    .take(u64::from(*len))
                    .read_to_end(&mut buffer)
                    .map_err(fail)?;
                if BlobId::of(&buffer) != *id {
                    return Ok(false);
                }
                at += u64::from(*len);
            }
            Piece::Hole { len } => {
                at += len;
                if !is_zero_until(&mut file, at, &mut buffer).map_err(fail)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// True where the file has nothing but zeros from where it stands to `end`, and stands there then. Holes
/// are not read.
fn is_zero_until(
    file: &mut std::fs::File,
    end: u64,
    buffer: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let mut at = file.stream_position()?;
    while at < end {
        let data = match seek(&*file, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            Err(rustix::io::Errno::NXIO) => end,
            Err(e) => return Err(e.into()),
        };
        file.seek(std::io::SeekFrom::Start(data))?;
        buffer.clear();
        let read = file
            .take((end - data).min(CHUNK_BYTES_MAX as u64))
            .read_to_end(buffer)?;
        if buffer.iter().any(|b| *b != 0) || (read == 0 && data < end) {
            return Ok(false);
        }
        at = data + read as u64;
    }
    Ok(true)
}
