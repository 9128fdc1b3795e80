//! Maps of sparse files in all of GNU tar's forms: in the header (old), in pax records (0.0 and 0.1), and
//! at the head of the data (1.0).

use cairn_model::{Content, Piece};
use tar::EntryType;

use super::header::Extensions;
use super::members::{Input, Member};
use super::{BLOCK, padding};
use crate::error::{Error, Result};

/// Runs of data inside a file: offset and length.
pub type Segments = Vec<(u64, u64)>;

/// The map of a sparse file and its real size; `None` for other files. `stored` is reduced by what the map
/// itself takes of the data.
pub fn sparse_map(
    input: &mut impl Input,
    member: &Member,
    path: &[u8],
    bytes_max: u64,
    stored: &mut u64,
) -> Result<Option<(Segments, u64)>> {
    if member.header.entry_type() == EntryType::GNUSparse {
        return old_map(input, member, path, bytes_max).map(Some);
    }
    let bad = || nonsense(path);
    let ext = &member.ext;
    let Some(real) = real_size(ext) else {
        return Ok(None);
    };
    let real = number(real).ok_or_else(bad)?;
    if ext.get(b"GNU.sparse.major") == Some(b"1") {
        let map = map_1_0(input, path, bytes_max, stored)?;
        return Ok(Some((map, real)));
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
    Ok(Some((pairs(&numbers), real)))
}

/// True where the data of the member is not just the content of the file.
pub fn is_sparse(member: &Member) -> bool {
    member.header.entry_type() == EntryType::GNUSparse || real_size(&member.ext).is_some()
}

fn real_size(ext: &Extensions) -> Option<&[u8]> {
    ext.get(b"GNU.sparse.realsize")
        .or_else(|| ext.get(b"GNU.sparse.size"))
}

fn nonsense(path: &[u8]) -> Error {
    Error::entry(path, "the map of the sparse file does not make sense")
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn pairs(numbers: &[u64]) -> Segments {
    numbers
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

fn old_map(
    input: &mut impl Input,
    member: &Member,
    path: &[u8],
    bytes_max: u64,
) -> Result<(Segments, u64)> {
    let bad = || nonsense(path);
    let gnu = member.header.as_gnu().ok_or_else(bad)?;
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
    let mut bytes = 0;
    while more {
        let mut block = tar::GnuExtSparseHeader::new();
        block.as_mut_bytes().copy_from_slice(&input.take(BLOCK)?);
        block
            .sparse
            .iter()
            .try_for_each(|part| add(part, &mut map))?;
        more = block.is_extended();
        bytes += BLOCK as u64;
        if bytes > bytes_max {
            return Err(bad());
        }
    }
    Ok((map, size))
}

/// The map at the head of the data: decimal lines (count, then offset and length by turns), padded to a
/// block.
fn map_1_0(
    input: &mut impl Input,
    path: &[u8],
    bytes_max: u64,
    stored: &mut u64,
) -> Result<Segments> {
    let bad = || nonsense(path);
    let mut text = Vec::new();
    let mut numbers: Vec<u64> = Vec::new();
    let mut parsed = 0;
    loop {
        while let Some(newline) = text[parsed..].iter().position(|b| *b == b'\n') {
            numbers.push(number(&text[parsed..parsed + newline]).ok_or_else(bad)?);
            parsed += newline + 1;
            if numbers[0].checked_mul(2).and_then(|n| n.checked_add(1))
                == Some(numbers.len() as u64)
            {
                return Ok(pairs(&numbers[1..]));
            }
        }
        if *stored < BLOCK as u64 || text.len() as u64 >= bytes_max {
            return Err(bad());
        }
        text.extend_from_slice(&input.take(BLOCK)?);
        *stored -= BLOCK as u64;
    }
}

/// A longer map is none that others read; the limit is that of Go's archive/tar.
const MAP_BYTES_MAX: usize = 1 << 20;

/// The map of a file with holes, as it is written: in form 1.0.
pub struct Map {
    /// The map's lines and the zeros that fill their last block.
    pub text: Vec<u8>,
    /// Bytes of data that follow it.
    pub data_bytes: u64,
}

impl Map {
    /// The map of a file of these parts, each a hole or not and so many bytes long. `None` where there
    /// is no hole, and where the map would be too long.
    pub fn of(parts: impl Iterator<Item = (bool, u64)>) -> Option<Self> {
        let (mut runs, mut at, mut holes) = (Segments::new(), 0, false);
        for (is_hole, length) in parts {
            match runs.last_mut() {
                _ if is_hole => holes = true,
                Some((start, run)) if *start + *run == at => *run += length,
                _ => runs.push((at, length)),
            }
            at += length;
        }
        let data_bytes = runs.iter().map(|(_, length)| length).sum();
        // As GNU tar does: an empty run at the end says how far a last hole goes.
        runs.push((at, 0));
        let mut text = format!("{}\n", runs.len()).into_bytes();
        for (offset, length) in runs {
            text.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
        }
        text.resize(text.len() + padding(text.len() as u64) as usize, 0);
        (holes && text.len() <= MAP_BYTES_MAX).then_some(Self { text, data_bytes })
    }

    /// The map of stored content.
    pub fn of_content(content: &Content) -> Option<Self> {
        if content.data_bytes() == content.size {
            return None;
        }
        Self::of(content.pieces.iter().map(|piece| match piece {
            Piece::Data { len, .. } => (false, u64::from(*len)),
            Piece::Hole { len } => (true, *len),
        }))
    }

    /// Bytes the file has in the archive.
    pub fn stored(&self) -> u64 {
        self.text.len() as u64 + self.data_bytes
    }
}
