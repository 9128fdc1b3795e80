//! Tars that are no layers: what `cairn cp -` reads and writes.
//!
//! They go through the reader and the writer of layers, so that nothing is taken here that an import refuses.

use std::io::{self, Read, Write};

use cairn_model::{Content, Entry, Kind};
use tar::EntryType;

use super::holes::Runs;
use super::members::{Input, Member, Members, Next};
use super::source::Source;
use super::sparse::{is_sparse, sparse_map};
use super::{BLOCK, CanonicalTar, padding};
use crate::error::{Error, Result};
use crate::layer::Limits;
use crate::path::clean;

/// Tells `visit` of every member of the tar that `input` gives, with a reader of its data where it is a file.
/// Of a file's content only the size is known. Markers of layers are files like all others.
pub fn read_stream<E: From<Error>>(
    input: &mut dyn Read,
    limits: Limits,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut input = Stream(Source::new(input, limits.bytes_max));
    let mut members = Members::new(limits.header_bytes_max);
    let mut count = 0;
    loop {
        let member = match members.next(&mut input)? {
            Next::Member(member) => *member,
            Next::End => return Ok(()),
            Next::Cut => {
                let why = "it ends without its end mark: it was cut off".into();
                let at = input.at();
                return Err(Error::Tar { at, why }.into());
            }
        };
        count += 1;
        within("entries", count, limits.entries_max, "--max-entries")?;
        let bytes = member.data_bytes();
        let mut left = bytes;
        let holes = holes(&mut input, &member, &limits, &mut left)?;
        let source = &mut input.0;
        let mut data = Data { source, left };
        if let Some(mut entry) = entry(member)? {
            match (holes, &mut entry.kind) {
                (Some(holes), Kind::File(content)) => {
                    content.size = holes.size;
                    visit(entry, &mut holes.over(&mut data))?;
                }
                _ => visit(entry, &mut data)?,
            }
        }
        data.finish(padding(bytes))?;
    }
}

/// The runs of data of a file with holes; of `stored` bytes, what its map takes is gone from the input.
fn holes(
    input: &mut Stream<'_>,
    member: &Member,
    limits: &Limits,
    stored: &mut u64,
) -> Result<Option<Runs>> {
    if !member.is_file() || !is_sparse(member) {
        return Ok(None);
    }
    let path = clean(&member.decoded.path)?;
    let map = sparse_map(input, member, &path, limits.header_bytes_max, stored)?;
    let Some((runs, size)) = map else {
        return Ok(None);
    };
    within("bytes", size, limits.bytes_max, "--max-bytes")?;
    Runs::new(runs, size, *stored, &path).map(Some)
}

fn within(what: &'static str, count: u64, limit: u64, option: &'static str) -> Result<()> {
    match count <= limit {
        true => Ok(()),
        false => Err(Error::Limit {
            what,
            limit,
            option,
        }),
    }
}

/// The member as an entry; `None` for what only describes the archive.
fn entry(member: Member) -> Result<Option<Entry>> {
    if member.is_label() {
        return Ok(None);
    }
    let path = clean(&member.decoded.path)?;
    let refused = |why: &str| Err(Error::entry(&path, why));
    let size = member.data_bytes();
    let is_directory = member.is_directory();
    let is_file = member.is_file();
    let decoded = member.decoded;
    let (major, minor) = decoded.device;
    let kind = match decoded.kind {
        _ if is_directory => Kind::Directory,
        _ if is_file => Kind::File(Content {
            size,
            pieces: Vec::new(),
        }),
        EntryType::Symlink
            if decoded.link.is_empty()
                || decoded.link.contains(&0)
                || decoded.link.len() > 4095 =>
        {
            return refused("its symbolic link has no target a file system takes");
        }
        EntryType::Symlink => Kind::Symlink(decoded.link),
        EntryType::Link => Kind::Hardlink(clean(&decoded.link)?),
        EntryType::Char => Kind::CharDevice { major, minor },
        EntryType::Block => Kind::BlockDevice { major, minor },
        EntryType::Fifo => Kind::Fifo,
        _ => return refused("entries of its type are not supported"),
    };
    let meta = decoded.meta;
    Ok(Some(Entry { path, meta, kind }))
}

struct Stream<'a>(Source<'a>);

impl Input for Stream<'_> {
    fn at(&self) -> u64 {
        self.0.at
    }

    fn peek(&mut self) -> Result<&[u8]> {
        self.0.peek(BLOCK)
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>> {
        // Never more at once than the window holds.
        let mut out = Vec::new();
        while out.len() < size {
            out.extend_from_slice(self.0.some((size - out.len()) as u64)?);
        }
        Ok(out)
    }
}

/// The data of one member.
struct Data<'a, 'b> {
    source: &'a mut Source<'b>,
    left: u64,
}

impl Data<'_, '_> {
    /// Passes over what was not read.
    fn finish(mut self, padding: u64) -> Result<()> {
        self.left += padding;
        while self.left > 0 {
            self.left -= self.source.some(self.left)?.len() as u64;
        }
        Ok(())
    }
}

impl Read for Data<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = self.left.min(buffer.len() as u64);
        let some = match want {
            0 => return Ok(0),
            want => self.source.some(want).map_err(io::Error::other)?,
        };
        buffer[..some.len()].copy_from_slice(some);
        self.left -= some.len() as u64;
        Ok(some.len())
    }
}

/// Writes entries one after another as a tar.
pub struct TarWriter<W: Write>(CanonicalTar<W>);

impl<W: Write> TarWriter<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self(CanonicalTar::new(out))
    }

    /// Adds an entry. A file gets as many bytes of `content` as it is said to have, and zeros where that ends
    /// before; true where it did.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<bool> {
        self.0.header(entry)?;
        let Kind::File(Content { size, .. }) = entry.kind else {
            return Ok(false);
        };
        let write = |e| Error::Write(e);
        let copied = io::copy(&mut content.take(size), self.0.out()).map_err(write)?;
        io::copy(&mut io::repeat(0).take(size - copied), self.0.out()).map_err(write)?;
        self.0.pad(size)?;
        Ok(copied < size)
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<W> {
        self.0.finish()
    }
}
