//! Files of a layout by name, from a directory or from inside a tar that is not unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Error, Result};

const MEMBERS_MAX: usize = 1 << 20;
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

impl Archive {
    /// The files of a tar; reads its headers only.
    pub fn of_tar(name: &str, file: File) -> Result<Self> {
        let bad = |e: io::Error| Error::invalid(name, format!("its tar is broken or cut off: {e}"));
        let length = file.metadata().map_err(bad)?.len();
        let mut members = HashMap::new();
        let mut tar = tar::Archive::new(&file);
        for entry in tar.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let Some(path) = tidy(&String::from_utf8_lossy(&entry.path_bytes())) else {
                return Err(Error::invalid(
                    name,
                    "a file in it has a name outside of it",
                ));
            };
            let kind = entry.header().entry_type();
            let member = if kind.is_symlink() || kind.is_hard_link() {
                let target = entry
                    .link_name_bytes()
                    .map(|l| String::from_utf8_lossy(&l).into_owned())
                    .unwrap_or_default();
                let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target = if kind.is_symlink() {
                    format!("{beside}/{target}")
                } else {
                    target
                };
                Member::Link(
                    tidy(&target)
                        .ok_or_else(|| Error::invalid(name, "a link in it leads outside of it"))?,
                )
            } else if kind.is_file() {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(Error::invalid(name, format!("it is cut off inside {path}")));
                }
                Member::Data { offset, size }
            } else {
                continue;
            };
            members.insert(path, member);
            if members.len() > MEMBERS_MAX {
                return Err(Error::invalid(
                    name,
                    "it has more files than any image needs",
                ));
            }
        }
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
