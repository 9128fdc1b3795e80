//! Byte streams of any length as blobs: layer manifests, tar framing, image documents.

use std::io::{self, Read};

use cairn_model::BlobId;
use serde::{Deserialize, Serialize};

use crate::chunk::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, first_cut};
use crate::codec;
use crate::error::{Error, Result};
use crate::ingest::{Feeder, Ticket};
use crate::store::Store;

/// Where a stream is: one blob that is the stream, or one that lists the blobs it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRef {
    /// The blob.
    pub id: BlobId,
    /// True where the blob is a list.
    pub list: bool,
    /// Length of the stream, bytes.
    pub len: u64,
}

/// Cuts content that arrives in parts; the cuts are those of [`crate::chunk::cut_all`].
#[derive(Debug, Default)]
pub struct Cutter {
    window: Vec<u8>,
    start: usize,
    cut: bool,
}

impl Cutter {
    /// Adds content; hands over what is decided.
    pub fn feed(
        &mut self,
        feeder: &mut Feeder,
        bytes: &[u8],
        out: &mut Vec<(Ticket, u32)>,
    ) -> Result<()> {
        self.cut(bytes, &mut |chunk| {
            out.push((feeder.put(chunk)?, chunk.len() as u32));
            Ok(())
        })
    }

    /// The end of the content: hands over the rest and is ready for the next.
    pub fn finish(&mut self, feeder: &mut Feeder, out: &mut Vec<(Ticket, u32)>) -> Result<()> {
        self.end(&mut |chunk| {
            out.push((feeder.put(chunk)?, chunk.len() as u32));
            Ok(())
        })
    }

    /// Like [`feed`](Self::feed), for chunks that are not stored.
    pub fn cut(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.start > 0 && self.window.len() + bytes.len() > 8 * CHUNK_BYTES_MAX {
                self.window.drain(..self.start);
                self.start = 0;
            }
            let room = (8 * CHUNK_BYTES_MAX)
                .saturating_sub(self.window.len())
                .max(1);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.window.extend_from_slice(now);
            bytes = later;
            while self.window.len() - self.start >= CHUNK_BYTES_MAX {
                let length = first_cut(&self.window[self.start..]);
                self.emit(length, take)?;
            }
        }
        Ok(())
    }

    /// Like [`finish`](Self::finish), for chunks that are not stored.
    pub fn end(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let rest = self.window.len() - self.start;
        if !self.cut && (1..=CHUNK_BYTES_AVG).contains(&rest) {
            self.emit(rest, take)?;
        }
        while self.start < self.window.len() {
            let length = first_cut(&self.window[self.start..]);
            self.emit(length, take)?;
        }
        self.window.clear();
        self.start = 0;
        self.cut = false;
        Ok(())
    }

    fn emit(&mut self, length: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        take(&self.window[self.start..self.start + length])?;
        self.start += length;
        self.cut = true;
        Ok(())
    }
}

/// Stores a stream piece by piece.
#[derive(Debug, Default)]
pub struct StreamWriter {
    cutter: Cutter,
    parts: Vec<(Ticket, u32)>,
    len: u64,
}

impl StreamWriter {
    /// Appends to the stream.
    pub fn write(&mut self, feeder: &mut Feeder, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.cutter.feed(feeder, bytes, &mut self.parts)
    }

    /// Ends the stream.
    pub fn finish(mut self, feeder: &mut Feeder) -> Result<StreamRef> {
        self.cutter.finish(feeder, &mut self.parts)?;
        if self.parts.is_empty() {
            let ticket = feeder.put(&[])?;
            self.parts.push((ticket, 0));
        }
        let ids = feeder.ids()?;
        if let [(ticket, _)] = self.parts[..] {
            return Ok(StreamRef {
                id: ids[ticket],
                list: false,
                len: self.len,
            });
        }
        let list: Vec<(BlobId, u32)> = self
            .parts
            .iter()
            .map(|(ticket, len)| (ids[*ticket], *len))
            .collect();
        let ticket = feeder.put(&codec::encode_bare(&list))?;
        Ok(StreamRef {
            id: feeder.ids()?[ticket],
            list: true,
            len: self.len,
        })
    }
}

/// Stores a stream that is at hand.
pub fn put_stream(feeder: &mut Feeder, bytes: &[u8]) -> Result<StreamRef> {
    let mut writer = StreamWriter::default();
    writer.write(feeder, bytes)?;
    writer.finish(feeder)
}

impl Store {
    /// The blobs a stream is made of, its list first.
    pub fn stream_blobs(&self, stream: &StreamRef) -> Result<Vec<BlobId>> {
        let parts = self.stream_parts(stream)?;
        let list = stream.list.then_some(stream.id);
        Ok(list
            .into_iter()
            .chain(parts.into_iter().map(|(id, _)| id))
            .collect())
    }

    fn stream_parts(&self, stream: &StreamRef) -> Result<Vec<(BlobId, u32)>> {
        if !stream.list {
            return Ok(vec![(stream.id, stream.len as u32)]);
        }
        let bytes = self.get(&stream.id)?;
        let bad = || {
            Error::corrupt(
                format!("blob {}", stream.id),
                "it is not the list of a stream",
            )
        };
        let parts: Vec<(BlobId, u32)> = codec::decode_bare(&mut &bytes[..]).ok_or_else(bad)?;
        let len: u64 = parts.iter().map(|(_, len)| u64::from(*len)).sum();
        if len == stream.len {
            Ok(parts)
        } else {
            Err(bad())
        }
    }

    /// Reads a stream from its start.
    pub fn open_stream(&self, stream: &StreamRef) -> Result<StreamReader> {
        let mut parts = self.stream_parts(stream)?;
        parts.reverse();
        Ok(StreamReader {
            store: self.clone(),
            parts,
            current: Vec::new(),
            at: 0,
        })
    }

    /// A whole stream, where it is no longer than `limit` bytes.
    pub fn read_stream(&self, stream: &StreamRef, limit: u64) -> Result<Vec<u8>> {
        if stream.len > limit {
            return Err(Error::TooLarge {
                what: "stream",
                size: stream.len,
                limit,
            });
        }
        let mut out = Vec::with_capacity(stream.len as usize);
        for (id, len) in self.stream_parts(stream)? {
            let part = self.get(&id)?;
            // Else a list that was sent by somebody could be of more than it says.
            if part.len() != len as usize {
                let why = "it is not as long as the stream's list says";
                return Err(Error::corrupt(format!("blob {id}"), why));
            }
            out.extend_from_slice(&part);
        }
        Ok(out)
    }
}

/// Reads a stream; errors of the store come wrapped in `io::Error`.
#[derive(Debug)]
pub struct StreamReader {
    store: Store,
    parts: Vec<(BlobId, u32)>,
    current: Vec<u8>,
    at: usize,
}

impl Read for StreamReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            let Some((id, _)) = self.parts.pop() else {
                return Ok(0);
            };
            self.current = self.store.get(&id).map_err(io::Error::other)?;
            self.at = 0;
        }
        let n = out.len().min(self.current.len() - self.at);
        out[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
