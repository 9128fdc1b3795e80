//! What a few layers change, as a small tree that lies over the view of the tree below them.
//!
//! It is made of these layers alone, so that it costs what they changed and not what is below. That is only right where
//! they say by themselves where each entry goes: directories on the way to an entry are in its layer, too, so that no
//! link below leads elsewhere; a hard link leads to an entry of its layer; no path comes twice. Uppers
//! that were committed are such layers, and what builders make mostly is. Of others the whole tree is merged. So it is
//! where they cover a name of a file that has several: the image below says how many there are.

use std::collections::{HashMap, HashSet};

use cairn_layer::{NodeId, NodeKind, Tree, split};
use cairn_model::{Entry, Kind, Meta, TreeId};

/// What layers change over a tree.
#[derive(Debug)]
pub struct Small {
    base: TreeId,
    tree: Tree,
    opaque: HashSet<Vec<u8>>,
    /// What it covers of the tree below, as [`linked_names`] has it.
    covered: HashSet<u64>,
}

impl Small {
    /// What `layers`, lowest first, change over the tree `base`, with `root` as the attributes of the root directory.
    /// None where that depends on what is below.
    pub fn new(base: TreeId, root: Meta, layers: &[Vec<Entry>]) -> Option<Self> {
        let mut out = Self {
            base,
            tree: Tree::new(),
            opaque: HashSet::new(),
            covered: HashSet::new(),
        };
        for entries in layers {
            if !stands_alone(entries) {
                return None;
            }
            out.apply(entries)?;
        }
        *out.tree.meta_mut(out.tree.root()) = root;
        Some(out)
    }

    /// The tree that it lies over.
    pub(crate) fn base(&self) -> &TreeId {
        &self.base
    }

    /// What it has: with a character device 0, 0, which overlayfs takes as a whiteout, where something is gone.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Directories that do not show what lies below them.
    pub(crate) fn opaque(&self) -> HashSet<NodeId> {
        let nodes = self.opaque.iter().filter_map(|path| self.tree.get(path));
        nodes.collect()
    }

    /// True where a name is covered that one of these lists of [`linked_names`] has.
    pub(crate) fn covers<'a>(&self, mut lists: impl Iterator<Item = &'a [u64]>) -> bool {
        lists.any(|list| list.iter().any(|name| self.covered.contains(name)))
    }

    fn apply(&mut self, entries: &[Entry]) -> Option<()> {
        for entry in entries {
            let path = &entry.path[..];
            if entry.kind != Kind::Opaque {
                self.covered.insert(name(path, false));
            }
            if entry.kind != Kind::Directory {
                self.covered.insert(name(path, true));
            }
            let here = self.tree.get(path).map(|id| &self.tree.node(id).kind);
            match entry.kind {
                // What a lower layer of these put here covers what is below all of them, and so must this.
                Kind::Directory => match here {
                    Some(NodeKind::Directory(_)) | None => {}
                    Some(_) => drop(self.opaque.insert(path.to_vec())),
                },
                Kind::Opaque => {
                    self.forget_opaque(path);
                    self.opaque.insert(path.to_vec());
                }
                _ => self.forget_opaque(path),
            }
        }
        self.tree.apply(entries).ok()?;
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Whiteout) {
            let (major, minor) = (0, 0);
            match self.tree.get(&entry.path) {
                Some(id) if is_directory(&self.tree, id) => {
                    self.opaque.insert(entry.path.clone());
                }
                Some(_) => {}
                None => {
                    let whiteout = Kind::CharDevice { major, minor };
                    let inserted = self.tree.insert(&entry.path, Meta::root(0), whiteout);
                    inserted.ok()?;
                }
            }
        }
        Some(())
    }

    /// Of this path, and of all below it.
    fn forget_opaque(&mut self, path: &[u8]) {
        let is_in = |other: &[u8]| {
            let rest = other.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.opaque.retain(|other| !is_in(other));
    }
}

/// A path, or what is below it, in eight bytes; two that are one by chance only make a view whole.
fn name(path: &[u8], below: bool) -> u64 {
    let hash = blake3::Hasher::new()
        .update(path)
        .update(&[u8::from(below)])
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Names of files that have several, and the directories that they are below.
pub(crate) fn linked_names(tree: &Tree) -> Vec<u64> {
    let mut names = HashSet::new();
    let has_more = |id: NodeId| tree.node(id).nlink > 1 && !is_directory(tree, id);
    if !tree.ids().any(has_more) {
        return Vec::new();
    }
    for (path, _) in tree.walk().into_iter().filter(|(_, id)| has_more(*id)) {
        names.insert(name(&path, false));
        let mut rest = &path[..];
        while let Some((above, _)) = split(rest).filter(|(above, _)| !above.is_empty()) {
            names.insert(name(above, true));
            rest = above;
        }
    }
    let mut names: Vec<u64> = names.into_iter().collect();
    names.sort_unstable();
    names
}

fn is_directory(tree: &Tree, id: NodeId) -> bool {
    matches!(tree.node(id).kind, NodeKind::Directory(_))
}

/// True where overlayfs could take something for an object, or for the end of its search: it looks for the object of a
/// file, `ab/cdef…`, in the images below its own first.
pub(crate) fn could_hold_objects(tree: &Tree, opaque: &HashSet<NodeId>) -> bool {
    let is_hex =
        |name: &[u8], length| name.len() == length && name.iter().all(u8::is_ascii_hexdigit);
    tree.children(tree.root())
        .filter(|(name, _)| is_hex(name, 2))
        .any(|(_, id)| {
            let has_object = tree.children(id).any(|(name, _)| is_hex(name, 62));
            !is_directory(tree, id) || opaque.contains(&id) || has_object
        })
}

/// True for entries whose places and links do not depend on what is below them.
fn stands_alone(entries: &[Entry]) -> bool {
    let directories: HashSet<&[u8]> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Directory)
        .map(|entry| &entry.path[..])
        .collect();
    // Entries by their paths, with whether a hard link can lead there.
    let mut places: HashMap<&[u8], bool> = HashMap::new();
    for entry in entries {
        let path = &entry.path[..];
        let is_marker = matches!(entry.kind, Kind::Whiteout | Kind::Opaque);
        let Some((above, _)) = split(path) else {
            // The root: its attributes are known, and that it hides all that is below is rare.
            if entry.kind == Kind::Directory {
                continue;
            }
            return false;
        };
        let is_reached = above.is_empty() || directories.contains(above);
        let is_linked = match &entry.kind {
            Kind::Hardlink(target) => places.get(&target[..]) == Some(&true),
            Kind::Opaque => directories.contains(path),
            _ => true,
        };
        let is_link_target = entry.kind != Kind::Directory;
        let is_new = is_marker || places.insert(path, is_link_target).is_none();
        if !(is_reached && is_linked && is_new) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: TreeId = TreeId::from_bytes([7; 32]);

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.into(),
            meta: Meta::root(0o755),
            kind,
        }
    }

    fn dir(path: &str) -> Entry {
        entry(path, Kind::Directory)
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File(Default::default()))
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Hardlink(target.into()))
    }

    fn gone(path: &str) -> Entry {
        entry(path, Kind::Whiteout)
    }

    fn opaque(path: &str) -> Entry {
        entry(path, Kind::Opaque)
    }

    fn small(layers: &[Vec<Entry>]) -> Option<Small> {
        Small::new(BASE, Meta::root(0o700), layers)
    }

    fn opaque_of(small: &Small) -> Vec<&[u8]> {
        let mut paths: Vec<&[u8]> = small.opaque.iter().map(Vec::as_slice).collect();
        paths.sort_unstable();
        paths
    }

    fn is_whiteout(small: &Small, path: &str) -> bool {
        let node = small.tree.get(path.as_bytes());
        node.is_some_and(|id| small.tree.node(id).kind == NodeKind::CharDevice(0, 0))
    }

    #[test]
    fn what_depends_on_what_is_below_is_not_made_small() {
        for (why, entries) in [
            ("a link below may lead elsewhere", vec![file("a/x")]),
            (
                "the first of two may have hidden a directory",
                vec![file("a"), dir("a")],
            ),
            ("the target is below", vec![link("x", "y")]),
            (
                "the target may be one below",
                vec![link("x", "y"), file("y")],
            ),
            (
                "a directory cannot be linked",
                vec![dir("y"), link("x", "y")],
            ),
            ("the directory may be elsewhere", vec![opaque("a")]),
            ("all is hidden", vec![opaque("")]),
            ("a link below may lead elsewhere", vec![gone("a/x")]),
        ] {
            assert!(small(&[entries]).is_none(), "{why}");
        }
        let fits = [file("y"), link("x", "y"), gone("y"), dir("a"), file("a/b")];
        let made = small(&[fits.to_vec()]).unwrap();
        assert_eq!(made.tree.node(made.tree.root()).meta, Meta::root(0o700));
        assert!(!is_whiteout(&made, "y"));
    }

    #[test]
    fn what_is_gone_hides_what_is_below_all_layers() {
        let first = vec![dir("d"), file("d/f"), gone("e")];
        let made = small(std::slice::from_ref(&first)).unwrap();
        assert!(is_whiteout(&made, "e") && opaque_of(&made).is_empty());
        let second = vec![gone("d"), dir("e"), file("e/x")];
        let made = small(&[first.clone(), second.clone()]).unwrap();
        assert!(is_whiteout(&made, "d") && !is_whiteout(&made, "d/f"));
        assert_eq!(opaque_of(&made), [b"e"]);
        let third = vec![dir("d"), file("d/g"), file("e")];
        let made = small(&[first, second, third]).unwrap();
        assert_eq!(opaque_of(&made), [b"d"]);
        assert!(made.tree.get(b"d/f").is_none() && made.tree.get(b"e/x").is_none());
    }

    #[test]
    fn a_directory_over_another_kind_or_over_nothing_left_is_opaque() {
        let made = small(&[
            vec![file("f"), dir("g"), file("g/x"), dir("h"), opaque("h")],
            vec![dir("f"), file("f/x"), gone("g"), dir("g"), gone("h")],
        ]);
        let made = made.unwrap();
        assert_eq!(opaque_of(&made), [b"f", b"g"]);
        assert!(made.tree.get(b"g/x").is_none());
        assert!(is_whiteout(&made, "h"));
    }

    #[test]
    fn names_of_files_with_several_are_not_covered() {
        let mut tree = Tree::new();
        tree.apply(&[
            dir("a"),
            dir("a/b"),
            file("a/b/one"),
            link("two", "a/b/one"),
            file("c"),
        ])
        .unwrap();
        let linked = linked_names(&tree);
        let covers = |entries: &[Entry]| {
            let small = small(&[entries.to_vec()]).unwrap();
            small.covers([&linked[..]].into_iter())
        };
        let (a, b) = (dir("a"), dir("a/b"));
        assert!(!covers(&[
            a.clone(),
            b.clone(),
            file("a/b/three"),
            file("c"),
            gone("d")
        ]));
        assert!(covers(&[a.clone(), b.clone(), gone("a/b/one")]));
        assert!(covers(&[file("two")]));
        assert!(covers(&[dir("two")]));
        assert!(covers(&[gone("a")]));
        assert!(covers(&[a.clone(), opaque("a")]));
        assert!(covers(&[a, file("a/b")]));
    }

    #[test]
    fn what_could_be_an_object_or_end_the_search_for_one_is_found() {
        let mut tree = Tree::new();
        let object = "0123456789abcdef".repeat(4);
        let mut insert =
            |path: &str, kind| tree.insert(path.as_bytes(), Meta::root(0), kind).unwrap();
        insert(&format!("a/0f/{}", &object[2..]), Kind::Directory);
        insert("0f/file", Kind::Fifo);
        let none = HashSet::new();
        assert!(!could_hold_objects(&tree, &none));
        let opaque = HashSet::from([tree.get(b"0f").unwrap()]);
        assert!(could_hold_objects(&tree, &opaque));
        for (path, kind) in [
            (format!("0f/{}", &object[2..]), Kind::Fifo),
            ("a0".into(), Kind::Symlink("b".into())),
        ] {
            let mut tree = tree.clone();
            tree.insert(path.as_bytes(), Meta::root(0), kind).unwrap();
            assert!(could_hold_objects(&tree, &none), "{path}");
        }
    }
}
