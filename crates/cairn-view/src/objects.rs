//! The object cache: whole files, uncompressed, written once for all views that have them.
//!
//! Nothing here is synced. What an object holds is held against the pieces it was made of: when it is
//! needed for the first time after a boot, and whenever it changed since. One that is missing, cut short
//! or damaged is made again from the store.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cairn_layer::{NodeKind, Tree, write_pieces};
use cairn_model::{Content, ObjectId};
use cairn_store::Store;
use cairn_sys::threads;

use crate::checked::{open_regular, remove_other_than_file};
use crate::erofs::INLINE_BYTES_MAX;
use crate::error::{At, Result};
use crate::verified::Verified;
use crate::verify::{Fingerprint, Verify, holds};

/// Objects in a directory, as `ab/cdef…`.
#[derive(Debug, Clone)]
pub struct ObjectCache {
    directory: PathBuf,
}

/// What became of an object that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is as it should be.
    Whole,
    /// It was not there, and was made.
    Missing,
    /// It was damaged, and was made again.
    Damaged,
}

/// A look at objects: how closely, and who is told of the bytes read.
pub(crate) struct Look<'a> {
    pub verify: Verify,
    pub verified: &'a Verified,
    pub spent: &'a (dyn Fn(u64) + Sync),
}

/// Contents of `tree` that objects hold, each once.
pub(crate) fn contents(tree: &Tree) -> Vec<Content> {
    let all = each_content(tree, |content| content.size > INLINE_BYTES_MAX);
    all.into_iter()
        .map(|(_, content)| content.clone())
        .collect()
}

/// Contents of `tree` that are `wanted`, each once, with their objects.
pub(crate) fn each_content(
    tree: &Tree,
    wanted: impl Fn(&Content) -> bool,
) -> Vec<(ObjectId, &Content)> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for id in tree.ids() {
        if let NodeKind::File(content) = &tree.node(id).kind
            && wanted(content)
        {
            let object = content.object();
            if seen.insert(object) {
                out.push((object, content));
            }
        }
    }
    out
}

/// Does `work` for every item on all cores, and ends with the first error.
pub(crate) fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    threads::for_each(threads::for_items(items.len()), items, |_, item| work(item))
}

impl ObjectCache {
    /// The cache in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where an object is, or would be.
    pub fn path(&self, id: &ObjectId) -> PathBuf {
        let hex = id.hex();
        self.directory.join(&hex[..2]).join(&hex[2..])
    }

    /// Makes every object of `wanted` that is missing or not whole, on all cores. Not synced.
    pub(crate) fn fill(&self, store: &Store, wanted: &[Content], look: &Look<'_>) -> Result<()> {
        std::fs::create_dir_all(&self.directory).at("create directory", &self.directory)?;
        let done = for_each(wanted, |content| {
            self.ensure(store, content, look).map(drop)
        });
        // What was found whole before a failure need not be read again.
        let saved = look.verified.save();
        done.and(saved)
    }

    /// Sees to it that one object is there and whole.
    pub(crate) fn ensure(
        &self,
        store: &Store,
        content: &Content,
        look: &Look<'_>,
    ) -> Result<Found> {
        let id = content.object();
        let path = self.path(&id);
        let found = match self.look_at(&path, &id, content, look) {
            Ok(true) => return Ok(Found::Whole),
            Ok(false) => Found::Damaged,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Missing,
            // Not readable, or not a file: whatever it is, another takes its place.
            Err(_) => Found::Damaged,
        };
        self.make(store, content, &path)?;
        let print = Fingerprint::from(&path.symlink_metadata().at("stat", &path)?);
        look.verified.remember(&id, print)?;
        Ok(found)
    }

    fn look_at(
        &self,
        path: &Path,
        id: &ObjectId,
        content: &Content,
        look: &Look<'_>,
    ) -> io::Result<bool> {
        let meta = path.symlink_metadata()?;
        let print = Fingerprint::from(&meta);
        if !meta.is_file() || meta.len() != content.size {
            return Ok(false);
        }
        let known = match look.verify {
            Verify::Never => true,
            Verify::Boot => look.verified.in_this_boot(id, &print),
            Verify::Always => false,
        };
        if known {
            return Ok(true);
        }
        let file = open_regular(path)?;
        let before = Fingerprint::from(&file.metadata()?);
        let whole = holds(&file, content, look.spent)?;
        // Only what did not change under the reading is known.
        if whole && before == Fingerprint::from(&file.metadata()?) {
            look.verified
                .remember(id, before)
                .map_err(io::Error::other)?;
        }
        Ok(whole)
    }

    fn make(&self, store: &Store, content: &Content, path: &Path) -> Result<()> {
        let directory = path.parent().unwrap_or(&self.directory);
        std::fs::create_dir_all(directory).at("create directory", directory)?;
        // Goes by itself when something fails.
        let temporary = tempfile::NamedTempFile::new_in(&self.directory)
            .at("make a temporary file in", &self.directory)?;
        let name = path.as_os_str().as_encoded_bytes();
        let file: File = temporary.reopen().at("open", temporary.path())?;
        write_pieces(store, content, file, name)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        std::fs::set_permissions(temporary.path(), mode)
            .at("change the mode of", temporary.path())?;
        remove_other_than_file(path)?;
        temporary
            .persist(path)
            .map_err(|e| e.error)
            .at("put in place", path)?;
        Ok(())
    }

    /// Every object there is, with its file's state.
    pub(crate) fn list(&self) -> Vec<(ObjectId, Fingerprint)> {
        let mut out = Vec::new();
        for directory in std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let prefix = directory.file_name().to_string_lossy().into_owned();
            for file in std::fs::read_dir(directory.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = format!("{prefix}{}", file.file_name().to_string_lossy());
                if let (Ok(id), Ok(meta)) = (name.parse(), file.metadata()) {
                    out.push((id, Fingerprint::from(&meta)));
                }
            }
        }
        out
    }

    /// What each object takes on disk.
    pub(crate) fn sizes(&self) -> HashMap<ObjectId, u64> {
        let mut sizes = HashMap::new();
        let directories = std::fs::read_dir(&self.directory);
        for directory in directories.into_iter().flatten().flatten() {
            let prefix = directory.file_name().to_string_lossy().into_owned();
            let files = std::fs::read_dir(directory.path());
            for file in files.into_iter().flatten().flatten() {
                let name = format!("{prefix}{}", file.file_name().to_string_lossy());
                if let (Ok(id), Ok(meta)) = (name.parse(), file.metadata()) {
                    sizes.insert(id, std::os::unix::fs::MetadataExt::blocks(&meta) * 512);
                }
            }
        }
        sizes
    }

    /// Removes every object that `keep` does not have; returns how many and their bytes.
    pub fn retain(&self, keep: &HashSet<ObjectId>) -> Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        let Ok(directories) = std::fs::read_dir(&self.directory) else {
            return Ok((0, 0));
        };
        for directory in directories.flatten() {
            let prefix = directory.file_name().to_string_lossy().into_owned();
            let Ok(files) = std::fs::read_dir(directory.path()) else {
                let _ = std::fs::remove_file(directory.path());
                continue;
            };
            for file in files.flatten() {
                let name = format!("{prefix}{}", file.file_name().to_string_lossy());
                if name.parse().is_ok_and(|id| keep.contains(&id)) {
                    continue;
                }
                bytes += file
                    .metadata()
                    .map_or(0, |m| std::os::unix::fs::MetadataExt::blocks(&m) * 512);
                count += 1;
                std::fs::remove_file(file.path()).at("remove", &file.path())?;
            }
            // Goes only when it is empty.
            let _ = std::fs::remove_dir(directory.path());
        }
        Ok((count, bytes))
    }
}
