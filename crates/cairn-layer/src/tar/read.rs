//! Reads a layer's tar: contents to the store, everything else to manifest and framing.

use std::io::Read;

use cairn_model::{Digest, Entry, Kind};
use cairn_store::{CHUNK_BYTES_AVG, Cutter, Feeder};
use tar::EntryType;

use super::header::Decoded;
use super::marker::Marker;
use super::members::{Input, Member, Members, Next};
use super::source::Source;
use super::sparse::{Segments, sparse_map};
use super::{BLOCK, FramingWriter, padding};
use crate::error::{Error, Result};
use crate::layer::{DraftPiece, Framing, Layer, LayerWriter, Limits};
use crate::path::clean;

/// What an import of a tar gives.
#[derive(Debug)]
pub struct TarImport {
    /// The layer; its diff id is that of the bytes read.
    pub layer: Layer,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// SHA-256 of all bytes of the stream.
    pub diff_id: Digest,
    /// True where the archive ends as the format says, with zero blocks. A cut at the border of two
    /// entries shows nowhere else; a caller that knows no digest should insist on it.
    pub ended: bool,
}

/// Imports the tar that `input` gives, to its end.
pub fn import_tar(input: &mut dyn Read, feeder: Feeder, limits: Limits) -> Result<TarImport> {
    let _span = tracing::debug_span!("read_tar").entered();
    let mut writer = LayerWriter::new(feeder, limits);
    let framing = FramingWriter::new(&mut writer.feeder)?;
    let source = Source::new(input, limits.bytes_max);
    let mut import = Import {
        source,
        writer,
        framing,
        limits,
        cutter: Cutter::default(),
    };
    let ended = import.archive()?;
    let Import {
        source,
        writer,
        framing,
        ..
    } = import;
    let tar_bytes = source.at;
    let diff_id = source.digest();
    let (mut layer, entries) = writer.finish_with(|_| Ok(Framing::Read(framing)))?;
    layer.diff_id = Some(diff_id);
    layer.tar_bytes = Some(tar_bytes);
    Ok(TarImport {
        layer,
        entries,
        diff_id,
        ended,
    })
}

struct Import<'a> {
    source: Source<'a>,
    writer: LayerWriter,
    framing: FramingWriter,
    limits: Limits,
    cutter: Cutter,
}

impl Input for Import<'_> {
    fn at(&self) -> u64 {
        self.source.at
    }

    fn peek(&mut self) -> Result<&[u8]> {
        self.source.peek(BLOCK)
    }

    /// All that is header is framing as a whole.
    fn take(&mut self, size: usize) -> Result<Vec<u8>> {
        let data = self.source.take(size)?.to_vec();
        self.framing.raw(&mut self.writer.feeder, &data)?;
        Ok(data)
    }
}

impl Import<'_> {
    /// All entries, then what follows them; true where the end was marked.
    fn archive(&mut self) -> Result<bool> {
        let mut members = Members::new(self.limits.header_bytes_max);
        loop {
            match members.next(self)? {
                Next::Member(member) => self.entry(*member)?,
                Next::Cut => return Ok(false),
                Next::End => {
                    self.rest()?;
                    return Ok(true);
                }
            }
        }
    }

    /// Data that is no content of a file, but has to come out again: framing.
    fn skip(&mut self, member: &Member) -> Result<()> {
        let size = member.data_bytes();
        let mut left = size.saturating_add(padding(size));
        while left > 0 {
            let some = self.source.some(left)?;
            left -= some.len() as u64;
            self.framing.raw(&mut self.writer.feeder, some)?;
        }
        Ok(())
    }

    fn entry(&mut self, member: Member) -> Result<()> {
        if member.is_label() {
            return self.skip(&member);
        }
        let path = clean(&member.decoded.path)?;
        match Marker::of(&path)? {
            Some(marker) => {
                self.skip(&member)?;
                return marker.push(&mut self.writer);
            }
            None if member.is_directory() => {
                self.skip(&member)?;
                return self.writer.push(path, member.decoded.meta, Kind::Directory);
            }
            None if member.is_file() => return self.file(member, path),
            None => {}
        }
        let Decoded {
            meta,
            link,
            kind,
            device: (major, minor),
            ..
        } = member.decoded;
        let kind = match kind {
            EntryType::Symlink if link.is_empty() || link.contains(&0) || link.len() > 4095 => {
                return Err(Error::entry(
                    &path,
                    "its symbolic link has no target a file system takes",
                ));
            }
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::Hardlink(clean(&link)?),
            EntryType::Char if (major, minor) == (0, 0) => {
                return Err(Error::entry(
                    &path,
                    "a character device 0:0 would hide what is below it",
                ));
            }
            EntryType::Char => Kind::CharDevice { major, minor },
            EntryType::Block => Kind::BlockDevice { major, minor },
            EntryType::Fifo => Kind::Fifo,
            other if other.as_byte() == b'M' => {
                return Err(Error::entry(
                    &path,
                    "it continues a file of another volume; give the volumes as one archive",
                ));
            }
            other => {
                return Err(Error::entry(
                    &path,
                    format!(
                        "entries of type {:?} are not supported",
                        char::from(other.as_byte())
                    ),
                ));
            }
        };
        self.writer.push(path, meta, kind)
    }

    fn file(&mut self, member: Member, path: Vec<u8>) -> Result<()> {
        let mut stored = member.data_bytes();
        let limit = self.limits.header_bytes_max;
        let sparse = sparse_map(self, &member, &path, limit, &mut stored)?;
        let index = self.writer.count();
        let (size, pieces) = match sparse {
            None => (stored, self.data(stored)?),
            Some((segments, size)) => (size, self.segments(&segments, size, stored, &path)?),
        };
        if stored > 0 {
            self.framing.entry(&mut self.writer.feeder, index)?;
            self.take(padding(stored) as usize)?;
        }
        self.writer
            .push_file(path, member.decoded.meta, size, pieces)
    }

    /// `stored` bytes of content, cut into blobs.
    fn data(&mut self, stored: u64) -> Result<Vec<DraftPiece>> {
        if stored == 0 {
            return Ok(Vec::new());
        }
        if stored <= CHUNK_BYTES_AVG as u64 {
            let content = self.source.take(stored as usize)?;
            let ticket = self.writer.feeder.put(content)?;
            return Ok(vec![DraftPiece::Data(ticket, stored as u32)]);
        }
        let mut parts = Vec::new();
        let mut left = stored;
        while left > 0 {
            let some = self.source.some(left)?;
            left -= some.len() as u64;
            self.cutter
                .feed(&mut self.writer.feeder, some, &mut parts)?;
        }
        self.cutter.finish(&mut self.writer.feeder, &mut parts)?;
        Ok(parts
            .into_iter()
            .map(|(ticket, len)| DraftPiece::Data(ticket, len))
            .collect())
    }

    fn segments(
        &mut self,
        segments: &Segments,
        size: u64,
        stored: u64,
        path: &[u8],
    ) -> Result<Vec<DraftPiece>> {
        let mut pieces = Vec::new();
        let (mut at, mut data) = (0, 0);
        for (offset, length) in segments {
            if *offset < at || offset.checked_add(*length).is_none_or(|end| end > size) {
                return Err(Error::entry(
                    path,
                    "the map of the sparse file is out of order or past its end",
                ));
            }
            if *offset > at {
                pieces.push(DraftPiece::Hole(offset - at));
            }
            data += length;
            if data > stored {
                break;
            }
            pieces.extend(self.data(*length)?);
            at = offset + length;
        }
        if data != stored {
            return Err(Error::entry(
                path,
                "the map of the sparse file and its data disagree",
            ));
        }
        if at < size {
            pieces.push(DraftPiece::Hole(size - at));
        }
        Ok(pieces)
    }

    /// What follows the last entry: zero blocks, and whatever else is there.
    fn rest(&mut self) -> Result<()> {
        loop {
            let available = self.source.ensure(64 * 1024)?;
            if available == 0 {
                return Ok(());
            }
            let bytes = self.source.consume(available);
            self.framing.raw(&mut self.writer.feeder, bytes)?;
        }
    }
}
