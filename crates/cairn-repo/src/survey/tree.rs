//! Files by path, in columns that compress well: what the page's tree is drawn from.

use cairn_model::{is_hidden, path_display};
use serde::Serialize;

use super::claims::Figures;
use super::paths::{Paths, ROOT};

/// Directories and files with their own bytes; what is below a directory is not in its figures. A directory comes
/// right before what is in it. The first node is the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileTree {
    /// How many directories a node is in.
    pub depth: Vec<u32>,
    /// Last part of the path, as text.
    pub name: Vec<String>,
    /// How many smaller files stand behind a node; 0 for a node of its own.
    pub others: Vec<u32>,
    /// File content that came here first.
    pub unique: Vec<u64>,
    /// File content, as often as images show it: how many times the unique one where that is a whole number, else
    /// the bytes, negative.
    pub times: Vec<i64>,
    /// Unique content as stored.
    pub stored: Vec<u64>,
    /// Stored bytes that nothing else has; of a directory what only several of its files have. -1 for all that is
    /// stored.
    pub alone: Vec<i64>,
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
        let mut stack = vec![(ROOT, 0_u32)];
        while let Some((node, depth)) = stack.pop() {
            tree.push(
                depth,
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
                tree.push(depth + 1, String::new(), others, figures, -1);
            }
            stack.extend(stay.iter().rev().map(|child| (*child, depth + 1)));
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
    fn push(&mut self, depth: u32, name: String, others: u32, figures: Figures, layer: i32) {
        self.depth.push(depth);
        self.name.push(name);
        self.others.push(others);
        self.unique.push(figures.unique_bytes);
        self.times.push(times(&figures));
        self.stored.push(figures.stored_bytes);
        self.alone
            .push(match figures.exclusive_bytes == figures.stored_bytes {
                true => -1,
                false => i64::try_from(figures.exclusive_bytes).unwrap_or(i64::MAX),
            });
        self.layer.push(layer);
    }
}

/// Content as a multiple of what is unique of it; few different numbers take little space in the page.
fn times(figures: &Figures) -> i64 {
    let (content, unique) = (figures.content_bytes, figures.unique_bytes);
    match content.checked_rem(unique) {
        Some(0) => i64::try_from(content / unique).unwrap_or(i64::MAX),
        _ => i64::try_from(content).map_or(i64::MIN, |bytes| -bytes),
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
