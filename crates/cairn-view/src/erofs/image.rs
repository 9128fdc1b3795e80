//! The image: superblock, inodes with what is inline in them, then blocks of long directories.

use std::collections::HashMap;
use std::io::Write;

use cairn_layer::{Node, NodeId, NodeKind, Tree};
use cairn_model::{Content, ObjectId, TreeId, path_display};

use super::directory::{self, Dirent};
use super::encoded::{Encoded, Extent};
use super::xattr::Own;
use super::{BLOCK, INLINE_BYTES_MAX, xattr};
use crate::error::{At, Error, Result};
use crate::small::Marks;

const SUPERBLOCK_AT: usize = 1024;
const INODES_AT: usize = SUPERBLOCK_AT + 128;
const INODE: usize = 64;
const SLOT: usize = 32;
const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKED: u32 = 4;
const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_ENCODED: u16 = 1;
const LAYOUT_INLINE: u16 = 2;
const LAYOUT_CHUNKED: u16 = 4;
/// Chunks of 2^(12+31) bytes: one entry, a hole, stands for the data of any file.
const CHUNK_BITS: u32 = 31;
const HOLE: u32 = u32::MAX;

/// What an inode has after its 64 bytes, and where.
struct Plan<'a> {
    id: NodeId,
    parent: NodeId,
    offset: usize,
    xattrs: Vec<u8>,
    xattr_count: u16,
    size: u64,
    /// Of a file whose content is in other files.
    extents: &'a [Extent],
    /// Content that the image itself holds (link targets, tiny files); directories are encoded late.
    content: Vec<u8>,
    layout: u16,
    /// Bytes of the content in blocks of its own; the rest is inline.
    in_blocks: usize,
    block: u32,
}

/// Where the content of files is that the image does not hold itself.
#[derive(Clone, Copy)]
enum Elsewhere<'a> {
    /// In a data-only lower, found by overlayfs.
    Objects(&'a Marks),
    /// In other files, which the kernel reads through the image.
    Extents(&'a Encoded),
}

impl<'a> Elsewhere<'a> {
    /// How the image has a file: its layout, and its object or its extents.
    fn of(self, file: &Content) -> Result<(u16, Option<ObjectId>, &'a [Extent]), &'static str> {
        let object = file.object();
        match self {
            Self::Extents(encoded) => {
                let found = encoded.files.get(&object);
                let extents = found.ok_or("its content is in no pack")?;
                Ok((LAYOUT_ENCODED, None, extents))
            }
            Self::Objects(_) if file.size >= 1 << (12 + CHUNK_BITS) => {
                Err("a file of 8 TiB or more cannot be shown in a view; use --driver copy")
            }
            Self::Objects(_) => Ok((LAYOUT_CHUNKED, Some(object), &[])),
        }
    }
}

/// Gives the content of a tiny file.
pub type InlineContent<'a> = dyn Fn(&Content, &mut Vec<u8>) -> Result<()> + 'a;

/// The UUID of the image of a tree.
pub(crate) fn metadata_uuid(id: &TreeId) -> [u8; 16] {
    half(&id.as_bytes()[..16])
}

/// The UUID of an image of contents: another than that of metadata, which lies above it in the same overlay.
pub(crate) fn contents_uuid(name: &TreeId) -> [u8; 16] {
    half(&name.as_bytes()[16..])
}

/// The UUID of a small image of the tree `id` over the view of `base`.
pub(crate) fn small_uuid(id: &TreeId, base: &TreeId) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 image of a small view v1");
    hasher.update(id.as_bytes()).update(base.as_bytes());
    half(&hasher.finalize().as_bytes()[..16])
}

fn half(bytes: &[u8]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(bytes);
    uuid
}

/// Writes the image of `tree` to `out`. `inline` is asked for the contents that the image itself holds.
/// Returns how many extended attributes no image can hold and are not in it.
pub fn write_image(
    tree: &Tree,
    id: &TreeId,
    inline: &InlineContent<'_>,
    out: &mut dyn Write,
) -> Result<u64> {
    let uuid = metadata_uuid(id);
    write_metadata(tree, &uuid, &Marks::default(), inline, out)
}

/// The same for an image that may lie over others in an overlay, with this UUID.
pub(crate) fn write_metadata(
    tree: &Tree,
    uuid: &[u8],
    marks: &Marks,
    inline: &InlineContent<'_>,
    out: &mut dyn Write,
) -> Result<u64> {
    write(tree, uuid, inline, Elsewhere::Objects(marks), out)
}

/// Writes an image of `tree`, whose files are all in `encoded`, to `out`.
pub(crate) fn write_encoded(
    tree: &Tree,
    id: &TreeId,
    encoded: &Encoded,
    out: &mut dyn Write,
) -> Result<()> {
    let none = |_: &Content, _: &mut Vec<u8>| Ok(());
    write(
        tree,
        &contents_uuid(id),
        &none,
        Elsewhere::Extents(encoded),
        out,
    )
    .map(drop)
}

fn write(
    tree: &Tree,
    uuid: &[u8],
    inline: &InlineContent<'_>,
    elsewhere: Elsewhere<'_>,
    out: &mut dyn Write,
) -> Result<u64> {
    let mut plans = Vec::new();
    let mut place: HashMap<NodeId, usize> = HashMap::new();
    let left_out = collect(inline, tree, elsewhere, &mut plans, &mut place)?;
    let start = match elsewhere {
        Elsewhere::Objects(_) => INODES_AT,
        Elsewhere::Extents(encoded) => encoded.inodes_at(),
    };
    let end = lay_out(&mut plans, start);
    let mut image = vec![0; end];
    superblock(&mut image, uuid, plans[0].offset, plans.len());
    if let Elsewhere::Extents(encoded) = elsewhere {
        encoded.describe(&mut image);
    }
    for plan in &plans {
        let encoded;
        let content = match &tree.node(plan.id).kind {
            NodeKind::Directory(_) => {
                let nid = |id: NodeId| (plans[place[&id]].offset / SLOT) as u64;
                encoded = directory::encode(&dirents(tree, plan, nid));
                &encoded
            }
            _ => &plan.content,
        };
        inode(
            &mut image,
            plan,
            tree.node(plan.id),
            place[&plan.id] as u32 + 1,
        );
        let head = plan.offset + INODE;
        image[head..head + plan.xattrs.len()].copy_from_slice(&plan.xattrs);
        let tail = head + plan.xattrs.len();
        if plan.layout == LAYOUT_CHUNKED {
            image[tail..tail + 4].copy_from_slice(&HOLE.to_le_bytes());
            continue;
        }
        if let (LAYOUT_ENCODED, Elsewhere::Extents(encoded)) = (plan.layout, elsewhere) {
            encoded.put_extents(&mut image, tail, plan.extents);
            continue;
        }
        let blocks = plan.block as usize * BLOCK;
        image[blocks..blocks + plan.in_blocks].copy_from_slice(&content[..plan.in_blocks]);
        let inline = &content[plan.in_blocks..];
        image[tail..tail + inline.len()].copy_from_slice(inline);
    }
    out.write_all(&image)
        .at("write", std::path::Path::new("EROFS image"))?;
    Ok(left_out)
}

fn collect<'a>(
    inline: &InlineContent<'_>,
    tree: &Tree,
    elsewhere: Elsewhere<'a>,
    plans: &mut Vec<Plan<'a>>,
    place: &mut HashMap<NodeId, usize>,
) -> Result<u64> {
    let mut left_out = 0;
    let mut stack = vec![(tree.root(), tree.root())];
    while let Some((id, parent)) = stack.pop() {
        if place.contains_key(&id) {
            continue;
        }
        let node = tree.node(id);
        let bad = |why| Error::Tree {
            path: path_of(tree, id),
            why,
        };
        let mut object = None;
        let (mut content, mut layout) = (Vec::new(), LAYOUT_INLINE);
        let mut extents = &[][..];
        let size = match &node.kind {
            NodeKind::Directory(_) => directory::size(&names(tree, id)) as u64,
            NodeKind::Symlink(target) => {
                content.clone_from(target);
                target.len() as u64
            }
            NodeKind::File(file) if file.size <= INLINE_BYTES_MAX => {
                inline(file, &mut content)?;
                file.size
            }
            NodeKind::File(file) => {
                let found = elsewhere.of(file).map_err(bad)?;
                (layout, object, extents) = found;
                file.size
            }
            _ => 0,
        };
        let has_user = matches!(node.kind, NodeKind::Directory(_) | NodeKind::File(_));
        let own = match (&object, elsewhere) {
            (Some(object), _) => Own::File(object),
            (None, Elsewhere::Objects(marks)) => Own::Directory {
                is_opaque: marks.opaque.contains(&id),
                has_whiteouts: marks.whiteouts.contains(&id),
            },
            (None, Elsewhere::Extents(_)) => Own::None,
        };
        let xattrs = xattr::encode(&node.meta.xattrs, own, has_user);
        left_out += xattrs.left_out;
        place.insert(id, plans.len());
        plans.push(Plan {
            id,
            parent,
            offset: 0,
            xattrs: xattrs.bytes,
            xattr_count: xattrs.count,
            size,
            extents,
            content,
            layout,
            in_blocks: 0,
            block: 0,
        });
        let at = stack.len();
        stack.extend(tree.children(id).map(|(_, child)| (child, id)));
        stack[at..].reverse();
    }
    Ok(left_out)
}

/// The first name of a node, as messages have it.
fn path_of(tree: &Tree, id: NodeId) -> String {
    let found = tree.walk().into_iter().find(|(_, other)| *other == id);
    path_display(&found.unwrap_or_default().0)
}

/// Gives every inode its offset and every long content its blocks; returns how long the image is.
fn lay_out(plans: &mut [Plan<'_>], start: usize) -> usize {
    let mut at = start;
    for plan in plans.iter_mut() {
        at = at.next_multiple_of(SLOT);
        let head = INODE + plan.xattrs.len();
        if plan.layout == LAYOUT_CHUNKED {
            plan.offset = at;
            at += head + 4;
            continue;
        }
        if plan.layout == LAYOUT_ENCODED {
            plan.offset = at;
            at = Encoded::end(at + head, plan.extents.len());
            continue;
        }
        let tail = plan.size as usize % BLOCK;
        plan.in_blocks = plan.size as usize - tail;
        if head + tail > BLOCK {
            // The tail would not fit the block it must lie in whole: it gets one of its own.
            plan.in_blocks = plan.size as usize;
        }
        let inline = plan.size as usize - plan.in_blocks;
        // Inline content must not cross a block; metadata before it may.
        if inline > 0 && (at + head) % BLOCK + inline > BLOCK {
            at = at.next_multiple_of(BLOCK);
        }
        plan.layout = if inline > 0 {
            LAYOUT_INLINE
        } else {
            LAYOUT_PLAIN
        };
        plan.offset = at;
        at += head + inline;
    }
    let mut block = at.div_ceil(BLOCK);
    for plan in plans.iter_mut().filter(|plan| plan.in_blocks > 0) {
        plan.block = block as u32;
        block += plan.in_blocks.div_ceil(BLOCK);
    }
    block * BLOCK
}

fn names(tree: &Tree, id: NodeId) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = tree.children(id).map(|(name, _)| name).collect();
    names.extend([&b"."[..], b".."]);
    names.sort_unstable();
    names
}

fn dirents<'a>(tree: &'a Tree, plan: &Plan<'_>, nid: impl Fn(NodeId) -> u64) -> Vec<Dirent<'a>> {
    let mut out: Vec<Dirent<'a>> = tree
        .children(plan.id)
        .map(|(name, id)| Dirent {
            name,
            nid: nid(id),
            file_type: file_type(&tree.node(id).kind),
        })
        .collect();
    out.push(Dirent {
        name: b".",
        nid: nid(plan.id),
        file_type: 2,
    });
    out.push(Dirent {
        name: b"..",
        nid: nid(plan.parent),
        file_type: 2,
    });
    out.sort_unstable_by(|a, b| a.name.cmp(b.name));
    out
}

fn file_type(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::File(_) => 1,
        NodeKind::Directory(_) => 2,
        NodeKind::CharDevice(..) => 3,
        NodeKind::BlockDevice(..) => 4,
        NodeKind::Fifo => 5,
        NodeKind::Symlink(_) => 7,
    }
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn superblock(image: &mut [u8], uuid: &[u8], root: usize, inodes: usize) {
    let blocks = (image.len() / BLOCK) as u32;
    let at = |field: usize| SUPERBLOCK_AT + field;
    put(image, at(0), &MAGIC.to_le_bytes());
    put(image, at(8), &COMPAT_MTIME.to_le_bytes());
    put(image, at(12), &[BLOCK.trailing_zeros() as u8, 0]);
    put(image, at(14), &((root / SLOT) as u16).to_le_bytes());
    put(image, at(16), &(inodes as u64).to_le_bytes());
    put(image, at(36), &blocks.to_le_bytes());
    // Not zero, or overlayfs turns xino off and inode numbers collide.
    put(image, at(48), uuid);
    put(image, at(80), &INCOMPAT_CHUNKED.to_le_bytes());
}

fn inode(image: &mut [u8], plan: &Plan<'_>, node: &Node, number: u32) {
    let (kind, union) = match node.kind {
        NodeKind::File(_) if plan.layout == LAYOUT_CHUNKED => (0o100_000, CHUNK_BITS),
        NodeKind::File(_) if plan.layout == LAYOUT_ENCODED => {
            (0o100_000, Encoded::blocks_of(plan.extents))
        }
        NodeKind::File(_) => (0o100_000, plan.block),
        NodeKind::Directory(_) => (0o040_000, plan.block),
        NodeKind::Symlink(_) => (0o120_000, plan.block),
        NodeKind::CharDevice(major, minor) => (0o020_000, device(major, minor)),
        NodeKind::BlockDevice(major, minor) => (0o060_000, device(major, minor)),
        NodeKind::Fifo => (0o010_000, 0),
    };
    let mode = match node.kind {
        // What a tar says of a link's mode is nothing that a file system keeps.
        NodeKind::Symlink(_) => 0o777,
        _ => node.meta.mode & 0o7777,
    };
    let at = |field: usize| plan.offset + field;
    put(image, at(0), &(1 | plan.layout << 1).to_le_bytes());
    put(image, at(2), &plan.xattr_count.to_le_bytes());
    put(image, at(4), &((kind | mode) as u16).to_le_bytes());
    put(image, at(8), &plan.size.to_le_bytes());
    put(image, at(16), &union.to_le_bytes());
    put(image, at(20), &number.to_le_bytes());
    put(image, at(24), &node.meta.uid.to_le_bytes());
    put(image, at(28), &node.meta.gid.to_le_bytes());
    put(image, at(32), &node.meta.mtime.secs.to_le_bytes());
    put(image, at(40), &node.meta.mtime.nanos.to_le_bytes());
    put(image, at(44), &node.nlink.to_le_bytes());
}

/// A device number as the kernel encodes it in 32 bits.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}
