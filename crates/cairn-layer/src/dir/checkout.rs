//! A tree as a directory: the copy driver, the overlay driver's lower, and `export --format dir`.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::{Content, Meta, Piece, Timestamp};
use cairn_store::Store;
use cairn_sys::threads;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    linkat, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::inode::proc_path;
use super::left_out::LeftOut;
use super::overlay_xattr::OverlayAttributes;
use super::owners::Owners;
use crate::error::{Error, Result};
use crate::path::split;
use crate::tree::{NodeId, NodeKind, Tree};

/// Writes `tree` into `target`, an empty directory, on all cores. Returns the paths of device nodes
/// that could not be made for want of privilege; owners and attributes that need privilege are left
/// out without it. Attributes that the file system there cannot hold are left out too, and that is said.
pub fn checkout(store: &Store, tree: &Tree, target: &Path) -> Result<Vec<Vec<u8>>> {
    let _span = tracing::debug_span!("checkout", target = %target.display()).entered();
    write(store, tree, target, None)
}

/// As [`checkout`], for a directory that overlayfs gets as a layer: the tree's own attributes of
/// overlayfs's namespace are escaped, so that they show in the mount and do not steer it.
pub fn checkout_for_overlay(
    store: &Store,
    tree: &Tree,
    target: &Path,
    attributes: OverlayAttributes,
) -> Result<Vec<Vec<u8>>> {
    write(store, tree, target, Some(attributes))
}

fn write(
    store: &Store,
    tree: &Tree,
    target: &Path,
    escape: Option<OverlayAttributes>,
) -> Result<Vec<Vec<u8>>> {
    let name = || target.as_os_str().as_encoded_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(rustix::fs::CWD, target, flags, Mode::empty())
        .map_err(|e| Error::file("open", name(), e))?;
    let out = Checkout {
        store,
        tree,
        root,
        owners: Owners::of_this_process(),
        escape,
        left_out: LeftOut::default(),
    };
    let walk = tree.walk();
    let mut first: HashMap<NodeId, &[u8]> = HashMap::new();
    let (mut files, mut links, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (path, id) in &walk {
        let node = tree.node(*id);
        if let Some(target) = first.get(id) {
            links.push((*target, path));
            continue;
        }
        if node.nlink > 1 && !matches!(node.kind, NodeKind::Directory(_)) {
            first.insert(*id, path);
        }
        match &node.kind {
            NodeKind::Directory(_) if path.is_empty() => {}
            NodeKind::Directory(_) => out.directory(path)?,
            NodeKind::File(content) => files.push((path, *id, content)),
            _ => {
                if !out.special(path, *id)? {
                    skipped.push(path.clone());
                }
            }
        }
    }
    out.files(&files)?;
    for (target, path) in links {
        if !skipped.iter().any(|s| s == target) {
            out.link(target, path)?;
        }
    }
    // Directories last and from the bottom, for what is put into them changes their times.
    for (path, id) in walk.iter().rev() {
        if matches!(tree.node(*id).kind, NodeKind::Directory(_)) {
            let (dir, name) = out.parent(path)?;
            out.finish(
                &dir,
                if path.is_empty() { b"." } else { name },
                path,
                &tree.node(*id).meta,
                false,
            )?;
        }
    }
    for words in [out.left_out.words(target), out.owners.words()] {
        words.iter().for_each(|words| store.db().say(words));
    }
    Ok(skipped)
}

struct Checkout<'a> {
    store: &'a Store,
    tree: &'a Tree,
    root: OwnedFd,
    owners: Owners,
    escape: Option<OverlayAttributes>,
    left_out: LeftOut,
}

impl Checkout<'_> {
    /// The open parent directory and the name in it. Paths go part by part where they are longer than
    /// the kernel takes at once.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8])> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (directory, name) = split(path).unwrap_or((b"", b""));
        let fail = |e| Error::file("open", path, e);
        let mut at = openat(&self.root, ".", flags, Mode::empty()).map_err(fail)?;
        let mut rest = directory;
        while !rest.is_empty() {
            let cut = if rest.len() < 4000 {
                rest.len()
            } else {
                rest[..4000]
                    .iter()
                    .rposition(|b| *b == b'/')
                    .unwrap_or(rest.len())
            };
            at = openat(&at, &rest[..cut], flags, Mode::empty()).map_err(fail)?;
            rest = rest.get(cut + 1..).unwrap_or_default();
        }
        Ok((at, name))
    }

    fn directory(&self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        mkdirat(&dir, name, Mode::RWXU).map_err(|e| Error::file("make directory", path, e))
    }

    fn link(&self, target: &[u8], path: &[u8]) -> Result<()> {
        let ((from, old), (to, new)) = (self.parent(target)?, self.parent(path)?);
        linkat(&from, old, &to, new, AtFlags::empty()).map_err(|e| Error::file("link", path, e))
    }

    /// Makes anything but a directory or file; false where that takes privilege.
    fn special(&self, path: &[u8], id: NodeId) -> Result<bool> {
        let node = self.tree.node(id);
        let (dir, name) = self.parent(path)?;
        let make = |kind, device| mknodat(&dir, name, kind, Mode::RUSR | Mode::WUSR, device);
        let made = match &node.kind {
            NodeKind::Symlink(target) => symlinkat(&target[..], &dir, name),
            NodeKind::Fifo => make(FileType::Fifo, 0),
            NodeKind::CharDevice(major, minor) => {
                make(FileType::CharacterDevice, makedev(*major, *minor))
            }
            NodeKind::BlockDevice(major, minor) => {
                make(FileType::BlockDevice, makedev(*major, *minor))
            }
            NodeKind::Directory(_) | NodeKind::File(_) => Ok(()),
        };
        match made {
            Err(Errno::PERM) if !self.owners.are_all() => return Ok(false),
            done => done.map_err(|e| Error::file("make", path, e))?,
        }
        self.finish(
            &dir,
            name,
            path,
            &node.meta,
            matches!(node.kind, NodeKind::Symlink(_)),
        )?;
        Ok(true)
    }

    fn files(&self, files: &[(&Vec<u8>, NodeId, &Content)]) -> Result<()> {
        threads::for_each(
            threads::for_items(files.len()),
            files,
            |_, (path, id, content)| self.file(path, *id, content),
        )
    }

    fn file(&self, path: &[u8], id: NodeId, content: &Content) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat(&dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Error::file("create", path, e))?;
        write_pieces(self.store, content, fd.into(), path)?;
        self.finish(&dir, name, path, &self.tree.node(id).meta, false)
    }

    /// Owner, then mode (a change of owner clears setuid), then xattrs (it clears capabilities too),
    /// then time.
    fn finish(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
        symlink: bool,
    ) -> Result<()> {
        let fail = |action: &'static str| move |e: Errno| Error::file(action, path, e);
        if let Some((uid, gid)) = self.owners.give(meta) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fail("change the owner of"))?;
        }
        if !symlink {
            chmodat(dir, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
                .map_err(fail("change the mode of"))?;
        }
        self.xattrs(dir, name, path, meta)?;
        let time = timespec(meta.mtime);
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the time of"))
    }
}

impl Checkout<'_> {
    fn xattrs(&self, dir: &OwnedFd, name: &[u8], path: &[u8], meta: &Meta) -> Result<()> {
        for (key, value) in &meta.xattrs {
            let escaped = self.escape.and_then(|escape| escape.escaped(key));
            let set = rustix::fs::lsetxattr(
                &proc_path(dir, name)[..],
                escaped.as_deref().unwrap_or(key),
                value,
                XattrFlags::empty(),
            );
            match set {
                Ok(()) => {}
                Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL)
                    if !self.owners.are_all() => {}
                Err(e) if self.cannot_hold(e) => self.left_out.add(path, key),
                Err(e) => return Err(Error::file("set an extended attribute of", path, e)),
            }
        }
        Ok(())
    }

    /// True for an answer that says that the file system takes no such attribute, or none so large, on
    /// such a file. "No space" says so too, while there is space.
    fn cannot_hold(&self, e: Errno) -> bool {
        match e {
            Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL => true,
            Errno::RANGE | Errno::TOOBIG | Errno::NAMETOOLONG => true,
            Errno::NOSPC | Errno::DQUOT => rustix::fs::fstatvfs(&self.root)
                .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) > SPACE_BYTES_MIN),
            _ => false,
        }
    }
}

/// With so much free, in bytes, a file system that has no space for an attribute never has it.
const SPACE_BYTES_MIN: u64 = 1 << 20;

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    }
}

/// Zeros of at least this length, in bytes, are not written but skipped.
const HOLE_BYTES_MIN: usize = 16 * 1024;

/// Writes content into an empty file; holes stay holes.
pub fn write_pieces(
    store: &Store,
    content: &Content,
    mut file: std::fs::File,
    path: &[u8],
) -> Result<()> {
    let fail = |e| Error::file("write", path, e);
    let mut at = 0;
    let mut ends_in_hole = false;
    for piece in &content.pieces {
        match piece {
            Piece::Data { id, len } => {
                let bytes = store.get(id)?;
                if bytes.len() != *len as usize {
                    return Err(cairn_store::Error::corrupt(
                        format!("blob {id}"),
                        "its length is not what the manifest says",
                    )
                    .into());
                }
                at += u64::from(*len);
                // Zeros that came through a tar are holes again.
                ends_in_hole = bytes.len() >= HOLE_BYTES_MIN && bytes.iter().all(|b| *b == 0);
                if ends_in_hole {
                    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).map_err(fail)?;
                } else {
                    file.write_all(&bytes).map_err(fail)?;
                }
            }
            Piece::Hole { len } => {
                at += len;
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).map_err(fail)?;
                ends_in_hole = true;
            }
        }
    }
    if ends_in_hole {
        file.set_len(at).map_err(fail)
    } else {
        Ok(())
    }
}
