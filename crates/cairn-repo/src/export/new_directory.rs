//! The directory an export fills: what was made of it goes again when the export fails.

use std::fs::Permissions;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cairn_model::{Unfinished, Watch};

use crate::error::{At, Error, Result};

/// A directory that is being filled.
#[must_use = "what is in it goes when this is dropped"]
pub(crate) struct NewDirectory {
    path: PathBuf,
    /// Directories that were made, the outermost first; the last is `path`, unless that was there.
    made: Vec<PathBuf>,
    /// What `path` was like, where it was there.
    before: Option<Permissions>,
    kept: bool,
    _unfinished: Unfinished,
}

impl NewDirectory {
    /// Makes a directory with this mode less the user's mask, or takes an empty one.
    pub fn prepare(path: &Path, mode: u32, watch: &Watch) -> Result<Self> {
        let empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        if !empty {
            return Err(Error::Invalid(format!(
                "{} is not empty; export into a new directory",
                path.display()
            )));
        }
        let mut out = Self {
            path: path.to_owned(),
            made: Vec::new(),
            before: None,
            kept: false,
            _unfinished: watch.unfinished(path),
        };
        if path.is_dir() {
            let meta = path.metadata().at("look at", path)?;
            out.before = Some(meta.permissions());
            return Ok(out);
        }
        let above = path.ancestors().skip(1);
        let missing = above.take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let mut missing: Vec<&Path> = missing.collect();
        missing.reverse();
        for parent in missing {
            match std::fs::create_dir(parent) {
                Ok(()) => out.made.push(parent.to_owned()),
                // Somebody else was first; it is theirs.
                Err(_) if parent.is_dir() => {}
                Err(e) => return Err(e).at("create directory", parent),
            }
        }
        let created = std::fs::DirBuilder::new().mode(mode).create(path);
        created.at("create directory", path)?;
        out.made.push(path.to_owned());
        Ok(out)
    }

    /// What is in it stays.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The export's own error is the one to tell. It was empty or not there, so all in it is ours; a
        // directory above that somebody else put something into stays.
        let is_ours = self.made.last() == Some(&self.path);
        if is_ours || self.before.is_some() {
            for entry in std::fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten()
            {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let _ = if is_directory {
                    std::fs::remove_dir_all(entry.path())
                } else {
                    std::fs::remove_file(entry.path())
                };
            }
        }
        if let Some(before) = self.before.take() {
            let _ = std::fs::set_permissions(&self.path, before);
        }
        for directory in self.made.iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
