//! A tree: the merge of a whole parent chain, as a process sees it.

mod apply;
mod diff;

use std::collections::BTreeMap;
use std::convert::Infallible;

use cairn_model::{Content, Entry, Kind, Meta};

use crate::path::{Met, join, resolve};

pub use diff::{Change, ChangeKind, diff};

/// Place of a node in its tree.
pub type NodeId = usize;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory and the nodes in it by name.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A file of any kind. Several names in the tree may lead to one node: hard links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Mode, owner, time, xattrs.
    pub meta: Meta,
    /// What it is.
    pub kind: NodeKind,
    /// Names that lead to it; for directories as `stat` counts: 2 and one for each directory inside.
    pub nlink: u32,
}

/// A merged file system.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// The root of every tree.
pub const ROOT: NodeId = 0;

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A root directory with mode 0755 and nothing in it.
    pub fn new() -> Self {
        let root = Node {
            meta: Meta::root(0o755),
            kind: NodeKind::Directory(BTreeMap::new()),
            nlink: 2,
        };
        Self { nodes: vec![root] }
    }

    /// The root's id.
    pub fn root(&self) -> NodeId {
        ROOT
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// A node, to change its metadata.
    pub fn meta_mut(&mut self, id: NodeId) -> &mut Meta {
        &mut self.nodes[id].meta
    }

    /// Every name's node, in no order, the root first: quicker than [`walk`](Self::walk) where paths do not matter.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        let mut stack = vec![ROOT];
        std::iter::from_fn(move || {
            let id = stack.pop()?;
            stack.extend(self.children(id).map(|(_, child)| child));
            Some(id)
        })
    }

    /// The names in a directory; empty for anything else.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let map = match &self.nodes[id].kind {
            NodeKind::Directory(map) => Some(map),
            _ => None,
        };
        map.into_iter()
            .flatten()
            .map(|(name, id)| (name.as_slice(), *id))
    }

    /// One name in a directory.
    pub fn child(&self, id: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.nodes[id].kind {
            NodeKind::Directory(map) => map.get(name).copied(),
            _ => None,
        }
    }

    /// The node at a clean path, following no symbolic link.
    pub fn get(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|b| *b == b'/')
            .filter(|part| !part.is_empty())
            .try_fold(ROOT, |at, part| self.child(at, part))
    }

    /// The clean path that `path` names inside the root when symbolic links are followed as after
    /// chroot(2), also where its last parts do not exist; `None` for a loop or a path through a file.
    pub fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let Ok(found) = resolve(path, |clean| {
            let met = match self.get(clean).map(|id| &self.nodes[id].kind) {
                Some(NodeKind::Symlink(target)) => Met::Link(target.clone()),
                Some(NodeKind::Directory(_)) | None => Met::Way,
                Some(_) => Met::File,
            };
            Ok::<_, Infallible>(met)
        });
        found
    }

    /// Number of nodes that the root reaches.
    pub fn count(&self) -> usize {
        self.walk()
            .iter()
            .map(|(_, id)| id)
            .collect::<std::collections::HashSet<_>>()
            .len()
    }

    /// Every path and its node, a directory before what is in it, names in byte order.
    pub fn walk(&self) -> Vec<(Vec<u8>, NodeId)> {
        let mut out = vec![(Vec::new(), ROOT)];
        self.walk_below(b"", ROOT, &mut out);
        out
    }

    /// The same below one directory, without itself.
    pub fn walk_below(&self, path: &[u8], id: NodeId, out: &mut Vec<(Vec<u8>, NodeId)>) {
        let mut stack: Vec<(Vec<u8>, NodeId)> = self
            .children(id)
            .map(|(name, id)| (join(path, name), id))
            .collect();
        stack.reverse();
        while let Some((path, id)) = stack.pop() {
            let at = stack.len();
            stack.extend(
                self.children(id)
                    .map(|(name, child)| (join(&path, name), child)),
            );
            stack[at..].reverse();
            out.push((path, id));
        }
    }

    /// The whole tree as entries of one layer; later names of a node are hard links to its first.
    pub fn entries(&self) -> Vec<Entry> {
        let mut first: std::collections::HashMap<NodeId, Vec<u8>> =
            std::collections::HashMap::new();
        let mut out = Vec::new();
        for (path, id) in self.walk() {
            let node = &self.nodes[id];
            let kind = match first.get(&id) {
                Some(target) => Kind::Hardlink(target.clone()),
                None => self.kind(id),
            };
            if node.nlink > 1 && !matches!(node.kind, NodeKind::Directory(_)) {
                first.entry(id).or_insert_with(|| path.clone());
            }
            out.push(Entry {
                path,
                meta: node.meta.clone(),
                kind,
            });
        }
        out
    }

    /// The entry kind of a node.
    pub fn kind(&self, id: NodeId) -> Kind {
        match &self.nodes[id].kind {
            NodeKind::Directory(_) => Kind::Directory,
            NodeKind::File(content) => Kind::File(content.clone()),
            NodeKind::Symlink(target) => Kind::Symlink(target.clone()),
            NodeKind::CharDevice(major, minor) => Kind::CharDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::BlockDevice(major, minor) => Kind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            NodeKind::Fifo => Kind::Fifo,
        }
    }
}
