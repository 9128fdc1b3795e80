//! What views and objects in the cache take, and when views were used last.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;

use cairn_model::{ObjectId, TreeId};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use rustix::io::Errno;

use crate::cache::{Views, tree_named};
use crate::flat::disk_bytes;

/// Directory of a file for each tree, whose time is that of the tree's last use.
const USED: &str = "used";

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// A view in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewSize {
    /// What it takes on disk, without objects.
    pub bytes: u64,
    /// When it was made, prepared for a mount, or read last; seconds.
    pub used: i64,
}

/// Everything in the cache at one moment.
#[derive(Debug, Default)]
pub struct CacheSizes {
    /// Images and flattened trees.
    pub views: HashMap<TreeId, ViewSize>,
    /// What images of contents take on disk, which views over packs share.
    pub contents: u64,
    /// What each object takes on disk.
    pub objects: HashMap<ObjectId, u64>,
}

impl CacheSizes {
    /// What all views take, with the images of contents that some of them share, and without objects.
    pub fn views_bytes(&self) -> u64 {
        self.contents + self.views.values().map(|view| view.bytes).sum::<u64>()
    }

    /// What some of it takes.
    pub fn of(&self, views: &HashSet<TreeId>, objects: &HashSet<ObjectId>) -> u64 {
        let views = views.iter().filter_map(|tree| self.views.get(tree));
        let objects = objects.iter().filter_map(|id| self.objects.get(id));
        views.map(|view| view.bytes).sum::<u64>() + objects.sum::<u64>()
    }
}

impl Views {
    /// Notes that a view is used, beside the views: they must not change with each use, a view that is evicted was
    /// used all the same, and whether a file system keeps the time of a read is a matter of its options. A note
    /// that cannot be made is none.
    pub(crate) fn note_use(&self, id: &TreeId) {
        let directory = self.directory().join(USED);
        let path = directory.join(id.hex());
        let now = Timestamps {
            last_access: NOW,
            last_modification: NOW,
        };
        if let Err(Errno::NOENT) = utimensat(CWD, &path, &now, AtFlags::empty()) {
            let _ = std::fs::create_dir(&directory);
            let mut options = std::fs::File::options();
            let _ = options.write(true).create(true).truncate(false).open(&path);
        }
    }

    /// When views were prepared last, seconds; of those that are evicted too.
    pub fn uses(&self) -> HashMap<TreeId, i64> {
        let entries = std::fs::read_dir(self.directory().join(USED));
        let used = |entry: std::fs::DirEntry| {
            let tree = entry.file_name().to_str()?.parse().ok()?;
            Some((tree, entry.metadata().ok()?.mtime()))
        };
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(used).collect()
    }

    /// Forgets the uses of trees that are gone.
    pub fn forget_uses(&self, trees: &HashSet<TreeId>) {
        let directory = self.directory().join(USED);
        for tree in self.uses().keys().filter(|tree| !trees.contains(*tree)) {
            let _ = std::fs::remove_file(directory.join(tree.hex()));
        }
    }

    /// What is in the cache. A part that cannot be looked at is left out: this decides what is given up
    /// first, and nothing else.
    pub fn sizes(&self) -> CacheSizes {
        let mut sizes = CacheSizes {
            objects: self.objects().sizes(),
            contents: self.contents_bytes(),
            ..CacheSizes::default()
        };
        for name in ["views", "flat", "roots"] {
            let entries = std::fs::read_dir(self.directory().join(name));
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                let (Some(tree), Ok(meta)) = (tree_named(&path), entry.metadata()) else {
                    continue;
                };
                let below = if meta.is_dir() { disk_bytes(&path) } else { 0 };
                let view: &mut ViewSize = sizes.views.entry(tree).or_default();
                view.bytes += meta.blocks() * 512 + below;
                view.used = view.used.max(meta.mtime()).max(meta.atime());
            }
        }
        for (tree, used) in self.uses() {
            if let Some(view) = sizes.views.get_mut(&tree) {
                view.used = view.used.max(used);
            }
        }
        sizes
    }
}
