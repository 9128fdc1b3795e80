//! Turns files into entries: content to the store, and the canonical tar's hash along the way.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use cairn_model::{Content, Digest, Entry, Kind, Meta};
use cairn_store::{CHUNK_BYTES_AVG, Cutter, Feeder, Store};
use cairn_sys::threads;
use rustix::fs::{SeekFrom, Stat, seek};
use sha2::Digest as _;

use super::{CommitReport, Scanned, bounds};
use crate::content::{ContentReader, from_io, read_content};
use crate::error::{Error, Result};
use crate::layer::{DraftPiece, Framing, LayerWriter, Limits};
use crate::tar::{CanonicalTar, SparseMap};

const HASH_BLOCK_BYTES: usize = 256 * 1024;
const HASH_BLOCKS_AHEAD: usize = 4;

/// Shorter holes are read as zeros, bytes: they cost less than the lines of a map.
const HOLE_BYTES_MIN: u64 = 64 * 1024;

/// Holes and runs of data that are looked for in one file.
const PARTS_MAX: usize = 200_000;

/// Counts and hashes, and keeps nothing. The hashing has a thread of its own: with reading and cutting it
/// would hold up the others.
pub struct HashSink {
    sender: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
    thread: JoinHandle<sha2::Sha256>,
    block: Vec<u8>,
    bytes: u64,
}

impl HashSink {
    fn start() -> Result<Self> {
        let (sender, full) = sync_channel::<Vec<u8>>(HASH_BLOCKS_AHEAD);
        let (empty, used) = sync_channel(HASH_BLOCKS_AHEAD + 1);
        let thread = threads::start(move || {
            let mut hasher = sha2::Sha256::new();
            for mut block in full {
                hasher.update(&block);
                block.clear();
                // Only saves an allocation.
                let _ = empty.try_send(block);
            }
            hasher
        })
        .map_err(|e| Error::file("start a thread to hash", b"the layer", e))?;
        Ok(Self {
            sender,
            used,
            thread,
            block: Vec::new(),
            bytes: 0,
        })
    }

    fn send(&mut self) -> io::Result<()> {
        let used = self.used.try_recv();
        let empty = used.unwrap_or_else(|_| Vec::with_capacity(2 * HASH_BLOCK_BYTES));
        let full = std::mem::replace(&mut self.block, empty);
        self.sender
            .send(full)
            .map_err(|_| io::Error::other("the thread that hashes the layer died"))
    }

    /// The digest and the number of bytes of all that was written.
    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.send()?;
        drop(self.sender);
        let hasher = self
            .thread
            .join()
            .map_err(|_| io::Error::other("the thread that hashes the layer died"))?;
        Ok((Digest::from_bytes(hasher.finalize().into()), self.bytes))
    }
}

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.block.len() >= HASH_BLOCK_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a layer of entries that come from files or from content that is stored already.
pub struct Emitter<'a> {
    store: &'a Store,
    writer: LayerWriter,
    tar: CanonicalTar<HashSink>,
    cutter: Cutter,
    scratch: Vec<u8>,
    links: HashMap<(u64, u64), Vec<u8>>,
    /// True once a file was written with its holes left out.
    has_maps: bool,
    /// What was left out.
    pub report: CommitReport,
    /// Told of bytes read.
    pub progress: &'a dyn Fn(u64),
}

impl<'a> Emitter<'a> {
    pub fn new(store: &'a Store, feeder: Feeder, limits: Limits) -> Result<Self> {
        Ok(Self {
            store,
            writer: LayerWriter::new(feeder, limits),
            tar: CanonicalTar::new(HashSink::start()?),
            cutter: Cutter::default(),
            scratch: vec![0; 1 << 18],
            links: HashMap::new(),
            has_maps: false,
            report: CommitReport::default(),
            progress: &|_| (),
        })
    }

    /// An entry whose content, if it has any, is in the store.
    pub fn known(&mut self, path: &[u8], meta: Meta, kind: Kind) -> Result<()> {
        let entry = Entry {
            path: path.to_vec(),
            meta,
            kind,
        };
        bounds::check(&entry)?;
        let Kind::File(content) = &entry.kind else {
            self.tar.header(&entry)?;
            return self.writer.push(entry.path, entry.meta, entry.kind);
        };
        let store = self.store;
        if let Some(map) = SparseMap::of_content(content) {
            self.has_maps = true;
            self.tar.sparse_header(&entry, &map)?;
            for (id, _) in content.blobs() {
                let out = self.tar.out();
                out.write_all(&store.get(&id)?).map_err(Error::Write)?;
            }
            self.tar.pad(map.data_bytes)?;
            return self.writer.push(entry.path, entry.meta, entry.kind);
        }
        self.tar.header(&entry)?;
        if content.data_bytes() < content.size {
            // More holes than a map can have: the zeros become data.
            let mut reader = ContentReader::new(store, content);
            let size = content.size;
            let pieces = self.run(&mut reader, path, size)?;
            self.tar.pad(size)?;
            return self.writer.push_file(entry.path, entry.meta, size, pieces);
        }
        read_content(store, content, self.tar.out())?;
        self.tar.pad(content.size)?;
        self.writer.push(entry.path, entry.meta, entry.kind)
    }

    /// The path an inode with several names was met at before, or none and remembers this one.
    pub fn link_target(&mut self, stat: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        let found = self.links.get(&key).cloned();
        if found.is_none() {
            self.links.insert(key, path.to_vec());
        }
        found
    }

    /// A regular file, read from `file`.
    pub fn file(&mut self, path: &[u8], meta: Meta, file: OwnedFd, stat: &Stat) -> Result<()> {
        let size = stat.st_size as u64;
        let kind = Kind::File(Content {
            size,
            pieces: Vec::new(),
        });
        let entry = Entry {
            path: path.to_vec(),
            meta,
            kind,
        };
        bounds::check(&entry)?;
        let mut file = std::fs::File::from(file);
        let parts = if (stat.st_blocks as u64) * 512 < size && size > HOLE_BYTES_MIN {
            parts(&file, path, size)?
        } else {
            Vec::new()
        };
        let map = SparseMap::of(parts.iter().copied());
        let Some(map) = map else {
            self.tar.header(&entry)?;
            let pieces = self.run(&mut file, path, size)?;
            self.tar.pad(size)?;
            return self.writer.push_file(entry.path, entry.meta, size, pieces);
        };
        self.has_maps = true;
        self.tar.sparse_header(&entry, &map)?;
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (is_hole, length) in parts {
            if is_hole {
                pieces.push(DraftPiece::Hole(length));
            } else {
                seek(&file, SeekFrom::Start(at)).map_err(|e| Error::file("read", path, e))?;
                pieces.extend(self.run(&mut file, path, length)?);
            }
            at += length;
        }
        self.tar.pad(map.data_bytes)?;
        self.writer.push_file(entry.path, entry.meta, size, pieces)
    }

    /// `length` bytes of data from where the file stands.
    fn run(&mut self, file: &mut dyn Read, path: &[u8], length: u64) -> Result<Vec<DraftPiece>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let fail = |e| from_io(e, |e| Error::file("read", path, e));
        let out = self.tar.out();
        if length <= CHUNK_BYTES_AVG as u64 {
            let ticket = self.writer.feeder.put_with(|buffer| {
                let start = buffer.len();
                buffer.resize(start + length as usize, 0);
                file.read_exact(&mut buffer[start..]).map_err(fail)?;
                out.write_all(&buffer[start..]).map_err(Error::Write)
            })?;
            (self.progress)(length);
            return Ok(vec![DraftPiece::Data(ticket, length as u32)]);
        }
        let mut parts = Vec::new();
        let mut left = length;
        while left > 0 {
            let want = self.scratch.len().min(left as usize);
            let block = &mut self.scratch[..want];
            file.read_exact(block).map_err(fail)?;
            out.write_all(block).map_err(Error::Write)?;
            self.cutter
                .feed(&mut self.writer.feeder, block, &mut parts)?;
            left -= want as u64;
            (self.progress)(want as u64);
        }
        self.cutter.finish(&mut self.writer.feeder, &mut parts)?;
        Ok(parts
            .into_iter()
            .map(|(ticket, len)| DraftPiece::Data(ticket, len))
            .collect())
    }

    /// Stores the manifest.
    pub fn finish(self) -> Result<Scanned> {
        let Self {
            writer,
            tar,
            report,
            has_maps,
            ..
        } = self;
        let (diff_id, tar_bytes) = tar.finish()?.finish().map_err(Error::Write)?;
        let framing = if has_maps {
            Framing::Canonical
        } else {
            Framing::None
        };
        let (mut layer, entries) = writer.finish_with(framing)?;
        layer.diff_id = Some(diff_id);
        layer.tar_bytes = Some(tar_bytes);
        Ok(Scanned {
            layer,
            entries,
            diff_id,
            report,
        })
    }
}

/// Holes and runs of data of a file, in order: whether it is a hole, and its length.
fn parts(file: &std::fs::File, path: &[u8], size: u64) -> Result<Vec<(bool, u64)>> {
    let fail = |e: rustix::io::Errno| Error::file("read", path, e);
    let (mut out, mut at, mut run) = (Vec::new(), 0, 0);
    while at < size && out.len() < PARTS_MAX {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            Err(e) => return Err(fail(e)),
        };
        if data - at >= HOLE_BYTES_MIN {
            out.extend((run > 0).then_some((false, run)));
            out.push((true, data - at));
            run = 0;
        } else {
            run += data - at;
        }
        if data == size {
            break;
        }
        // Data that is cut off meanwhile is found by the reading.
        let end = seek(file, SeekFrom::Hole(data)).map_err(fail)?.min(size);
        run += end - data;
        at = end;
    }
    if out.len() >= PARTS_MAX {
        // No map takes so many: it is read as a file without holes.
        out.clear();
    }
    out.extend((run > 0).then_some((false, run)));
    seek(file, SeekFrom::Start(0)).map_err(fail)?;
    Ok(out)
}
