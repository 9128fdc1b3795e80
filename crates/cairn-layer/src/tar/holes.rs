//! A file with holes, read as the bytes that it stands for.

use std::io::{self, Read};

use super::sparse::Segments;
use crate::error::{Error, Result};

/// Runs of data in a file, in order and apart.
#[derive(Debug)]
pub struct Runs {
    runs: Segments,
    /// Of the file, in bytes.
    pub size: u64,
}

impl Runs {
    /// Refuses runs that overlap, lie past the end of the file or are not what is stored of it.
    pub fn new(runs: Segments, size: u64, stored: u64, path: &[u8]) -> Result<Self> {
        let refused = |why| Err(Error::entry(path, why));
        match data_bytes(&runs, size) {
            None => refused("the map of the sparse file is out of order or past its end"),
            Some(data) if data != stored => {
                refused("the map of the sparse file and its data disagree")
            }
            Some(_) => Ok(Self { runs, size }),
        }
    }

    /// The whole file, by a reader of the data in its runs.
    pub fn over(self, data: &mut dyn Read) -> Filled<'_> {
        Filled {
            runs: self.runs.into_iter().peekable(),
            size: self.size,
            at: 0,
            data,
        }
    }
}

/// How much data these runs are; none where they are out of order or past the end of the file.
fn data_bytes(runs: &Segments, size: u64) -> Option<u64> {
    let (mut at, mut data) = (0, 0);
    for (offset, length) in runs {
        let end = offset.checked_add(*length).filter(|end| *end <= size);
        at = end.filter(|_| *offset >= at)?;
        data += length;
    }
    Some(data)
}

/// The data of runs, and zeros between them.
pub struct Filled<'a> {
    runs: std::iter::Peekable<std::vec::IntoIter<(u64, u64)>>,
    size: u64,
    at: u64,
    data: &'a mut dyn Read,
}

impl Filled<'_> {
    /// Where the run or hole ends that this place is in, and whether it is a run.
    fn part(&mut self) -> (u64, bool) {
        let at = self.at;
        while self
            .runs
            .next_if(|(offset, length)| offset + length <= at)
            .is_some()
        {}
        match self.runs.peek() {
            Some((offset, length)) if *offset <= at => (offset + length, true),
            Some((offset, _)) => (*offset, false),
            None => (self.size, false),
        }
    }
}

impl Read for Filled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (end, is_data) = self.part();
        let want = (end - self.at).min(buffer.len() as u64) as usize;
        let read = match (want, is_data) {
            (0, _) => 0,
            (want, true) => match self.data.read(&mut buffer[..want])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            },
            (want, false) => {
                buffer[..want].fill(0);
                want
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_holes_make_the_file_whatever_the_buffer() {
        for size in 1..9 {
            let runs = Runs::new(vec![(1, 2), (3, 0), (5, 3), (9, 0)], 10, 5, b"f").unwrap();
            let mut data: &[u8] = b"abcde";
            let mut file = runs.over(&mut data);
            let (mut all, mut buffer) = (Vec::new(), vec![7; size]);
            while let Ok(read @ 1..) = file.read(&mut buffer) {
                all.extend_from_slice(&buffer[..read]);
            }
            assert_eq!(all, b"\0ab\0\0cde\0\0");
        }
    }

    #[test]
    fn a_map_that_makes_no_sense_is_refused() {
        for (runs, size, stored) in [
            (vec![(0, 2), (1, 2)], 10, 4),
            (vec![(9, 2)], 10, 2),
            (vec![(u64::MAX, 2)], 10, 2),
            (vec![(0, 2)], 10, 3),
        ] {
            assert!(Runs::new(runs, size, stored, b"f").is_err());
        }
    }
}
