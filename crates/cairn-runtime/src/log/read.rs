//! Reads a log, from its oldest record on, while it is written and rotated.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::record::{LogRecord, RECORD_BYTES_MAX, decode};
use super::{FILES_MAX, file_name};
use crate::error::{Result, Step};

const ROTATION_TRIES: u32 = 50;
const ROTATION_PAUSE: Duration = Duration::from_micros(200);

/// Reads the records of a log in their order. It holds the files that it has read, so that what it read once
/// it can read again.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
    files: Vec<Arc<File>>,
    at: usize,
    reader: BufReader<Shared>,
    line: Vec<u8>,
}

/// A file that is read here and kept there.
#[derive(Debug)]
struct Shared(Arc<File>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}

/// The oldest file there is.
fn oldest(directory: &Path) -> Option<File> {
    (0..FILES_MAX)
        .rev()
        .find_map(|age| File::open(file_name(directory, age)).ok())
}

/// The file that came after the one with this inode; `None` where that is the newest.
fn after(directory: &Path, number: u64) -> Option<File> {
    let mut lost = false;
    for _ in 0..ROTATION_TRIES {
        if inode(&file_name(directory, 0)) == Some(number) {
            return None;
        }
        let named = |age: &u32| inode(&file_name(directory, *age)) == Some(number);
        match (1..FILES_MAX).find(named) {
            Some(age) => {
                let next = File::open(file_name(directory, age - 1)).ok();
                // Renamed meanwhile, it would be another one.
                if next.is_some() && named(&age) {
                    return next;
                }
            }
            // Twice not found: it is gone, and so is what came right after it, perhaps.
            None if lost => return oldest(directory),
            None => lost = true,
        }
        std::thread::sleep(ROTATION_PAUSE);
    }
    // Whoever rotated was killed in the middle of it.
    None
}

impl LogReader {
    /// Opens the log in `directory`; `None` where there is none.
    pub fn open(directory: &Path) -> Option<Self> {
        let file = Arc::new(oldest(directory)?);
        Some(Self {
            directory: directory.to_owned(),
            reader: BufReader::new(Shared(file.clone())),
            files: vec![file],
            at: 0,
            line: Vec::new(),
        })
    }

    /// Starts again with the first file that was read.
    pub fn rewind(&mut self) -> Result<()> {
        self.enter(0)
    }

    fn enter(&mut self, at: usize) -> Result<()> {
        let file = self.files[at].clone();
        (&*file).rewind().step("read the log")?;
        self.reader = BufReader::new(Shared(file));
        self.at = at;
        self.line.clear();
        Ok(())
    }

    /// The next record; `None` where there is no other yet. What is no record is left out.
    pub fn next_record(&mut self) -> Result<Option<LogRecord>> {
        loop {
            if self.read_line()? {
                let record = decode(&self.line);
                self.line.clear();
                match record {
                    Some(record) => return Ok(Some(record)),
                    None => continue,
                }
            }
            let next = self.at + 1;
            if next == self.files.len() {
                let number = self.files[self.at].metadata().step("read the log")?.ino();
                match after(&self.directory, number) {
                    None => return Ok(None),
                    Some(file) => self.files.push(Arc::new(file)),
                }
                // It is not written any more: what is in it now is all.
                if self.read_line()? {
                    let record = decode(&self.line);
                    self.line.clear();
                    if record.is_some() {
                        return Ok(record);
                    }
                    continue;
                }
            }
            // A record that was cut off, and will stay so.
            let torn = decode(&self.line);
            self.enter(next)?;
            if torn.is_some() {
                return Ok(torn);
            }
        }
    }

    /// The text of a last record that is cut off, once the writer is gone.
    pub fn torn(&mut self) -> Option<LogRecord> {
        let torn = decode(&self.line);
        self.line.clear();
        torn
    }

    /// Reads on in this file; true when a line is whole.
    fn read_line(&mut self) -> Result<bool> {
        loop {
            let most = (RECORD_BYTES_MAX + 1).saturating_sub(self.line.len());
            let read = (&mut self.reader)
                .take(most as u64)
                .read_until(b'\n', &mut self.line)
                .step("read the log")?;
            if self.line.ends_with(b"\n") {
                return Ok(true);
            }
            if self.line.len() <= RECORD_BYTES_MAX || read == 0 {
                return Ok(false);
            }
            // Longer than any record: not one of ours.
            self.line.clear();
        }
    }
}
