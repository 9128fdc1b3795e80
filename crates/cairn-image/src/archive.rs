//! Files of a layout by name, from a directory or from inside a tar that is not unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_layer::{Indexed, IndexedKind};

use crate::error::{At, Error, Result};

/// Files that are kept in mind; an image has a few thousand at most.
const MEMBERS_MAX: usize = 1 << 20;
const NAMES_BYTES_MAX: usize = 64 << 20;
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
const LINKS_MAX: usize = 16;

/// Where the files of an image are.
#[derive(Debug, Clone)]
pub enum Archive {
    /// A directory.
    Directory(PathBuf),
    /// A tar, uncompressed and seekable.
    Tar {
        name: String,
        file: Arc<File>,
        members: Arc<HashMap<String, Member>>,
    },
}

/// A file in a tar.
#[derive(Debug, Clone)]
pub enum Member {
    /// Its bytes are here.
    Data { offset: u64, size: u64 },
    /// It is another name of this one.
    Link(String),
}

/// Bytes of one file, from its start.
#[derive(Debug)]
pub struct Blob {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Blob {
    /// Bytes that are left.
    pub fn len(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Blob {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = out
            .len()
            .min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut out[..want], self.at)?;
        if read == 0 && want > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive is cut off",
            ));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// A name without `./` and doubled slashes; `None` where it would leave the archive.
fn tidy(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A file or link of a tar under its tidy name; `None` for anything else.
fn member(indexed: Indexed) -> Option<(String, Member)> {
    let path = tidy(&String::from_utf8_lossy(&indexed.path))?;
    let member = match indexed.kind {
        IndexedKind::Data { offset, size } => Member::Data { offset, size },
        IndexedKind::Hardlink(target) => Member::Link(tidy(&String::from_utf8_lossy(&target))?),
        IndexedKind::Symlink(target) => {
            let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = String::from_utf8_lossy(&target);
            Member::Link(tidy(&format!("{beside}/{target}"))?)
        }
        IndexedKind::Other => return None,
    };
    Some((path, member))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        out += &format!(": {error}");
        cause = error.source();
    }
    out
}

impl Archive {
    /// The files of a tar; reads its headers only, as an import of it as a layer would. Files with names
    /// outside of it, links that lead there and what comes after [`MEMBERS_MAX`] files cannot be opened.
    pub fn of_tar(name: &str, file: File) -> Result<Self> {
        let mut members = HashMap::new();
        let mut bytes = 0;
        let limits = cairn_layer::Limits {
            entries_max: u64::MAX,
            ..Default::default()
        };
        let done = cairn_layer::index_tar(&file, limits, &mut |indexed| {
            if let Some((path, member)) = member(indexed) {
                bytes += path.len();
                members.insert(path, member);
            }
            members.len() < MEMBERS_MAX && bytes < NAMES_BYTES_MAX
        });
        done.map_err(|e| Error::invalid(name, chain(&e)))?;
        Ok(Self::Tar {
            name: name.to_owned(),
            file: Arc::new(file),
            members: Arc::new(members),
        })
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Tar { name, .. } => name.clone(),
        }
    }

    /// Names of the files in a tar; none for a directory.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let members = match self {
            Self::Directory(_) => None,
            Self::Tar { members, .. } => Some(members),
        };
        members
            .into_iter()
            .flat_map(|m| m.keys())
            .map(String::as_str)
    }

    /// True where there is such a file.
    pub fn has(&self, member: &str) -> bool {
        self.open(member).is_ok()
    }

    /// Opens a file.
    pub fn open(&self, member: &str) -> Result<Blob> {
        let missing = || Error::Missing {
            archive: self.name(),
            member: member.to_owned(),
        };
        let mut name = tidy(member).ok_or_else(missing)?;
        match self {
            Self::Directory(root) => {
                let path = root.join(&name);
                // A layout is data from outside: its links must not lead to files of this machine.
                let real = path.canonicalize().map_err(|_| missing())?;
                let root = root.canonicalize().at("open", root)?;
                if !real.starts_with(&root) || !real.is_file() {
                    return Err(missing());
                }
                let file = File::open(&real).at("open", &real)?;
                let end = file.metadata().at("stat", &real)?.len();
                Ok(Blob {
                    file: Arc::new(file),
                    at: 0,
                    end,
                })
            }
            Self::Tar { file, members, .. } => {
                for _ in 0..LINKS_MAX {
                    match members.get(&name).ok_or_else(missing)? {
                        Member::Link(target) => name.clone_from(target),
                        Member::Data { offset, size } => {
                            return Ok(Blob {
                                file: file.clone(),
                                at: *offset,
                                end: offset + size,
                            });
                        }
                    }
                }
                Err(missing())
            }
        }
    }

    /// A whole small file.
    pub fn document(&self, member: &str) -> Result<Vec<u8>> {
        let mut blob = self.open(member)?;
        if blob.len() > DOCUMENT_BYTES_MAX {
            return Err(Error::invalid(
                format!("{member} of {}", self.name()),
                format!("{} bytes are too many for a document", blob.len()),
            ));
        }
        let mut out = Vec::with_capacity(blob.len() as usize);
        blob.read_to_end(&mut out).at("read", Path::new(member))?;
        Ok(out)
    }
}
