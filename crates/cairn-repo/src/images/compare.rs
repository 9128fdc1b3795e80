//! Two images side by side: files, what they take, and packages.

use std::collections::{BTreeMap, HashSet};

use cairn_layer::{ChangeKind, NodeKind, Tree, diff};
use cairn_model::{BlobId, Digest, path_display};
use cairn_store::Store;
use serde::Serialize;

use super::Images;
use crate::error::Result;
use crate::packages::{PackageManager, packages};
use crate::report;

/// What differs between two images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Id of the first.
    #[serde(serialize_with = "text_of")]
    pub old: Option<Digest>,
    /// Id of the second.
    #[serde(serialize_with = "text_of")]
    pub new: Option<Digest>,
    /// Bytes of all files of the first.
    pub old_bytes: u64,
    /// Bytes of all files of the second.
    pub new_bytes: u64,
    /// Stored bytes of content that the second has and the first has not.
    pub stored_bytes: u64,
    /// Paths that differ, in order.
    pub files: Vec<FileChange>,
    /// Packages that differ, in order.
    pub packages: Vec<PackageChange>,
}

fn text_of<S: serde::Serializer>(id: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(ToString::to_string).serialize(to)
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChange {
    /// From the root.
    #[serde(serialize_with = "rooted")]
    pub path: Vec<u8>,
    /// How.
    #[serde(serialize_with = "change")]
    pub change: ChangeKind,
    /// What changed: `content`, `kind`, `mode`, `owner`, `mtime`, `xattrs`, `links`.
    pub what: Vec<&'static str>,
    /// Bytes of the file in the first image.
    pub old_bytes: u64,
    /// Bytes of the file in the second image.
    pub new_bytes: u64,
    /// Stored bytes of its content that nothing in the first image has; content that several files bring is
    /// counted with the first.
    pub stored_bytes: u64,
}

fn rooted<S: serde::Serializer>(path: &[u8], to: S) -> Result<S::Ok, S::Error> {
    report::text(&format!("/{}", path_display(path)), to)
}

fn change<S: serde::Serializer>(change: &ChangeKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match change {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Deleted => "deleted",
    })
}

/// A package that is not in both images in the same versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PackageChange {
    /// Who installed it.
    pub manager: PackageManager,
    /// Its name.
    pub name: String,
    /// Versions in the first image.
    pub old: Vec<String>,
    /// Versions in the second image.
    pub new: Vec<String>,
}

impl Images<'_> {
    /// Compares two images by what a process would see in them.
    pub fn compare(&self, old: &str, new: &str) -> Result<Comparison> {
        let (old, new) = (self.find(old)?, self.find(new)?);
        let (before, after) = (self.repo.tree(&old.layers)?, self.repo.tree(&new.layers)?);
        let mut sizes = Sizes::beside(&self.repo.store, &before);
        let mut files = Vec::new();
        for found in diff(&before, &after) {
            let new_bytes = size(&after, &found.path);
            files.push(FileChange {
                stored_bytes: sizes.stored(&after, &found.path)?,
                old_bytes: size(&before, &found.path),
                new_bytes,
                path: found.path,
                change: found.kind,
                what: found.what,
            });
        }
        Ok(Comparison {
            old: Some(old.row.id),
            new: Some(new.row.id),
            old_bytes: bytes(&before),
            new_bytes: bytes(&after),
            stored_bytes: files.iter().map(|file| file.stored_bytes).sum(),
            files,
            packages: self.compare_packages(&before, &after),
        })
    }

    fn compare_packages(&self, before: &Tree, after: &Tree) -> Vec<PackageChange> {
        type Versions = [Vec<String>; 2];
        let mut all: BTreeMap<(PackageManager, String), Versions> = BTreeMap::new();
        for (side, tree) in [before, after].into_iter().enumerate() {
            for package in packages(&self.repo.store, tree) {
                let versions = all.entry((package.manager, package.name)).or_default();
                versions[side].push(package.version);
            }
        }
        let differ = all.into_iter().filter(|(_, [old, new])| old != new);
        let change =
            |((manager, name), [old, new]): ((PackageManager, String), Versions)| PackageChange {
                manager,
                name,
                old,
                new,
            };
        differ.map(change).collect()
    }
}

fn size(tree: &Tree, path: &[u8]) -> u64 {
    match tree.get(path).map(|id| &tree.node(id).kind) {
        Some(NodeKind::File(content)) => content.size,
        _ => 0,
    }
}

/// Bytes of all files, each hard link once.
fn bytes(tree: &Tree) -> u64 {
    let mut seen = HashSet::new();
    let files = tree.walk().into_iter().filter(|(_, id)| seen.insert(*id));
    let size = |id| match &tree.node(id).kind {
        NodeKind::File(content) => content.size,
        _ => 0,
    };
    files.map(|(_, id)| size(id)).sum()
}

/// What content takes that another tree has not.
struct Sizes<'a> {
    store: &'a Store,
    known: HashSet<BlobId>,
}

impl<'a> Sizes<'a> {
    fn beside(store: &'a Store, tree: &Tree) -> Self {
        let mut known = HashSet::new();
        for (_, id) in tree.walk() {
            if let NodeKind::File(content) = &tree.node(id).kind {
                known.extend(content.blobs().map(|(id, _)| id));
            }
        }
        Self { store, known }
    }

    /// Stored bytes of a file that were not counted before.
    fn stored(&mut self, tree: &Tree, path: &[u8]) -> Result<u64> {
        let Some(NodeKind::File(content)) = tree.get(path).map(|id| &tree.node(id).kind) else {
            return Ok(0);
        };
        let mut sum = 0;
        for (id, _) in content.blobs() {
            if self.known.insert(id) {
                sum += self.store.stored_bytes(&id)?;
            }
        }
        Ok(sum)
    }
}
