//! What is where in a tar that is a file: reads headers, seeks over contents.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tar::EntryType;

use super::members::{Input, Members, Next};
use super::sparse::is_sparse;
use super::{BLOCK, padding};
use crate::error::{Error, Result};
use crate::layer::Limits;

/// A member of a tar file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its name as it stands there.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: IndexedKind,
}

/// What a member of a tar file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexedKind {
    /// A file whose content is here.
    Data {
        /// Offset in the archive.
        offset: u64,
        /// Length in bytes.
        size: u64,
    },
    /// A hard link to this name.
    Hardlink(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}

/// Tells `visit` of every member of the tar in `file`, with the reader and the limits that an import of it
/// as a layer has; `visit` says whether to go on. Contents are not read.
pub fn index_tar(
    file: &File,
    limits: Limits,
    visit: &mut dyn FnMut(Indexed) -> bool,
) -> Result<()> {
    let mut input = FileInput {
        file,
        at: 0,
        end: file.metadata().map_err(Error::Read)?.len(),
        block: Vec::new(),
    };
    let mut members = Members::new(limits.header_bytes_max);
    let mut count = 0;
    while let Next::Member(member) = members.next(&mut input)? {
        count += 1;
        if count > limits.entries_max {
            return Err(Error::Limit {
                what: "entries",
                limit: limits.entries_max,
                option: "--max-entries",
            });
        }
        let sparse = member.is_file() && is_sparse(&member);
        if member.header.entry_type() == EntryType::GNUSparse {
            let mut more = member.header.as_gnu().is_some_and(|gnu| gnu.is_extended());
            while more {
                // The flag that another block of the map follows: the byte after 21 pairs of numbers.
                more = input.take(BLOCK)?[504] == 1;
            }
        }
        let (offset, size) = (input.at, member.data_bytes());
        let is_data = member.is_file() && !member.is_directory() && !sparse;
        let kind = match member.decoded.kind {
            EntryType::Link => IndexedKind::Hardlink(member.decoded.link),
            EntryType::Symlink => IndexedKind::Symlink(member.decoded.link),
            _ if is_data => IndexedKind::Data { offset, size },
            _ => IndexedKind::Other,
        };
        input.skip(size)?;
        // The padding of the last member may be missing; the end is looked for behind it all the same.
        let gap = padding(size).min(input.end - input.at);
        input.skip(gap)?;
        let path = member.decoded.path;
        if !visit(Indexed { path, kind }) {
            break;
        }
    }
    Ok(())
}

struct FileInput<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    block: Vec<u8>,
}

impl FileInput<'_> {
    fn skip(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.end - self.at {
            let (at, why) = (self.end, "it ends inside an entry".into());
            return Err(Error::Tar { at, why });
        }
        self.at += bytes;
        Ok(())
    }
}

impl Input for FileInput<'_> {
    fn at(&self) -> u64 {
        self.at
    }

    fn peek(&mut self) -> Result<&[u8]> {
        let length = (self.end - self.at).min(BLOCK as u64) as usize;
        self.block.resize(length, 0);
        let read = self.file.read_exact_at(&mut self.block, self.at);
        read.map_err(Error::Read)?;
        Ok(&self.block)
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>> {
        let start = self.at;
        self.skip(size as u64)?;
        let mut out = vec![0; size];
        self.file
            .read_exact_at(&mut out, start)
            .map_err(Error::Read)?;
        Ok(out)
    }
}
