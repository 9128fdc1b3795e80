//! What a few layers change, as a small tree that lies over the view of the tree below them.
//!
//! It is made of these layers alone, so that it costs what they changed and not what is below. That is only right where
//! they say by themselves where each entry goes: directories on the way to an entry are in its layer, too, so that no
//! link below leads elsewhere; a hard link leads to an entry of its layer; no path comes twice. Uppers
//! that were committed are such layers, and what builders make mostly is. Of others the whole tree is merged. So it is
//! where they cover a name of a file that has several: the image below says how many there are.

use std::collections::{BTreeSet, HashMap, HashSet};

use cairn_layer::{NodeId, NodeKind, Tree, split};
use cairn_model::{Entry, Kind, Meta};

/// Directories of an image that lies over others in an overlay, of which overlayfs has to be told something.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// They do not show what lies below them.
    pub opaque: HashSet<NodeId>,
    /// They have whiteouts, also where nothing lies below them.
    pub whiteouts: HashSet<NodeId>,
}

/// What layers change over a tree.
#[derive(Debug)]
pub struct Small {
    tree: Tree,
    opaque: BTreeSet<Vec<u8>>,
    /// What it covers of the tree below, as [`linked_names`] has it.
    covered: HashSet<u64>,
}

impl Small {
    /// What `layers`, lowest first, change over the tree below them, with `root` as the attributes of the root directory.
    /// None where that depends on what is below.
    pub fn new(root: Meta, layers: &[Vec<Entry>]) -> Option<Self> {
        let mut out = Self {
            tree: Tree::new(),
            opaque: BTreeSet::new(),
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

    /// What it has: with a character device 0, 0, which overlayfs takes as a whiteout, where something is gone.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Directories of which overlayfs has to be told something.
    pub(crate) fn marks(&self) -> Marks {
        let opaque = self.opaque.iter().filter_map(|path| self.tree.get(path));
        let is_whiteout = |id| self.tree.node(id).kind == NodeKind::CharDevice(0, 0);
        let has_whiteouts =
            |id: &NodeId| self.tree.children(*id).any(|(_, child)| is_whiteout(child));
        Marks {
            opaque: opaque.collect(),
            whiteouts: self.tree.ids().filter(has_whiteouts).collect(),
        }
    }

    /// True where one of these names is covered, of [`linked_names`].
    pub(crate) fn covers<'a>(&self, mut names: impl Iterator<Item = &'a u64>) -> bool {
        names.any(|name| self.covered.contains(name))
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
            let is_other = !matches!(here, Some(NodeKind::Directory(_)) | None);
            match entry.kind {
                // What a lower layer of these put here covers what is below all of them, and so must this.
                Kind::Directory if is_other => drop(self.opaque.insert(path.to_vec())),
                Kind::Directory => {}
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
        self.opaque.remove(path);
        let below = [path, b"/"].concat();
        let inner = self.opaque.range(below.clone()..);
        let inner: Vec<Vec<u8>> = inner
            .take_while(|other| other.starts_with(&below))
            .cloned()
            .collect();
        for other in inner {
            self.opaque.remove(&other);
        }
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

/// True where a name in the root could be that of a directory of objects: overlayfs looks for the object of a file, `ab/cdef…`,
/// in the images below its own first, and what it meets on the way there ends its search.
pub(crate) fn could_hold_objects(tree: &Tree) -> bool {
    let is_hex = |name: &[u8]| name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit);
    tree.children(tree.root()).any(|(name, _)| is_hex(name))
}

/// True for entries whose places and links do not depend on what is below them.
fn stands_alone(entries: &[Entry]) -> bool {
    let all: HashSet<&[u8]> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Directory)
        .map(|entry| &entry.path[..])
        .collect();
    let mut directories: HashSet<&[u8]> = HashSet::new();
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
        // Directories come from the top down: on the way to one that comes earlier, a link below might be followed.
        let is_reached = above.is_empty()
            || match entry.kind {
                Kind::Directory => directories.contains(above),
                _ => all.contains(above),
            };
        let is_linked = match &entry.kind {
            Kind::Hardlink(target) => places.get(&target[..]) == Some(&true),
            Kind::Opaque => all.contains(path),
            _ => true,
        };
        if entry.kind == Kind::Directory {
            directories.insert(path);
        }
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
        Small::new(Meta::root(0o700), layers)
    }

    fn opaque_of(small: &Small) -> Vec<&[u8]> {
        small.opaque.iter().map(Vec::as_slice).collect()
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
            small.covers(linked.iter())
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
    fn names_of_two_digits_in_the_root_could_be_directories_of_objects() {
        let mut tree = Tree::new();
        tree.insert(b"a/0f", Meta::root(0), Kind::Directory)
            .unwrap();
        assert!(!could_hold_objects(&tree));
        tree.insert(b"0f/file", Meta::root(0), Kind::Fifo).unwrap();
        assert!(could_hold_objects(&tree));
    }
}
