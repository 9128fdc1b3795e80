//! Files of a layout by name, from a directory or from inside a tar that is not unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::documents::DOCUMENT_BYTES_MAX;
use crate::error::{At, Error, Result};
use crate::members::{End, Member, tidy, walk};

const MEMBERS_MAX: usize = 1 << 20;
const NAME_BYTES_MAX: usize = 64 << 20;
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
                "the archive is truncated",
            ));
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Archive {
    /// The files of a tar; reads its headers only.
    pub fn of_tar(name: &str, file: File) -> Result<Self> {
        let mut members = HashMap::new();
        let mut bytes = 0;
        let mut add = |path: String, member: Member| {
            bytes += path.len();
            if let Member::Link(target) = &member {
                bytes += target.len();
            }
            members.insert(path, member);
            if members.len() > MEMBERS_MAX || bytes > NAME_BYTES_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        if let End::Broken(why) = walk(&file, &mut add) {
            return Err(Error::invalid(name, why));
        }
        if members.len() > MEMBERS_MAX || bytes > NAME_BYTES_MAX {
            let why = "it contains too many files for an image";
            return Err(Error::invalid(name, why));
        }
        Ok(Self::of_members(name, file, members))
    }

    /// These files of a tar.
    pub fn of_members(name: &str, file: File, members: HashMap<String, Member>) -> Self {
        Self::Tar {
            name: name.to_owned(),
            file: Arc::new(file),
            members: Arc::new(members),
        }
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
        if blob.len() > DOCUMENT_BYTES_MAX as u64 {
            return Err(Error::invalid(
                format!("{member} of {}", self.name()),
                format!(
                    "it has {} bytes, but at most {DOCUMENT_BYTES_MAX} are allowed",
                    blob.len()
                ),
            ));
        }
        let mut out = Vec::with_capacity(blob.len() as usize);
        blob.read_to_end(&mut out).at("read", Path::new(member))?;
        Ok(out)
    }
}
