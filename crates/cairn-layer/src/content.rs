//! Content of files out of the store.

use std::io::{self, Read, Write};

use cairn_model::{Content, Piece};
use cairn_store::Store;

use crate::error::{Error, Result};

/// Writes a file's content to `out`; holes as zeros.
pub fn read_content(store: &Store, content: &Content, out: &mut dyn Write) -> Result<()> {
    let mut reader = ContentReader::new(store, content);
    io::copy(&mut reader, out)
        .map(drop)
        .map_err(|e| from_io(e, Error::Write))
}

/// An error of the store that travelled inside an `io::Error`, or `other` of it.
pub(crate) fn from_io(e: io::Error, other: impl FnOnce(io::Error) -> Error) -> Error {
    match e.downcast::<cairn_store::Error>() {
        Ok(store) => Error::Store(store),
        Err(e) => other(e),
    }
}

/// Reads a file's content; holes as zeros.
pub struct ContentReader<'a> {
    store: &'a Store,
    pieces: std::slice::Iter<'a, Piece>,
    blob: Vec<u8>,
    at: usize,
    hole: u64,
}

impl<'a> ContentReader<'a> {
    /// From its start.
    pub fn new(store: &'a Store, content: &'a Content) -> Self {
        Self {
            store,
            pieces: content.pieces.iter(),
            blob: Vec::new(),
            at: 0,
            hole: 0,
        }
    }
}

impl Read for ContentReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.blob.len() && self.hole == 0 {
            match self.pieces.next() {
                None => return Ok(0),
                Some(Piece::Hole { len }) => self.hole = *len,
                Some(Piece::Data { id, len }) => {
                    self.blob = self.store.get(id).map_err(io::Error::other)?;
                    self.at = 0;
                    if self.blob.len() != *len as usize {
                        let damage = cairn_store::Error::corrupt(
                            format!("blob {id}"),
                            "its length is not what the manifest says",
                        );
                        return Err(io::Error::other(damage));
                    }
                }
            }
        }
        if self.hole > 0 {
            let n = out
                .len()
                .min(usize::try_from(self.hole).unwrap_or(usize::MAX));
            out[..n].fill(0);
            self.hole -= n as u64;
            return Ok(n);
        }
        let n = out.len().min(self.blob.len() - self.at);
        out[..n].copy_from_slice(&self.blob[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
