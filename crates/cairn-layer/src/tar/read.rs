//! Reads a layer's tar: contents to the store, everything else to manifest and framing.

use std::io::Read;

use cairn_model::{Digest, Entry, Kind};
use cairn_store::{CHUNK_BYTES_AVG, Cutter, Feeder};
use sha2::Digest as _;
use tar::{EntryType, Header};

use super::header::{Decoded, Extensions, decode};
use super::{BLOCK, FramingWriter, padding};
use crate::error::{Error, Result};
use crate::layer::{DraftPiece, Layer, LayerWriter, Limits};
use crate::path::{clean, join, split};

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
    let mut writer = LayerWriter::new(feeder, limits);
    let framing = FramingWriter::new(&mut writer.feeder)?;
    let source = Source::new(input, limits.bytes_max);
    let mut import = Import {
        source,
        writer,
        framing,
        limits,
        global: Extensions::default(),
        cutter: Cutter::default(),
    };
    let ended = import.archive()?;
    let Import {
        source,
        writer,
        framing,
        ..
    } = import;
    let diff_id = Digest::from_bytes(source.hasher.finalize().into());
    let (mut layer, entries) = writer.finish_with(Some(framing))?;
    layer.diff_id = Some(diff_id);
    layer.tar_bytes = Some(source.at);
    Ok(TarImport {
        layer,
        entries,
        diff_id,
        ended,
    })
}

/// The stream, hashed as it is read, with a window that holds at least what is asked for.
struct Source<'a> {
    input: &'a mut dyn Read,
    window: Vec<u8>,
    start: usize,
    end: usize,
    at: u64,
    bytes_max: u64,
    hasher: sha2::Sha256,
}

const WINDOW: usize = 1 << 20;

impl<'a> Source<'a> {
    fn new(input: &'a mut dyn Read, bytes_max: u64) -> Self {
        Self {
            input,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            at: 0,
            bytes_max,
            hasher: sha2::Sha256::new(),
        }
    }

    /// Reads until the window has `want` bytes (at most its size) or the stream ends.
    fn ensure(&mut self, want: usize) -> Result<usize> {
        debug_assert!(want <= WINDOW);
        if self.end - self.start < want && self.start + want > WINDOW {
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < want {
            let read = match self.input.read(&mut self.window[self.end..]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Read(e)),
            };
            self.hasher.update(&self.window[self.end..self.end + read]);
            self.end += read;
            if self.at + (self.end - self.start) as u64 > self.bytes_max {
                return Err(Error::Limit {
                    what: "bytes",
                    limit: self.bytes_max,
                    option: "--max-bytes",
                });
            }
        }
        Ok(self.end - self.start)
    }

    fn consume(&mut self, count: usize) -> &[u8] {
        let taken = &self.window[self.start..self.start + count];
        self.start += count;
        self.at += count as u64;
        taken
    }

    /// The next `count` bytes, which must be there.
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        if self.ensure(count)? < count {
            return Err(Error::Tar {
                at: self.at + (self.end - self.start) as u64,
                why: "it ends inside an entry".into(),
            });
        }
        Ok(self.consume(count))
    }

    /// The next bytes, at least one and at most `count`, which must be there.
    fn some(&mut self, count: u64) -> Result<&[u8]> {
        if self.ensure(1)? == 0 {
            return Err(Error::Tar {
                at: self.at,
                why: "it ends inside an entry".into(),
            });
        }
        let n = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(self.end - self.start);
        Ok(self.consume(n))
    }
}

struct Import<'a> {
    source: Source<'a>,
    writer: LayerWriter,
    framing: FramingWriter,
    limits: Limits,
    global: Extensions,
    cutter: Cutter,
}

/// Runs of data inside a file: offset and length.
type Segments = Vec<(u64, u64)>;

impl Import<'_> {
    /// All entries, then what follows them; true where the end was marked.
    fn archive(&mut self) -> Result<bool> {
        let mut ext = Extensions::default();
        loop {
            let at = self.source.at;
            match self.source.ensure(BLOCK)? {
                0 => return Ok(at == 0),
                n if n < BLOCK => {
                    return Err(Error::Tar {
                        at,
                        why: "it ends inside a header".into(),
                    });
                }
                _ => {}
            }
            if self.source.window[self.source.start..][..BLOCK]
                .iter()
                .all(|b| *b == 0)
            {
                self.rest()?;
                return Ok(true);
            }
            let header = self.header(at)?;
            let size = || {
                header.entry_size().map_err(|_| Error::Tar {
                    at,
                    why: "the size in a header is not a number".into(),
                })
            };
            match header.entry_type() {
                EntryType::XHeader => {
                    let data = self.extension(size()?)?;
                    ext.add_pax(&data).ok_or_else(|| bad_pax(at))?;
                }
                EntryType::XGlobalHeader => {
                    let data = self.extension(size()?)?;
                    self.global.add_pax(&data).ok_or_else(|| bad_pax(at))?;
                }
                EntryType::GNULongName => {
                    let name = self.extension(size()?)?;
                    ext.set(b"path", until_nul(&name));
                }
                EntryType::GNULongLink => {
                    let name = self.extension(size()?)?;
                    ext.set(b"linkpath", until_nul(&name));
                }
                _ => self.entry(&header, std::mem::take(&mut ext).over(&self.global), at)?,
            }
        }
    }

    fn header(&mut self, at: u64) -> Result<Header> {
        let block = self.source.take(BLOCK)?.to_vec();
        self.framing.raw(&mut self.writer.feeder, &block)?;
        let header = Header::from_byte_slice(&block).clone();
        let others = block
            .iter()
            .enumerate()
            .filter(|(i, _)| !(148..156).contains(i));
        let unsigned: u32 = others.clone().map(|(_, b)| u32::from(*b)).sum::<u32>() + 8 * 32;
        let signed: i32 = others.map(|(_, b)| i32::from(b.cast_signed())).sum::<i32>() + 8 * 32;
        match header.cksum() {
            Ok(sum) if sum == unsigned || i64::from(sum) == i64::from(signed) => Ok(header),
            _ => Err(Error::Tar {
                at,
                why: "the checksum of a header does not match".into(),
            }),
        }
    }

    /// Data of an extended header, which is framing as a whole.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > self.limits.header_bytes_max {
            return Err(Error::Tar {
                at: self.source.at,
                why: format!("an extended header has {size} bytes, more than makes sense"),
            });
        }
        let data = self.raw(size)?;
        self.raw(padding(size))?;
        Ok(data)
    }

    fn raw(&mut self, size: u64) -> Result<Vec<u8>> {
        let data = self.source.take(size as usize)?.to_vec();
        self.framing.raw(&mut self.writer.feeder, &data)?;
        Ok(data)
    }

    fn entry(&mut self, header: &Header, ext: Extensions, at: u64) -> Result<()> {
        let decoded = decode(header, &ext, at)?;
        let path = clean(&decoded.path)?;
        let is_file = matches!(
            decoded.kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        if let Some((directory, name)) = split(&path)
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            return self.whiteout(&decoded, directory, hidden, is_file);
        }
        // A regular file whose name ends in a slash is how the oldest tars write a directory.
        let old_directory = is_file && decoded.path.ends_with(b"/") && decoded.stored == 0;
        if is_file && !old_directory {
            return self.file(header, &ext, decoded, path);
        }
        let Decoded {
            meta,
            link,
            device: (major, minor),
            ..
        } = decoded;
        let kind = match decoded.kind {
            EntryType::Directory => Kind::Directory,
            _ if old_directory => Kind::Directory,
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

    fn whiteout(
        &mut self,
        decoded: &Decoded,
        directory: &[u8],
        hidden: &[u8],
        is_file: bool,
    ) -> Result<()> {
        // Content of a marker means nothing, but the tar has to come out again: it is framing.
        let mut left = if is_file {
            decoded.stored + padding(decoded.stored)
        } else {
            0
        };
        while left > 0 {
            let some = self.source.some(left)?;
            left -= some.len() as u64;
            self.framing.raw(&mut self.writer.feeder, some)?;
        }
        match hidden {
            b"" => Err(Error::entry(&decoded.path, "a whiteout names nothing")),
            b".wh..opq" => self
                .writer
                .push(directory.to_vec(), Default::default(), Kind::Opaque),
            // Other names of this form are aufs's own bookkeeping, which no reader of layers applies.
            name if name.starts_with(b".wh.") => Ok(()),
            b"." | b".." => Err(Error::entry(&decoded.path, "a whiteout names no file")),
            name => self
                .writer
                .push(join(directory, name), Default::default(), Kind::Whiteout),
        }
    }

    fn file(
        &mut self,
        header: &Header,
        ext: &Extensions,
        decoded: Decoded,
        path: Vec<u8>,
    ) -> Result<()> {
        let mut stored = decoded.stored;
        let sparse = self.sparse_map(header, ext, &path, &mut stored)?;
        let index = self.writer.count();
        let (size, pieces) = match sparse {
            None => (stored, self.data(stored)?),
            Some((segments, size)) => (size, self.segments(&segments, size, stored, &path)?),
        };
        if stored > 0 {
            self.framing.entry(&mut self.writer.feeder, index)?;
            self.raw(padding(stored))?;
        }
        self.writer.push_file(path, decoded.meta, size, pieces)
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

    /// The map of a sparse file in any of GNU tar's four forms, and its real size; `None` for others.
    /// `stored` is reduced by what the map itself takes of the data.
    fn sparse_map(
        &mut self,
        header: &Header,
        ext: &Extensions,
        path: &[u8],
        stored: &mut u64,
    ) -> Result<Option<(Segments, u64)>> {
        let bad = || Error::entry(path, "the map of the sparse file does not make sense");
        let number = |text: &[u8]| {
            std::str::from_utf8(text)
                .ok()
                .and_then(|t| t.parse::<u64>().ok())
        };
        if header.entry_type() == EntryType::GNUSparse {
            return self.old_sparse_map(header, path).map(Some);
        }
        let real = ext
            .get(b"GNU.sparse.realsize")
            .or_else(|| ext.get(b"GNU.sparse.size"));
        let Some(real) = real else { return Ok(None) };
        let real = number(real).ok_or_else(bad)?;
        if ext.get(b"GNU.sparse.major") == Some(b"1") {
            return self
                .sparse_map_1_0(path, stored)
                .map(|map| Some((map, real)));
        }
        let numbers: Option<Vec<u64>> = match ext.get(b"GNU.sparse.map") {
            Some(map) => map.split(|b| *b == b',').map(number).collect(),
            None => {
                let of = |key: &[u8]| matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
                ext.iter()
                    .filter(|(key, _)| of(key))
                    .map(|(_, value)| number(value))
                    .collect()
            }
        };
        let numbers = numbers.filter(|n| n.len() % 2 == 0).ok_or_else(bad)?;
        Ok(Some((
            numbers
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect(),
            real,
        )))
    }

    fn old_sparse_map(&mut self, header: &Header, path: &[u8]) -> Result<(Segments, u64)> {
        let bad = || Error::entry(path, "the map of the sparse file does not make sense");
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let size = gnu.real_size().map_err(|_| bad())?;
        let mut map = Segments::new();
        let add = |part: &tar::GnuSparseHeader, map: &mut Segments| -> Result<()> {
            if !part.is_empty() {
                map.push((
                    part.offset().map_err(|_| bad())?,
                    part.length().map_err(|_| bad())?,
                ));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(|part| add(part, &mut map))?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            block
                .as_mut_bytes()
                .copy_from_slice(&self.raw(BLOCK as u64)?);
            block
                .sparse
                .iter()
                .try_for_each(|part| add(part, &mut map))?;
            more = block.is_extended();
            if map.len() as u64 > self.limits.header_bytes_max {
                return Err(bad());
            }
        }
        Ok((map, size))
    }

    /// The map at the head of the data: decimal lines (count, then offset and length by turns), padded
    /// to a block.
    fn sparse_map_1_0(&mut self, path: &[u8], stored: &mut u64) -> Result<Segments> {
        let bad = || Error::entry(path, "the map of the sparse file does not make sense");
        let mut text = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut parsed = 0;
        loop {
            while let Some(newline) = text[parsed..].iter().position(|b| *b == b'\n') {
                let line =
                    std::str::from_utf8(&text[parsed..parsed + newline]).map_err(|_| bad())?;
                numbers.push(line.parse().map_err(|_| bad())?);
                parsed += newline + 1;
                if numbers[0].checked_mul(2).and_then(|n| n.checked_add(1))
                    == Some(numbers.len() as u64)
                {
                    return Ok(numbers[1..]
                        .chunks_exact(2)
                        .map(|pair| (pair[0], pair[1]))
                        .collect());
                }
            }
            if *stored < BLOCK as u64 || text.len() as u64 > self.limits.header_bytes_max {
                return Err(bad());
            }
            text.extend_from_slice(&self.raw(BLOCK as u64)?);
            *stored -= BLOCK as u64;
        }
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

fn bad_pax(at: u64) -> Error {
    Error::Tar {
        at,
        why: "a pax header is malformed".into(),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}
