//! Writes a log, within its limits.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_model::Moment;

use super::record::{LogStream, encode};
use super::{LogLimits, file_name};
use crate::error::{Result, Step};

/// A log that is being written. What cannot be written, as on a full disk, is left out: the container goes on.
#[derive(Debug)]
pub struct LogWriter {
    directory: PathBuf,
    limits: LogLimits,
    file: File,
    bytes: u64,
    /// The last record was cut off.
    torn: bool,
    records: Vec<u8>,
}

impl LogWriter {
    /// Goes on with the log in `directory`, or begins one.
    pub fn open(directory: &Path, limits: LogLimits) -> Result<Self> {
        let path = file_name(directory, 0);
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .step(format!("open {}", path.display()))?;
        let bytes = file.metadata().step("read the size of the log")?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.read_exact_at(&mut last, bytes - 1)
                .step(format!("read {}", path.display()))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            file,
            bytes,
            torn: last != *b"\n",
            records: Vec::new(),
        })
    }

    /// Adds output of the container.
    pub fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        let mut records = std::mem::take(&mut self.records);
        encode(
            Moment::now(),
            stream,
            bytes,
            &mut records,
            |records, start| {
                let before = self.bytes + start as u64;
                let after = self.bytes + records.len() as u64;
                if after > self.limits.file_bytes_max && before > 0 {
                    let last = records.split_off(start);
                    self.append(records);
                    self.rotate();
                    *records = last;
                }
            },
        );
        self.append(&records);
        records.clear();
        self.records = records;
    }

    fn append(&mut self, records: &[u8]) {
        // Where no new file could be begun, the log is full.
        if records.is_empty() || self.bytes >= self.limits.file_bytes_max {
            return;
        }
        if self.torn && self.file.write_all(b"\n").is_ok() {
            (self.torn, self.bytes) = (false, self.bytes + 1);
        }
        if self.torn || self.file.write_all(records).is_err() {
            self.torn = true;
            self.bytes = self.file.metadata().map_or(self.bytes, |m| m.len());
        } else {
            self.bytes += records.len() as u64;
        }
    }

    /// Begins a new file. Readers hold the files they read, and find the next one by what is called what
    /// before and after it.
    fn rotate(&mut self) {
        let fresh = self.directory.join("output.log.new");
        let opened = File::options()
            .append(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&fresh);
        let Ok(file) = opened else { return };
        for age in (1..self.limits.files).rev() {
            let _ = fs::rename(
                file_name(&self.directory, age - 1),
                file_name(&self.directory, age),
            );
        }
        if fs::rename(&fresh, file_name(&self.directory, 0)).is_ok() {
            (self.file, self.bytes, self.torn) = (file, 0, false);
        }
    }
}
