//! The rows of a list, the largest by the chosen measure first.

use cairn_model::{Digest, printable};
use cairn_repo::{FilesOf, Share};

use super::state::{Place, State};

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An image.
    Image(Digest),
    /// A layer, by its name, and its place in its image.
    Layer(String, usize),
    /// A file or directory.
    Node(usize),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is called; nothing in it steers a terminal.
    pub name: String,
    /// By measure.
    pub sizes: [u64; 3],
    pub is_directory: bool,
    pub is_marked: bool,
    pub target: Target,
}

/// The rows of the list that is open.
pub fn of(state: &State) -> Vec<Row> {
    let mut rows = match &state.level().place {
        Place::Images => images(state),
        Place::Layers(id) => layers(state, id),
        Place::Files(of, node) => files(state, of, *node),
    };
    let measure = state.measure as usize;
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.sizes[measure], row.sizes[1], row.sizes[0]);
        key(b).cmp(&key(a)).then_with(|| a.name.cmp(&b.name))
    });
    rows
}

fn sizes(share: &Share) -> [u64; 3] {
    let stored = share.exclusive_bytes + share.shared_bytes;
    [share.content_bytes, stored, share.freed_bytes]
}

fn images(state: &State) -> Vec<Row> {
    let images = state
        .overview
        .images
        .iter()
        .zip(&state.overview.stats.images);
    let row = |(image, share): (&cairn_repo::BrowsedImage, &Share)| {
        let mut name = share.name.clone();
        if image.names.len() > 1 {
            name.push_str(&format!(" (+{} names)", image.names.len() - 1));
        }
        if let Some(why) = &image.refused {
            name.push_str(&format!(" [{why}]"));
        }
        Row {
            name: printable(&name),
            sizes: sizes(share),
            is_directory: true,
            is_marked: state.marked.contains(&image.id),
            target: Target::Image(image.id),
        }
    };
    images.map(row).collect()
}

fn layers(state: &State, id: &Digest) -> Vec<Row> {
    let image = state.overview.images.iter().find(|image| image.id == *id);
    let layers = image.map_or(&[][..], |image| &image.layers).iter();
    let row = |(place, (at, step)): (usize, &(usize, Option<String>))| {
        let share = state.overview.stats.layers.get(*at)?;
        let digits = share.name.strip_prefix("sha256:").unwrap_or(&share.name);
        let short: String = digits.chars().take(12).collect();
        let step = step.as_deref().unwrap_or_default();
        Some(Row {
            name: printable(format!("{}. {short} {step}", place + 1).trim_end()),
            sizes: sizes(share),
            is_directory: true,
            is_marked: false,
            target: Target::Layer(share.name.clone(), place),
        })
    };
    layers.enumerate().filter_map(row).collect()
}

fn files(state: &State, of: &FilesOf, node: usize) -> Vec<Row> {
    let Some(tree) = state.tree(of) else {
        return Vec::new();
    };
    let row = |node: usize| Row {
        name: printable(&tree.name(node)),
        sizes: tree.sizes(node),
        is_directory: tree.is_directory(node),
        is_marked: false,
        target: Target::Node(node),
    };
    tree.children(node).map(row).collect()
}
