//! What a container changed, read from the upper directory of its overlay mount.
//!
//! The upper holds new and copied-up files, whiteouts (character devices 0:0), opaque directories, and
//! with `metacopy` and `redirect_dir` also *stubs*: a file whose metadata changed but whose data is
//! still below (it reads as zeros), and a directory that was renamed with everything in it. Both are
//! resolved against the parent's tree, so that a `chown -R` or a rename of a gigabyte reads no data.
//! (Documentation/filesystems/overlayfs.rst)

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::{Content, Kind, Meta};
use cairn_store::{Feeder, Store};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};

use super::emit::Emitter;
use super::overlay_xattr::OverlayAttributes;
use super::owners::Owners;
use super::scan::{emit_leaf, refuse_marker};
use super::{Scanned, inode};
use crate::error::{Error, Result};
use crate::layer::Limits;
use crate::path::join;
use crate::tree::{NodeId, NodeKind, Tree};

/// Where and how a head was written.
#[derive(Debug)]
pub struct Upper<'a> {
    /// The upper directory of its overlay.
    pub directory: &'a Path,
    /// In which attributes overlayfs says what it means.
    pub attributes: OverlayAttributes,
    /// Whose files there can be in it.
    pub owners: Owners,
}

/// Reads the changes in `upper` relative to `parent`.
pub fn commit_upper(
    store: &Store,
    upper: &Upper<'_>,
    parent: &Tree,
    feeder: Feeder,
    limits: Limits,
) -> Result<Scanned> {
    let _span = tracing::debug_span!("read_upper").entered();
    let name = || upper.directory.as_os_str().as_encoded_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(rustix::fs::CWD, upper.directory, flags, Mode::empty())
        .map_err(|e| Error::file("open", name(), e))?;
    let stat = fstat(&dir).map_err(|e| Error::file("stat", name(), e))?;
    let mut commit = Commit {
        emitter: Emitter::new(store, feeder, limits),
        parent,
        upper,
        moved: HashMap::new(),
    };
    let (marks, xattrs) = upper.marks(inode::xattrs_of(&dir, b"")?, b"")?;
    let meta = commit.meta(&stat, xattrs, Some(parent.root()));
    if meta != parent.node(parent.root()).meta {
        commit.emitter.known(b"", meta, Kind::Directory)?;
    }
    if marks.opaque && parent.children(parent.root()).next().is_some() {
        commit
            .emitter
            .known(b"", Default::default(), Kind::Opaque)?;
    }
    let origin = (!marks.opaque).then(Vec::new);
    commit.children(&dir, b"", origin.as_deref(), false)?;
    commit.emitter.finish()
}

/// What overlayfs says of a file in its own attributes.
#[derive(Default)]
struct Marks {
    opaque: bool,
    whiteout: bool,
    metacopy: bool,
    redirect: Option<Vec<u8>>,
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl Upper<'_> {
    /// Splits overlayfs's own attributes from the file's. Those of its other namespace are the file's own, as
    /// any process may set them.
    fn marks(&self, xattrs: Xattrs, path: &[u8]) -> Result<(Marks, Xattrs)> {
        let attributes = self.attributes;
        let mut marks = Marks::default();
        let mut rest = Vec::new();
        for (name, value) in xattrs {
            if let Some(own) = attributes.unescaped(&name) {
                rest.push((own, value));
                continue;
            }
            match name.strip_prefix(attributes.prefix()) {
                None => rest.push((name, value)),
                // "x" is a directory with whiteouts that are files.
                Some(b"opaque") => marks.opaque = value == b"y",
                Some(b"whiteout") => marks.whiteout = true,
                Some(b"metacopy") => marks.metacopy = true,
                Some(b"redirect") => marks.redirect = Some(value),
                Some(b"origin" | b"impure" | b"uuid" | b"nlink" | b"upper" | b"protattr") => {}
                Some(_) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    return Err(Error::entry(
                        path,
                        format!(
                            "it has the attribute {name}, which Cairn does not know and so cannot commit"
                        ),
                    ));
                }
            }
        }
        rest.sort_unstable();
        Ok((marks, rest))
    }
}

struct Commit<'a> {
    emitter: Emitter<'a>,
    parent: &'a Tree,
    upper: &'a Upper<'a>,
    /// Where files of the parent were written out at a new place.
    moved: HashMap<NodeId, Vec<u8>>,
}

impl Commit<'_> {
    /// What a file is meant to have, which was `before` in the parent's tree if it was there.
    fn meta(&self, stat: &Stat, xattrs: Xattrs, before: Option<NodeId>) -> Meta {
        let mut meta = inode::meta(stat);
        meta.xattrs = xattrs;
        let old = before.map(|id| &self.parent.node(id).meta);
        self.upper.owners.restore(&mut meta, old);
        meta
    }

    /// A name that is deleted.
    fn whiteout(&mut self, path: &[u8], moved: bool) -> Result<()> {
        // In a moved directory nothing was here before: the name is just not written out.
        if !moved && self.parent.get(path).is_some() {
            self.emitter
                .known(path, Default::default(), Kind::Whiteout)?;
        }
        Ok(())
    }

    /// The children of an upper directory at `path`. `origin` is the lower directory it is merged
    /// with, if any; `moved` says that the origin is another path, so that what it holds has to be
    /// written out here.
    fn children(
        &mut self,
        dir: &OwnedFd,
        path: &[u8],
        origin: Option<&[u8]>,
        moved: bool,
    ) -> Result<()> {
        let names = inode::names(dir, path)?;
        for name in &names {
            self.child(dir, name, &join(path, name), origin, moved)?;
        }
        // A layer has no word for a rename: what the directory had and still has is written out at its new
        // place. Its content is known, so this costs rows, not bytes.
        if moved && let Some(lower) = origin.and_then(|origin| self.parent.get(origin)) {
            let rest: Vec<(Vec<u8>, NodeId)> = self
                .parent
                .children(lower)
                .map(|(n, id)| (n.to_vec(), id))
                .collect();
            for (name, id) in rest {
                // Names that are here already were changed, covered or removed after the move.
                if names.binary_search(&name).is_err() {
                    self.subtree(&join(path, &name), id)?;
                }
            }
        }
        Ok(())
    }

    /// Everything of the parent's tree below a node, under another path.
    fn subtree(&mut self, path: &[u8], id: NodeId) -> Result<()> {
        let parent = self.parent;
        let mut all = vec![(path.to_vec(), id)];
        parent.walk_below(path, id, &mut all);
        for (path, id) in all {
            let node = parent.node(id);
            let kind = match (&node.kind, self.moved.get(&id)) {
                (NodeKind::Directory(_), _) => parent.kind(id),
                // Another name of the same file.
                (_, Some(first)) => Kind::Hardlink(first.clone()),
                (_, None) => {
                    self.moved.insert(id, path.clone());
                    parent.kind(id)
                }
            };
            self.emitter.known(&path, node.meta.clone(), kind)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        origin: Option<&[u8]>,
        moved: bool,
    ) -> Result<()> {
        refuse_marker(name, path)?;
        let stat = inode::stat(dir, name, path)?;
        match inode::file_type(&stat) {
            FileType::CharacterDevice if stat.st_rdev == 0 => self.whiteout(path, moved),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Socket => {
                self.emitter.report.dropped.push(path.to_vec());
                Ok(())
            }
            FileType::Directory => self.directory(dir, name, path, &stat, origin, moved),
            _ => self.leaf(dir, name, path, &stat, origin, moved),
        }
    }

    fn directory(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        origin: Option<&[u8]>,
        moved: bool,
    ) -> Result<()> {
        let fd = inode::open(dir, name, path)?;
        let (marks, xattrs) = self.upper.marks(inode::xattrs_of(&fd, path)?, path)?;
        let before = origin.and_then(|origin| self.parent.get(&join(origin, name)));
        let meta = self.meta(stat, xattrs, before);
        self.emitter.known(path, meta, Kind::Directory)?;
        let lower = match (&marks.redirect, marks.opaque) {
            (_, true) => None,
            (Some(redirect), _) => redirected(redirect, origin),
            (None, _) => origin.map(|origin| join(origin, name)),
        };
        let is_directory = |path: &[u8]| {
            let id = self.parent.get(path)?;
            matches!(self.parent.node(id).kind, NodeKind::Directory(_)).then_some(())
        };
        // A redirect to what is no directory cannot come from the kernel; it merges with nothing.
        let lower = lower.filter(|path| is_directory(path).is_some());
        let elsewhere = moved || marks.redirect.is_some();
        // A layer's directory merges with the parent's of the same path, whatever overlayfs merged it with.
        // What the parent has at this path is hidden when this directory does not merge with it.
        if (lower.is_none() || elsewhere) && is_directory(path).is_some() {
            self.emitter.known(path, Default::default(), Kind::Opaque)?;
        }
        self.children(&fd, path, lower.as_deref(), elsewhere && lower.is_some())
    }

    fn leaf(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        origin: Option<&[u8]>,
        moved: bool,
    ) -> Result<()> {
        let before = origin.and_then(|origin| self.parent.get(&join(origin, name)));
        // Before its attributes are read: only the first name of a file says what it is.
        if let Some(target) = self.emitter.link_target(stat, path) {
            let mut meta = self.meta(stat, Xattrs::new(), before);
            meta.xattrs.clear();
            return self.emitter.known(path, meta, Kind::Hardlink(target));
        }
        if inode::file_type(stat) == FileType::RegularFile {
            let (marks, xattrs) = self.upper.marks(inode::xattrs_at(dir, name, path)?, path)?;
            if marks.whiteout && stat.st_size == 0 {
                return self.whiteout(path, moved);
            }
            // Copied up without its data: a change of mode or owner. The data is the parent's, wherever a
            // rename has put the file since.
            if marks.metacopy {
                let lower = match &marks.redirect {
                    Some(redirect) => redirected(redirect, origin),
                    None => origin.map(|origin| join(origin, name)),
                };
                let content = self.content_below(path, lower.as_deref(), stat)?;
                let meta = self.meta(stat, xattrs, before);
                return self.emitter.known(path, meta, Kind::File(content));
            }
        }
        let (upper, parent) = (self.upper, self.parent);
        let old = before.map(|id| &parent.node(id).meta);
        emit_leaf(&mut self.emitter, dir, name, path, stat, |mut meta| {
            meta.xattrs = upper.marks(std::mem::take(&mut meta.xattrs), path)?.1;
            upper.owners.restore(&mut meta, old);
            Ok(meta)
        })
    }

    /// The content of a file of which only the metadata was changed: that of `lower` in the parent.
    fn content_below(&self, path: &[u8], lower: Option<&[u8]>, stat: &Stat) -> Result<Content> {
        let node = lower
            .and_then(|path| self.parent.get(path))
            .map(|id| &self.parent.node(id).kind);
        let Some(NodeKind::File(content)) = node else {
            return Err(Error::entry(
                path,
                "its data should be in the parent snapshot, and is not there",
            ));
        };
        // The kernel keeps the size with the copy. Another one means that it was made over another parent, and
        // the data there is not this file's.
        if content.size != stat.st_size as u64 {
            return Err(Error::entry(
                path,
                "its size differs from the file in the parent snapshot it stands for",
            ));
        }
        Ok(content.clone())
    }
}

/// The lower path a redirect names: from the root, or another name in the lower directory of its own.
fn redirected(redirect: &[u8], origin: Option<&[u8]>) -> Option<Vec<u8>> {
    match redirect.strip_prefix(b"/") {
        Some(absolute) => Some(absolute.to_vec()),
        None => origin.map(|origin| join(origin, redirect)),
    }
}
