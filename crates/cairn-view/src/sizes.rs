//! What views and objects in the cache take, and when views were used last.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;

use cairn_model::{ObjectId, TreeId};

use crate::cache::Views;
use crate::flat::disk_bytes;

/// A view in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewSize {
    /// What it takes on disk, without objects.
    pub bytes: u64,
    /// When it was made or read last, as far as the file system keeps that; seconds.
    pub used: i64,
}

/// Everything in the cache at one moment.
#[derive(Debug, Default)]
pub struct CacheSizes {
    /// Images and flattened trees.
    pub views: HashMap<TreeId, ViewSize>,
    /// What each object takes on disk.
    pub objects: HashMap<ObjectId, u64>,
}

impl CacheSizes {
    /// What some of it takes.
    pub fn of(&self, views: &HashSet<TreeId>, objects: &HashSet<ObjectId>) -> u64 {
        let views = views.iter().filter_map(|tree| self.views.get(tree));
        let objects = objects.iter().filter_map(|id| self.objects.get(id));
        views.map(|view| view.bytes).sum::<u64>() + objects.sum::<u64>()
    }
}

impl Views {
    /// What is in the cache. A part that cannot be looked at is left out: this decides what is given up
    /// first, and nothing else.
    pub fn sizes(&self) -> CacheSizes {
        let mut sizes = CacheSizes {
            objects: self.objects().sizes(),
            ..CacheSizes::default()
        };
        for name in ["views", "flat", "roots"] {
            let entries = std::fs::read_dir(self.directory().join(name));
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                let tree = stem.and_then(|stem| stem.parse().ok());
                let (Some(tree), Ok(meta)) = (tree, entry.metadata()) else {
                    continue;
                };
                let below = if meta.is_dir() { disk_bytes(&path) } else { 0 };
                let view: &mut ViewSize = sizes.views.entry(tree).or_default();
                view.bytes += meta.blocks() * 512 + below;
                view.used = view.used.max(meta.mtime()).max(meta.atime());
            }
        }
        sizes
    }
}
