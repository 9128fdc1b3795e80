//! Reading no more than a bound.

use std::io::{self, Read};

/// Reads to the end; `InvalidData` where there is more than `bytes_max`.
pub(crate) fn read_bounded(from: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut out)?;
    match out.len() as u64 > bytes_max {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(out),
    }
}
