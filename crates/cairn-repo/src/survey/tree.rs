//! Files by path, in columns that compress well: what the page's tree is drawn from.

use cairn_model::{is_hidden, path_display};
use serde::Serialize;

use super::claims::Figures;
use super::paths::{Paths, ROOT};

/// Directories and files with their own bytes; what is below a directory is not in its figures. A node comes after
/// its directory. The first is the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileTree {
    /// Node of the directory; that of the root is 0.
    pub parent: Vec<u32>,
    /// Last part of the path, as text.
    pub name: Vec<String>,
    /// How many smaller files stand behind a node; 0 for a node of its own.
    pub others: Vec<u32>,
    /// File content, as often as images show it.
    pub content: Vec<u64>,
    /// What of it came here first.
    pub unique: Vec<u64>,
    /// The same as stored.
    pub stored: Vec<u64>,
    /// Stored bytes that nothing else has; of a directory what only several of its files have.
    pub alone: Vec<u64>,
    /// The layer that had it first, by its place in the list of layers; -1 for directories.
    pub layer: Vec<i32>,
}

/// What is known of the nodes of all paths.
pub(super) struct Nodes<'a> {
    pub paths: &'a Paths,
    pub figures: &'a [Figures],
    pub layers: &'a [i32],
}

impl Nodes<'_> {
    /// The tree with the largest `count` files; others are added up by directory.
    pub fn tree(&self, count: usize) -> FileTree {
        let kept = self.kept(count);
        let children = self.children();
        let mut tree = FileTree::default();
        let mut stack = vec![(ROOT, 0)];
        while let Some((node, parent)) = stack.pop() {
            let at = tree.parent.len() as u32;
            tree.push(
                parent,
                self.name(node),
                0,
                self.figures[node as usize],
                self.layers[node as usize],
            );
            let (stay, fold): (Vec<u32>, Vec<u32>) = children
                .of(node)
                .iter()
                .partition(|child| kept[**child as usize]);
            let (others, figures) = self.folded(&fold, &children);
            if others > 0 {
                tree.push(at, String::new(), others, figures, -1);
            }
            stack.extend(stay.iter().rev().map(|child| (*child, at)));
        }
        tree
    }

    fn name(&self, node: u32) -> String {
        shown(self.paths.name(node))
    }

    /// Nodes that are in the tree: the largest files, and all directories of them.
    fn kept(&self, count: usize) -> Vec<bool> {
        let is_file = |node: &u32| self.layers[*node as usize] >= 0;
        let mut files: Vec<u32> = (ROOT..self.paths.len() as u32).filter(is_file).collect();
        let size = |node: &u32| self.figures[*node as usize].content_bytes;
        files.sort_unstable_by_key(|node| (std::cmp::Reverse(size(node)), *node));
        let mut kept = vec![false; self.paths.len()];
        for file in files.into_iter().take(count) {
            let mut at = file;
            while at >= ROOT && !kept[at as usize] {
                kept[at as usize] = true;
                at = self.paths.parent(at);
            }
        }
        kept
    }

    fn children(&self) -> Children {
        let mut starts = vec![0_u32; self.paths.len() + 1];
        for node in ROOT + 1..self.paths.len() as u32 {
            starts[self.paths.parent(node) as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut all = vec![0; self.paths.len()];
        for node in ROOT + 1..self.paths.len() as u32 {
            let place = &mut next[self.paths.parent(node) as usize];
            all[*place as usize] = node;
            *place += 1;
        }
        Children { starts, all }
    }

    /// How many files these nodes and all below them are, and what they come to.
    fn folded(&self, nodes: &[u32], children: &Children) -> (u32, Figures) {
        let (mut count, mut sum) = (0, Figures::default());
        let mut stack = nodes.to_vec();
        while let Some(node) = stack.pop() {
            sum += self.figures[node as usize];
            count += u32::from(self.layers[node as usize] >= 0);
            stack.extend(children.of(node));
        }
        (count, sum)
    }
}

/// Children of all nodes.
struct Children {
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Children {
    fn of(&self, node: u32) -> &[u32] {
        let [from, to] = [0, 1].map(|n| self.starts[node as usize + n] as usize);
        &self.all[from..to]
    }
}

impl FileTree {
    fn push(&mut self, parent: u32, name: String, others: u32, figures: Figures, layer: i32) {
        self.parent.push(parent);
        self.name.push(name);
        self.others.push(others);
        self.content.push(figures.content_bytes);
        self.unique.push(figures.unique_bytes);
        self.stored.push(figures.stored_bytes);
        self.alone.push(figures.exclusive_bytes);
        self.layer.push(layer);
    }
}

/// A part of a path for people: what is hidden or no text is escaped.
pub(super) fn shown(name: &[u8]) -> String {
    match name {
        [] => String::new(),
        name if name.iter().all(|byte| (0x20..0x7f).contains(byte)) => {
            String::from_utf8_lossy(name).into_owned()
        }
        name => path_display(name).replace(is_hidden, "\u{fffd}"),
    }
}
