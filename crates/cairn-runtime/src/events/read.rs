//! Reading events, from the beginning or as they come.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Event, LINE_BYTES_MAX, file_name};

/// Reads the log of a repository, across rotations as long as it keeps up.
#[derive(Debug)]
pub struct EventReader {
    root: PathBuf,
    file: Option<File>,
    /// A line that is not complete yet.
    rest: Vec<u8>,
}

fn same(file: &File, path: &Path) -> bool {
    let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), path.metadata()) {
        (Ok(a), Ok(b)) => inode(a) == inode(b),
        _ => false,
    }
}

impl EventReader {
    /// From the oldest event that is kept.
    pub fn from_start(root: &Path) -> Self {
        let old = File::open(file_name(root, 1));
        Self {
            root: root.to_owned(),
            file: old.or_else(|_| File::open(file_name(root, 0))).ok(),
            rest: Vec::new(),
        }
    }

    /// From now on.
    pub fn from_end(root: &Path) -> Self {
        use std::io::{Seek, SeekFrom};
        let mut file = File::open(file_name(root, 0)).ok();
        if let Some(file) = &mut file {
            // Where that fails more is seen than was asked for.
            let _ = file.seek(SeekFrom::End(0));
        }
        Self {
            root: root.to_owned(),
            file,
            rest: Vec::new(),
        }
    }

    /// All events that have come since the last time.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let newest = file_name(&self.root, 0);
        if self.file.is_none() {
            self.file = File::open(&newest).ok();
        }
        while let Some(file) = &mut self.file {
            // Asked before it is read to its end: what is written until then is read, too.
            let last = same(file, &newest);
            let mut bytes = std::mem::take(&mut self.rest);
            file.read_to_end(&mut bytes)?;
            let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            let lines = bytes[..end].split(|b| *b == b'\n');
            events.extend(lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok()));
            self.rest = bytes.split_off(end);
            // More than a line is none.
            self.rest.truncate(LINE_BYTES_MAX);
            if last {
                break;
            }
            self.rest.clear();
            self.file = File::open(&newest).ok();
        }
        Ok(events)
    }
}
