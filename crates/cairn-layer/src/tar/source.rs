//! The stream a tar is read from.

use std::io::Read;

use cairn_model::Digest;
use sha2::Digest as _;

use crate::error::{Error, Result};

/// The stream, hashed as it is read, with a window that holds at least what is asked for.
pub struct Source<'a> {
    input: &'a mut dyn Read,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes handed out so far.
    pub at: u64,
    bytes_max: u64,
    hasher: sha2::Sha256,
}

const WINDOW: usize = 1 << 20;

impl<'a> Source<'a> {
    pub fn new(input: &'a mut dyn Read, bytes_max: u64) -> Self {
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
    pub fn ensure(&mut self, want: usize) -> Result<usize> {
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

    pub fn consume(&mut self, count: usize) -> &[u8] {
        let taken = &self.window[self.start..self.start + count];
        self.start += count;
        self.at += count as u64;
        taken
    }

    /// The next `count` bytes, which must be there.
    pub fn take(&mut self, count: usize) -> Result<&[u8]> {
        if self.ensure(count)? < count {
            return Err(Error::Tar {
                at: self.at + (self.end - self.start) as u64,
                why: "it ends inside an entry".into(),
            });
        }
        Ok(self.consume(count))
    }

    /// The next bytes, at least one and at most `count`, which must be there.
    pub fn some(&mut self, count: u64) -> Result<&[u8]> {
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

    /// The next bytes, at most `count`, without taking them.
    pub fn peek(&mut self, count: usize) -> Result<&[u8]> {
        let available = self.ensure(count)?.min(count);
        Ok(&self.window[self.start..self.start + available])
    }

    /// SHA-256 of all that was read.
    pub fn digest(self) -> Digest {
        Digest::from_bytes(self.hasher.finalize().into())
    }
}
