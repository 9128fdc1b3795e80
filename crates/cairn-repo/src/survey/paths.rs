//! All paths of all layers in one tree.

use std::collections::HashMap;

use cairn_layer::split;

/// Nodes of a tree; paths beyond that count for the last of their directories that has a node.
const NODES_MAX: usize = 8_000_000;

/// The root.
pub(super) const ROOT: u32 = 1;

struct Node {
    parent: u32,
    depth: u32,
    name: Box<[u8]>,
}

/// A tree of paths. A node's number is above that of its parent; 0 is none.
pub(super) struct Paths {
    nodes: Vec<Node>,
    known: HashMap<(u32, Box<[u8]>), u32>,
}

impl Paths {
    /// With a root.
    pub fn new() -> Self {
        let root = |parent| Node {
            parent,
            depth: 0,
            name: Box::default(),
        };
        Self {
            nodes: vec![root(0), root(0)],
            known: HashMap::new(),
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node of a path, made if need be.
    pub fn node(&mut self, path: &[u8]) -> u32 {
        let mut at = ROOT;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let next = self.nodes.len() as u32;
            if next as usize > NODES_MAX {
                break;
            }
            let key = (at, Box::from(name));
            let found = *self.known.entry(key).or_insert(next);
            if found == next {
                self.nodes.push(Node {
                    parent: at,
                    depth: self.nodes[at as usize].depth + 1,
                    name: Box::from(name),
                });
            }
            at = found;
        }
        at
    }

    /// The directory of a node.
    pub fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// The last part of its path.
    pub fn name(&self, node: u32) -> &[u8] {
        &self.nodes[node as usize].name
    }

    /// The whole path, without a slash at the start.
    pub fn path(&self, node: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = node;
        while at > ROOT {
            names.push(self.name(at));
            at = self.parent(at);
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The deepest node that both are in.
    pub fn common(&self, mut a: u32, mut b: u32) -> u32 {
        let depth = |node: u32| self.nodes[node as usize].depth;
        while a != b {
            match depth(a) >= depth(b) {
                true => a = self.parent(a),
                false => b = self.parent(b),
            }
        }
        a
    }
}

/// The first parts of a path, at most so many.
pub(super) fn prefix(path: &[u8], depth: usize) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.nth(depth.max(1) - 1) {
        Some((at, _)) => &path[..at],
        None => path,
    }
}

/// The last part of a path.
pub(super) fn base(path: &[u8]) -> &[u8] {
    split(path).map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_paths_and_what_they_have_in_common() {
        let mut paths = Paths::new();
        let a = paths.node(b"usr/lib/a");
        let b = paths.node(b"usr/lib/b/c");
        let lib = paths.node(b"usr/lib");
        assert_eq!(paths.node(b"usr/lib/a"), a);
        assert_eq!(paths.path(b), b"usr/lib/b/c");
        assert_eq!((paths.common(a, b), paths.common(a, lib)), (lib, lib));
        let other = paths.node(b"etc");
        assert_eq!(paths.common(other, b), ROOT);
        assert_eq!(
            (prefix(b"usr/lib/a", 2), prefix(b"usr", 2)),
            (&b"usr/lib"[..], &b"usr"[..])
        );
    }
}
