//! What leaves the cache: views of trees and objects that nothing refers to any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cairn_model::{ObjectId, TreeId};
use rustix::fs::FlockOperation;

use crate::cache::{ROOTS, Views, tree_named};
use crate::error::{At, Result};
use crate::flat::{ASIDE, disk_bytes};
use crate::packed::{LIST, META};
use crate::verified::{Verified, boot_id};

/// What [`Views::retain`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Images and flattened trees.
    pub views: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of all of them on disk.
    pub bytes: u64,
}

impl Views {
    /// Removes views of other trees and objects other than those that `keep` says. It is asked once no
    /// view can be made any more; while one is being made, nothing is removed.
    pub fn retain<E: From<crate::Error>>(
        &self,
        keep: impl FnOnce() -> Result<(HashSet<TreeId>, HashSet<ObjectId>), E>,
    ) -> Result<Evicted, E> {
        let _span = tracing::debug_span!("evict").entered();
        let mut evicted = Evicted::default();
        if !self.directory().exists() {
            return Ok(evicted);
        }
        let Ok(_guard) = self.hold(FlockOperation::NonBlockingLockExclusive) else {
            return Ok(evicted);
        };
        let (trees, objects) = keep()?;
        let trees = self.with_bases(trees);
        let current: HashSet<PathBuf> = trees
            .iter()
            .filter_map(|tree| self.current_meta(tree))
            .collect();
        let aside = format!("{ASIDE}{}-", boot_id().unwrap_or_default());
        for name in ["views", "flat", ROOTS] {
            let Ok(entries) = std::fs::read_dir(self.directory().join(name)) else {
                continue;
            };
            let mut entries: Vec<std::fs::DirEntry> = entries.flatten().collect();
            entries.sort_by_key(|entry| removal_rank(&entry.path()));
            for entry in entries {
                let path = entry.path();
                let name = entry.file_name();
                // What was moved aside in this boot may still be mounted.
                let is_aside = name.as_encoded_bytes().starts_with(aside.as_bytes());
                let is_old = extension(&path) == META && !current.contains(&path);
                let is_kept = tree_named(&path).is_some_and(|id| trees.contains(&id)) && !is_old;
                if is_kept && !is_going(&path) || is_aside {
                    continue;
                }
                let is_view = path.is_dir() || ["erofs", LIST].contains(&extension(&path));
                evicted.views += u64::from(is_view);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    evicted.bytes += disk_bytes(&path);
                    remove_tree(&path)?;
                } else {
                    evicted.bytes += entry.metadata().map_or(0, |m| m.len());
                    std::fs::remove_file(&path).at("remove", &path)?;
                    self.unshare(&path);
                }
            }
        }
        evicted.bytes += self.drop_unneeded_contents();
        let (count, bytes) = self.objects().retain(&objects)?;
        Verified::load(self.directory()).compact(&|id| objects.contains(id))?;
        Ok(Evicted {
            objects: count,
            bytes: evicted.bytes + bytes,
            ..evicted
        })
    }
}

/// Extension of a flattened tree that is being removed.
const GOING: &str = "going";

fn extension(path: &Path) -> &str {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.unwrap_or_default()
}

fn is_going(path: &Path) -> bool {
    extension(path).ends_with(GOING)
}

/// What says that others are whole goes before them, what only belongs to others after them: cut off in between, nothing
/// looks whole that is not, nor damaged.
fn removal_rank(path: &Path) -> u8 {
    match extension(path) {
        "erofs" | LIST | "whole" | "user-whole" | "copy-whole" => 0,
        "list" => 2,
        _ => 1,
    }
}

/// Removes a flattened tree, of which nothing has its name once the first file is gone.
fn remove_tree(path: &Path) -> Result<()> {
    if is_going(path) {
        return std::fs::remove_dir_all(path).at("remove", path);
    }
    let going = path.with_extension(format!("{}{GOING}", extension(path)));
    if going.exists() {
        std::fs::remove_dir_all(&going).at("remove", &going)?;
    }
    std::fs::rename(path, &going).at("rename", path)?;
    std::fs::remove_dir_all(&going).at("remove", &going)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_others_are_whole_goes_first() {
        let mut names = [
            "a.list",
            "a",
            "a.whole",
            "a.erofs",
            "a.user",
            "a.user-whole",
        ];
        names.sort_by_key(|name| removal_rank(Path::new(name)));
        assert_eq!(
            names,
            [
                "a.whole",
                "a.erofs",
                "a.user-whole",
                "a",
                "a.user",
                "a.list"
            ]
        );
    }

    #[test]
    fn a_tree_whose_removal_was_cut_off_is_removed_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.user");
        let left = directory.path().join("a.usergoing");
        for path in [&path, &left] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("file"), "").unwrap();
        }
        assert!(is_going(&left) && !is_going(&path));
        remove_tree(&path).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
