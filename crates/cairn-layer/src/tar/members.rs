//! Walks over the headers of a tar: where each member begins, and what extended headers say of it.
//!
//! This is the only reader of tar headers in Cairn. The import of a layer and the index of an archive both
//! go through it, so that neither takes what the other refuses. As GNU tar has it: of two pax headers
//! before one member the second counts, pax has precedence over GNU's long names, an empty value takes a
//! record away, and a zero block ends the archive whatever follows it.

use tar::{EntryType, Header};

use super::header::{Decoded, Extensions, decode};
use super::{BLOCK, padding};
use crate::error::{Error, Result};

/// Where headers are read from.
pub trait Input {
    /// Offset of the next byte.
    fn at(&self) -> u64;
    /// The next block; shorter where the stream ends, empty at its end.
    fn peek(&mut self) -> Result<&[u8]>;
    /// Takes this many bytes, which are part of a header and must be there.
    fn take(&mut self, size: usize) -> Result<Vec<u8>>;
}

/// What is next in the archive.
pub enum Next {
    /// A member; the input stands right behind its header.
    Member(Box<Member>),
    /// Zero blocks: the end, marked as the format says.
    End,
    /// The stream ends without the mark, at the border of two members.
    Cut,
}

/// A member of the archive.
pub struct Member {
    /// Its header as it stands there.
    pub header: Header,
    /// What extended headers add to it.
    pub ext: Extensions,
    /// All of it, decoded.
    pub decoded: Decoded,
}

impl Member {
    /// Bytes of data that follow the header, without padding. Links, directories, devices and pipes have
    /// none, whatever their size says.
    pub fn data_bytes(&self) -> u64 {
        match self.decoded.kind {
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo => 0,
            _ => self.decoded.stored,
        }
    }

    /// True for what is a regular file by its type.
    pub fn is_file(&self) -> bool {
        matches!(
            self.decoded.kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        )
    }

    /// True for a directory, also in the form the oldest tars have it: a file whose name ends in a slash,
    /// and in GNU tar's incremental form, whose data is a list of names.
    pub fn is_directory(&self) -> bool {
        match self.decoded.kind {
            EntryType::Directory => true,
            EntryType::Regular | EntryType::Continuous => self.decoded.path.ends_with(b"/"),
            kind => kind.as_byte() == DUMPDIR,
        }
    }

    /// True for what only describes the archive.
    pub fn is_label(&self) -> bool {
        self.decoded.kind.as_byte() == VOLUME
    }
}

/// GNU tar's directory with the names in it as data.
const DUMPDIR: u8 = b'D';
/// GNU tar's name of the volume.
const VOLUME: u8 = b'V';
/// The pax header of Solaris before POSIX had one.
const OLD_PAX: u8 = b'X';

/// The walk.
pub struct Members {
    /// Holds the global records alone.
    global: Extensions,
    header_bytes_max: u64,
}

impl Members {
    /// At the first header. An extended header may have so many bytes.
    pub fn new(header_bytes_max: u64) -> Self {
        Self {
            global: Extensions::default(),
            header_bytes_max,
        }
    }

    /// The next member. What follows its header has to be taken from `input` before the next call.
    pub fn next(&mut self, input: &mut impl Input) -> Result<Next> {
        let mut ext = self.global.clone();
        loop {
            let at = input.at();
            let block = input.peek()?;
            match block.len() {
                0 => return Ok(if at == 0 { Next::End } else { Next::Cut }),
                n if n < BLOCK => {
                    return Err(Error::Tar {
                        at,
                        why: "it ends inside a header".into(),
                    });
                }
                _ if block.iter().all(|b| *b == 0) => return Ok(Next::End),
                _ => {}
            }
            let block = input.take(BLOCK)?;
            if !is_header(&block) {
                return Err(Error::Tar {
                    at,
                    why: "the checksum of a header does not match".into(),
                });
            }
            let header = Header::from_byte_slice(&block).clone();
            match header.entry_type() {
                EntryType::XHeader => ext.set_pax(&self.extension(input, &header)?, at)?,
                kind if kind.as_byte() == OLD_PAX => {
                    ext.set_pax(&self.extension(input, &header)?, at)?
                }
                EntryType::XGlobalHeader => {
                    let data = self.extension(input, &header)?;
                    self.global.add_global(&data, at)?;
                    ext.follow(&self.global);
                }
                EntryType::GNULongName => ext.set_long_name(&self.extension(input, &header)?),
                EntryType::GNULongLink => ext.set_long_link(&self.extension(input, &header)?),
                _ => {
                    let decoded = decode(&header, &ext, at)?;
                    return Ok(Next::Member(Box::new(Member {
                        header,
                        ext,
                        decoded,
                    })));
                }
            }
        }
    }

    /// Data of an extended header.
    fn extension(&self, input: &mut impl Input, header: &Header) -> Result<Vec<u8>> {
        let at = input.at();
        let size = header.entry_size().map_err(|_| Error::Tar {
            at,
            why: "the size in a header is not a number".into(),
        })?;
        if size > self.header_bytes_max {
            return Err(Error::Tar {
                at,
                why: format!(
                    "an extended header has {size} bytes, more than the {} allowed",
                    self.header_bytes_max
                ),
            });
        }
        let data = input.take(size as usize)?;
        input.take(padding(size) as usize)?;
        Ok(data)
    }
}

/// True for a block that is a tar header by its checksum, with the bytes summed signed or unsigned.
pub fn is_header(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK]>::try_from(block) else {
        return false;
    };
    let others = block
        .iter()
        .enumerate()
        .filter(|(i, _)| !(148..156).contains(i));
    let unsigned: u32 = others.clone().map(|(_, b)| u32::from(*b)).sum::<u32>() + 8 * 32;
    let signed: i32 = others.map(|(_, b)| i32::from(b.cast_signed())).sum::<i32>() + 8 * 32;
    match Header::from_byte_slice(block).cksum() {
        Ok(sum) => sum == unsigned || i64::from(sum) == i64::from(signed),
        Err(_) => false,
    }
}
