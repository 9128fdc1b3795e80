//! The log of a container: what it wrote to its standard output and error, line by line.
//!
//! `output.log` is written, `output.log.1` is the one before it, and so on. Each line of the files is a record
//! as Kubernetes has them: time, stream, `F` for a line that is complete or `P` for a piece of one, and the
//! text. The files together never hold more than the limits allow: the oldest goes when a new one is begun.
//! Only the monitor writes. A monitor that was killed leaves a record that is cut off, at worst.

mod read;
mod record;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use read::LogReader;
pub use record::{LogRecord, LogStream};
pub(crate) use write::LogWriter;

/// Smallest size of a file that makes sense: some records of the longest kind.
const FILE_BYTES_MIN: u64 = 64 << 10;
/// As many files as are looked for.
const FILES_MAX: u32 = 100;

/// How much a log may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    file_bytes_max: u64,
    files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 10 << 20,
            files: 3,
        }
    }
}

impl LogLimits {
    /// Files of at most so many bytes each, and so many of them; `None` where a number makes no sense.
    pub fn new(file_bytes_max: u64, files: u32) -> Option<Self> {
        let sensible = file_bytes_max >= FILE_BYTES_MIN && (1..=FILES_MAX).contains(&files);
        sensible.then_some(Self {
            file_bytes_max,
            files,
        })
    }
}

/// The file that is written (0), or the one of `age` rotations before.
fn file_name(directory: &Path, age: u32) -> PathBuf {
    match age {
        0 => directory.join("output.log"),
        age => directory.join(format!("output.log.{age}")),
    }
}

#[cfg(test)]
mod tests;
