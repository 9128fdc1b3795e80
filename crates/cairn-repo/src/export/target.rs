//! Where an export goes: a file that appears whole or not at all, or whatever else the user named.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn_model::{Unfinished, Watch};

use crate::error::{At, Error, Result};

const LINKS_MAX: usize = 40;
const MODE: u32 = 0o644;

/// A file to be written.
pub struct Target {
    /// As the user named it.
    name: PathBuf,
    place: Place,
}

enum Place {
    /// A regular file, or none yet: written beside it and put in place at the end.
    Replaced {
        path: PathBuf,
        file: tempfile::NamedTempFile,
        mode: u32,
        _unfinished: Unfinished,
    },
    /// A device, a pipe, a socket: there is nothing to replace, what is written goes into it.
    Through(File),
}

impl Target {
    /// Opens `name`, following links as every program does that writes a file.
    pub fn open(name: &Path, watch: &Watch) -> Result<Self> {
        let path = followed(name)?;
        let mode = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {
                return Err(Error::Invalid(format!(
                    "{} is a directory; choose a file to write to",
                    name.display()
                )));
            }
            Ok(meta) if !meta.is_file() => {
                // A link to an open file (/dev/stdout) may lead to a regular one that others append to.
                let regular = path.metadata().is_ok_and(|meta| meta.is_file());
                let mut options = File::options();
                let file = options.write(true).append(regular).open(&path);
                let file = file.at("open", name)?;
                return Ok(Self {
                    name: name.to_owned(),
                    place: Place::Through(file),
                });
            }
            Ok(meta) => meta.permissions().mode() & 0o777,
            Err(e) if e.kind() == io::ErrorKind::NotFound => MODE,
            Err(e) => return Err(e).at("look at", name),
        };
        let directory = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(directory)
            .at("create a temporary file in", directory)?;
        Ok(Self {
            name: name.to_owned(),
            place: Place::Replaced {
                _unfinished: watch.unfinished(file.path()),
                path,
                file,
                mode,
            },
        })
    }

    /// Where to write to.
    pub fn writer(&self) -> Result<Box<dyn Write>> {
        let file = match &self.place {
            Place::Replaced { file, .. } => file.as_file(),
            Place::Through(file) => file,
        };
        let file = file.try_clone().at("open", &self.name)?;
        Ok(Box::new(io::BufWriter::with_capacity(1 << 18, file)))
    }

    /// Puts the file in place, durably. What was written through is where it is.
    pub fn finish(self) -> Result<()> {
        let Place::Replaced {
            path, file, mode, ..
        } = self.place
        else {
            return Ok(());
        };
        let permissions = std::fs::Permissions::from_mode(mode);
        file.as_file()
            .set_permissions(permissions)
            .at("change the mode of", &self.name)?;
        file.as_file().sync_all().at("sync", &self.name)?;
        file.persist(&path)
            .map_err(|e| e.error)
            .at("put in place", &self.name)?;
        Ok(())
    }
}

/// The end of a chain of links, which need not exist.
fn followed(name: &Path) -> Result<PathBuf> {
    let mut path = name.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            // Links in /proc/self/fd lead to what is open, not to a path: it is opened as it is.
            Ok(_) if is_open_file(&path) => return Ok(path),
            Ok(target) => {
                let directory = path.parent().unwrap_or(Path::new(""));
                path = directory.join(target);
            }
            Err(_) => return Ok(path),
        }
    }
    let e = io::Error::other("too many levels of symbolic links");
    Err(e).at("look at", name)
}

fn is_open_file(link: &Path) -> bool {
    let Some(directory) = link.parent().and_then(|d| d.canonicalize().ok()) else {
        return false;
    };
    directory.starts_with("/proc") && directory.ends_with("fd")
}
