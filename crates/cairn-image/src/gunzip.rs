//! A gzip stream of one or more members, with zeros behind them as tapes and block devices leave them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Decompresses member by member.
pub struct Gunzip<R: BufRead> {
    /// Taken out only while a member is exchanged for the next.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    pub fn new(inner: R) -> Self {
        Self {
            member: Some(GzDecoder::new(inner)),
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            self.member = match self.member.take().map(GzDecoder::into_inner) {
                Some(inner) => next(inner)?,
                None => None,
            };
        }
        Ok(0)
    }
}

/// The member after one that ended: none where nothing but zeros follows.
fn next<R: BufRead>(mut inner: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut padded = false;
    loop {
        let bytes = inner.fill_buf()?;
        let Some(first) = bytes.iter().position(|b| *b != 0) else {
            let zeros = bytes.len();
            padded |= zeros > 0;
            inner.consume(zeros);
            if zeros == 0 {
                return Ok(None);
            }
            continue;
        };
        if first > 0 || padded {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the compressed data is followed by something that is not gzip",
            ));
        }
        return Ok(Some(GzDecoder::new(inner)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        // Small reads, so that members and padding begin anywhere in the buffer.
        let inner = io::BufReader::with_capacity(7, bytes);
        Gunzip::new(inner).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn members_follow_each_other_and_zeros_may_follow_the_last() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(&two).unwrap(), b"one two");
        assert_eq!(read(&[&two[..], &[0; 1000]].concat()).unwrap(), b"one two");
        assert!(read(&[&two[..], &[0; 10], b"x"].concat()).is_err());
        assert!(read(&[&two[..], b"garbage that is no gzip"].concat()).is_err());
        assert!(read(&two[..two.len() - 1]).is_err());
    }
}
