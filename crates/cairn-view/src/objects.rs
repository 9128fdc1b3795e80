//! The object cache: whole files, uncompressed, written once for all views that have them.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cairn_layer::{NodeKind, Tree, write_pieces};
use cairn_model::{Content, ObjectId};
use cairn_store::Store;

use crate::erofs::INLINE_BYTES_MAX;
use crate::error::{At, Error, Result};

/// Objects in a directory, as `ab/cdef…`.
#[derive(Debug, Clone)]
pub struct ObjectCache {
    directory: PathBuf,
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

    /// Writes every object of `tree` that is missing, on all cores. Not synced: after a crash an object
    /// of the wrong length is written again.
    pub fn fill(&self, store: &Store, tree: &Tree) -> Result<()> {
        let mut seen = HashSet::new();
        let mut wanted: Vec<(ObjectId, &Content)> = Vec::new();
        for (_, id) in tree.walk() {
            if let NodeKind::File(content) = &tree.node(id).kind
                && content.size > INLINE_BYTES_MAX
            {
                let object = content.object();
                if seen.insert(object) {
                    wanted.push((object, content));
                }
            }
        }
        for byte in 0..=255_u8 {
            let directory = self.directory.join(format!("{byte:02x}"));
            std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        }
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (next, failed, wanted) = (&next, &failed, &wanted);
                scope.spawn(move || {
                    let temporary = self
                        .directory
                        .join(format!("new-{}-{thread}", std::process::id()));
                    while let Some((id, content)) = wanted.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(e) = self.ensure(store, id, content, &temporary) {
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(e);
                            next.store(wanted.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    fn ensure(
        &self,
        store: &Store,
        id: &ObjectId,
        content: &Content,
        temporary: &Path,
    ) -> Result<()> {
        let path = self.path(id);
        if path
            .symlink_metadata()
            .is_ok_and(|m| m.len() == content.size)
        {
            return Ok(());
        }
        let _ = std::fs::remove_file(temporary);
        let file = File::create_new(temporary).at("create", temporary)?;
        let written = write_pieces(
            store,
            content,
            file,
            temporary.as_os_str().as_encoded_bytes(),
        );
        if let Err(e) = written {
            let _ = std::fs::remove_file(temporary);
            return Err(e.into());
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        std::fs::set_permissions(temporary, mode).at("change the mode of", temporary)?;
        std::fs::rename(temporary, &path).at("rename", temporary)
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
