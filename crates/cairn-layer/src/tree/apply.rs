//! Puts a layer over a tree, as the OCI image specification says ("Applying Changesets").

use std::collections::HashMap;

use cairn_model::{Entry, Kind, Meta};

use super::{Node, NodeId, NodeKind, ROOT, Tree};
use crate::error::{Error, Result};
use crate::path::split;

/// Nodes below a layer by the paths its hard links name.
type Targets<'e> = HashMap<&'e [u8], NodeId>;

impl Tree {
    /// Puts the entries of a layer over this tree. Whiteouts and opaque markers act on what was below
    /// the layer, wherever in it they stand; then entries come in order, a later one of the same path
    /// replacing an earlier one.
    ///
    /// # Errors
    /// For a hard link to nothing or to a directory, and for a path that leads through a file.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<()> {
        let below = self.link_targets(entries);
        // A directory of this layer takes the place of a file or link below before anything is looked up
        // through it, so that a marker in it never acts on where the link led.
        for entry in entries.iter().filter(|e| e.kind == Kind::Directory) {
            if let Some((directory, name)) = split(&entry.path)
                && let Some(parent) = self.resolve(directory).and_then(|path| self.get(&path))
                && let Some(below) = self.child(parent, name)
                && !matches!(self.nodes[below].kind, NodeKind::Directory(_))
            {
                self.detach(parent, name);
            }
        }
        for entry in entries {
            match entry.kind {
                Kind::Whiteout => {
                    if let Some((directory, name)) = split(&entry.path)
                        && let Some(parent) =
                            self.resolve(directory).and_then(|path| self.get(&path))
                    {
                        self.detach(parent, name);
                    }
                }
                Kind::Opaque => {
                    let directory = self.resolve(&entry.path).and_then(|path| self.get(&path));
                    if let Some(directory) = directory {
                        self.empty(directory);
                    }
                }
                _ => {}
            }
        }
        for entry in entries {
            if !matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
                self.put(entry, &below)?;
            }
        }
        Ok(())
    }

    /// What the hard links of a layer name below it. A layer may give a file of a lower one a second name
    /// and delete the first, in any order.
    fn link_targets<'e>(&self, entries: &'e [Entry]) -> Targets<'e> {
        let mut out = Targets::new();
        for entry in entries {
            if let Kind::Hardlink(target) = &entry.kind
                && let Some(id) = self.link_target(target)
            {
                out.insert(target, id);
            }
        }
        out
    }

    fn link_target(&self, target: &[u8]) -> Option<NodeId> {
        let (directory, last) = split(target)?;
        let at = self.resolve(directory).and_then(|path| self.get(&path))?;
        self.child(at, last)
    }

    fn put(&mut self, entry: &Entry, below: &Targets<'_>) -> Result<()> {
        let Some((directory, name)) = split(&entry.path) else {
            if entry.kind == Kind::Directory {
                self.nodes[ROOT].meta = entry.meta.clone();
                return Ok(());
            }
            return Err(Error::entry(&entry.path, "the root is not a directory"));
        };
        let parent = self.make_parents(directory, &entry.path)?;
        let present = self.child(parent, name);
        let kind = match &entry.kind {
            Kind::Directory => {
                if let Some(id) = present
                    && matches!(self.nodes[id].kind, NodeKind::Directory(_))
                {
                    self.nodes[id].meta = entry.meta.clone();
                    return Ok(());
                }
                NodeKind::Directory(Default::default())
            }
            Kind::Hardlink(target) => return self.link(parent, name, target, entry, below),
            Kind::File(content) => NodeKind::File(content.clone()),
            Kind::Symlink(target) => NodeKind::Symlink(target.clone()),
            Kind::CharDevice { major, minor } => NodeKind::CharDevice(*major, *minor),
            Kind::BlockDevice { major, minor } => NodeKind::BlockDevice(*major, *minor),
            Kind::Fifo => NodeKind::Fifo,
            Kind::Whiteout | Kind::Opaque => return Ok(()),
        };
        self.detach(parent, name);
        let nlink = if matches!(kind, NodeKind::Directory(_)) {
            2
        } else {
            1
        };
        self.nodes.push(Node {
            meta: entry.meta.clone(),
            kind,
            nlink,
        });
        let id = self.nodes.len() - 1;
        self.attach(parent, name, id);
        Ok(())
    }

    fn link(
        &mut self,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
        entry: &Entry,
        below: &Targets<'_>,
    ) -> Result<()> {
        let nowhere = || {
            Error::entry(
                &entry.path,
                format!(
                    "it is a hard link to {}, which is not there",
                    cairn_model::path_display(target)
                ),
            )
        };
        let id = self
            .link_target(target)
            .or_else(|| below.get(target).copied())
            .ok_or_else(nowhere)?;
        match self.nodes[id].kind {
            NodeKind::Directory(_) => {
                return Err(Error::entry(
                    &entry.path,
                    "it is a hard link to a directory",
                ));
            }
            _ if self.child(parent, name) == Some(id) => return Ok(()),
            _ => {}
        }
        self.detach(parent, name);
        self.nodes[id].nlink += 1;
        self.attach(parent, name, id);
        Ok(())
    }

    /// The directory at `path`, made with its parents (mode 0755, root) where it is missing. Symbolic
    /// links on the way are followed inside the root, as any reader of layers does that extracts into
    /// a directory.
    fn make_parents(&mut self, path: &[u8], whole: &[u8]) -> Result<NodeId> {
        if let Some(id) = self.get(path)
            && matches!(self.nodes[id].kind, NodeKind::Directory(_))
        {
            return Ok(id);
        }
        let through_file = || {
            Error::entry(
                whole,
                "its path leads through something that is not a directory",
            )
        };
        let path = self.resolve(path).ok_or_else(through_file)?;
        let mut at = ROOT;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            at = match self.child(at, part) {
                Some(id) if matches!(self.nodes[id].kind, NodeKind::Directory(_)) => id,
                Some(_) => return Err(through_file()),
                None => {
                    let kind = NodeKind::Directory(Default::default());
                    self.nodes.push(Node {
                        meta: Meta::root(0o755),
                        kind,
                        nlink: 2,
                    });
                    let id = self.nodes.len() - 1;
                    self.attach(at, part, id);
                    id
                }
            };
        }
        Ok(at)
    }

    fn attach(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        let is_directory = matches!(self.nodes[id].kind, NodeKind::Directory(_));
        let node = &mut self.nodes[parent];
        if let NodeKind::Directory(map) = &mut node.kind {
            map.insert(name.to_vec(), id);
        }
        node.nlink += u32::from(is_directory);
    }

    fn detach(&mut self, parent: NodeId, name: &[u8]) {
        let NodeKind::Directory(map) = &mut self.nodes[parent].kind else {
            return;
        };
        let Some(id) = map.remove(name) else { return };
        if matches!(self.nodes[id].kind, NodeKind::Directory(_)) {
            self.nodes[parent].nlink -= 1;
            self.empty(id);
        } else {
            self.nodes[id].nlink -= 1;
        }
    }

    /// Takes everything out of a directory, so that link counts of what stays elsewhere are right.
    fn empty(&mut self, id: NodeId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let NodeKind::Directory(map) = &mut self.nodes[id].kind else {
                continue;
            };
            for child in std::mem::take(map).into_values() {
                if matches!(self.nodes[child].kind, NodeKind::Directory(_)) {
                    stack.push(child);
                } else {
                    self.nodes[child].nlink -= 1;
                }
            }
            self.nodes[id].nlink = 2;
        }
    }

    /// Adds one entry, for trees made by hand.
    pub fn insert(&mut self, path: &[u8], meta: Meta, kind: Kind) -> Result<()> {
        let entry = Entry {
            path: path.to_vec(),
            meta,
            kind,
        };
        self.put(&entry, &Targets::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.into(),
            meta: Meta::root(0o755),
            kind,
        }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File(Default::default()))
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.walk()
            .into_iter()
            .skip(1)
            .map(|(path, _)| String::from_utf8(path).unwrap())
            .collect()
    }

    #[test]
    fn whiteouts_act_on_lower_layers_only() {
        let mut tree = Tree::new();
        tree.apply(&[
            entry("a", Kind::Directory),
            file("a/old"),
            file("a/both"),
            file("b"),
        ])
        .unwrap();
        let upper = [
            file("a/new"),
            entry("a", Kind::Opaque),
            file("b"),
            entry("b", Kind::Whiteout),
            file("a/both"),
        ];
        tree.apply(&upper).unwrap();
        assert_eq!(paths(&tree), ["a", "a/both", "a/new", "b"]);
    }

    #[test]
    fn markers_never_act_through_a_link_that_the_layer_replaces() {
        let mut tree = Tree::new();
        tree.apply(&[
            file("run/important"),
            entry("var", Kind::Directory),
            entry("var/run", Kind::Symlink("../run".into())),
            entry("ln", Kind::Symlink("run".into())),
        ])
        .unwrap();
        tree.apply(&[
            entry("var/run", Kind::Opaque),
            entry("var/run", Kind::Directory),
            entry("ln/important", Kind::Whiteout),
            entry("ln", Kind::Directory),
        ])
        .unwrap();
        assert_eq!(
            paths(&tree),
            ["ln", "run", "run/important", "var", "var/run"]
        );
    }

    #[test]
    fn hard_links_share_a_node_and_count() {
        let mut tree = Tree::new();
        tree.apply(&[
            file("a"),
            entry("b", Kind::Hardlink("a".into())),
            entry("d/c", Kind::Hardlink("b".into())),
        ])
        .unwrap();
        let id = tree.get(b"a").unwrap();
        assert_eq!((tree.get(b"d/c"), tree.node(id).nlink), (Some(id), 3));
        tree.apply(&[file("b"), entry("d", Kind::Whiteout)])
            .unwrap();
        assert_eq!(tree.node(id).nlink, 1);
        assert!(
            tree.apply(&[entry("x", Kind::Hardlink("gone".into()))])
                .is_err()
        );
        assert!(
            tree.apply(&[
                entry("e", Kind::Directory),
                entry("x", Kind::Hardlink("e".into()))
            ])
            .is_err()
        );
    }

    #[test]
    fn directories_merge_and_other_kinds_replace() {
        let mut tree = Tree::new();
        tree.apply(&[file("d/x"), file("f")]).unwrap();
        tree.apply(&[
            entry("d", Kind::Directory),
            entry("f", Kind::Directory),
            file("f/y"),
        ])
        .unwrap();
        assert_eq!(paths(&tree), ["d", "d/x", "f", "f/y"]);
        assert_eq!(tree.node(ROOT).nlink, 4);
        tree.apply(&[file("d")]).unwrap();
        assert_eq!(paths(&tree), ["d", "f", "f/y"]);
        assert!(tree.apply(&[file("d/z")]).is_err());
    }

    #[test]
    fn links_on_the_way_are_followed_inside_the_root() {
        let mut tree = Tree::new();
        tree.apply(&[
            entry("usr/lib", Kind::Directory),
            entry("lib", Kind::Symlink("/usr/../../usr/lib".into())),
        ])
        .unwrap();
        tree.apply(&[file("lib/x")]).unwrap();
        assert_eq!(paths(&tree), ["lib", "usr", "usr/lib", "usr/lib/x"]);
        tree.apply(&[entry("loop", Kind::Symlink("loop".into()))])
            .unwrap();
        assert!(tree.apply(&[file("loop/x")]).is_err());
        assert_eq!(tree.resolve(b"lib/x/../new").as_deref(), None);
        assert_eq!(
            tree.resolve(b"lib/new/file").as_deref(),
            Some(&b"usr/lib/new/file"[..])
        );
    }
}
