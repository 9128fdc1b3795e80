//! The files of an image or layer as a tree in columns, with sums of what is below each directory.

use cairn_repo::FileTree;

/// Directories and files. The first node is the root.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: FileTree,
    /// The node after all that is below a node.
    end: Vec<usize>,
    /// Content, stored bytes and those that nothing else has, of a node and all below it.
    sums: [Vec<u64>; 3],
}

impl Tree {
    /// Adds up what is in each directory.
    pub fn new(nodes: FileTree) -> Self {
        let count = nodes.depth.len();
        let mut tree = Self {
            end: vec![count; count],
            sums: [
                (0..count).map(|at| content(&nodes, at)).collect(),
                nodes.stored.clone(),
                (0..count).map(|at| alone(&nodes, at)).collect(),
            ],
            nodes,
        };
        // Directories that a node is in, from the root down.
        let mut above: Vec<usize> = Vec::new();
        let mut parents = vec![0; count];
        for (at, parent) in parents.iter_mut().enumerate() {
            while above.len() > tree.nodes.depth[at] as usize {
                if let Some(left) = above.pop() {
                    tree.end[left] = at;
                }
            }
            *parent = above.last().copied().unwrap_or(0);
            above.push(at);
        }
        for at in (1..count).rev() {
            for sums in &mut tree.sums {
                sums[parents[at]] += sums[at];
            }
        }
        tree
    }

    /// What is in a directory.
    pub fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        let end = self.end.get(node).copied().unwrap_or(0);
        let first = Some(node + 1).filter(|first| *first < end);
        std::iter::successors(first, move |at| {
            Some(self.end[*at]).filter(|next| *next < end)
        })
    }

    /// Content, stored bytes and those that nothing else has.
    pub fn sizes(&self, node: usize) -> [u64; 3] {
        [0, 1, 2].map(|measure: usize| self.sums[measure].get(node).copied().unwrap_or(0))
    }

    /// True where something is in it.
    pub fn is_directory(&self, node: usize) -> bool {
        self.end.get(node).is_some_and(|end| *end > node + 1)
    }

    /// The last part of its path, for people.
    pub fn name(&self, node: usize) -> String {
        match self.nodes.others.get(node) {
            Some(0) => self.nodes.name[node].clone(),
            Some(others) => format!("({others} smaller files)"),
            None => String::new(),
        }
    }
}

fn content(nodes: &FileTree, at: usize) -> u64 {
    // A multiple of the unique bytes, or the bytes themselves.
    match u64::try_from(nodes.times[at]) {
        Ok(times) => times.saturating_mul(nodes.unique[at]),
        Err(_) => nodes.times[at].unsigned_abs(),
    }
}

fn alone(nodes: &FileTree, at: usize) -> u64 {
    u64::try_from(nodes.alone[at]).unwrap_or(nodes.stored[at])
}
