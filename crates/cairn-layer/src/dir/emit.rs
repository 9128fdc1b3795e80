//! Turns files into entries, and their content into blobs.
//!
//! The layer's tar is made when somebody wants it, or its digest (`docs/design/0006`).

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use cairn_model::{Content, Entry, Kind, Meta};
use cairn_store::{Feeder, Store};
use rustix::fs::Stat;

use super::contents::{Contents, Reader, Wanted};
use super::{CommitReport, Scanned, bounds};
use crate::content::ContentReader;
use crate::error::Result;
use crate::layer::{LayerWriter, Limits};
use crate::tar::SparseMap;

/// Writes a layer of entries that come from files or from content that is stored already.
pub struct Emitter<'a> {
    store: &'a Store,
    writer: LayerWriter,
    contents: Contents,
    links: HashMap<(u64, u64), Vec<u8>>,
    /// What was left out.
    pub report: CommitReport,
    /// Told of bytes read.
    pub progress: &'a dyn Fn(u64),
}

impl<'a> Emitter<'a> {
    pub fn new(store: &'a Store, feeder: Feeder, limits: Limits) -> Self {
        Self {
            store,
            contents: Contents::new(feeder.beside()),
            writer: LayerWriter::new(feeder, limits),
            links: HashMap::new(),
            report: CommitReport::default(),
            progress: &|_| (),
        }
    }

    /// An entry whose content, if it has any, is in the store.
    pub fn known(&mut self, path: &[u8], meta: Meta, kind: Kind) -> Result<()> {
        let mut entry = Entry {
            path: path.to_vec(),
            meta,
            kind,
        };
        bounds::check(&entry)?;
        if let Kind::File(content) = &mut entry.kind
            && content.data_bytes() < content.size
            && SparseMap::of_content(content).is_none()
        {
            // More holes than a map can have: the zeros become data.
            let mut stream = ContentReader::new(self.store, content);
            let (feeder, size) = (&self.writer.feeder, content.size);
            let pieces = Reader::of_stream(feeder, &mut stream, path, size)?;
            content.pieces = pieces;
        }
        self.writer.push(entry.path, entry.meta, entry.kind)
    }

    /// The path an inode with several names was met at before, or none and remembers this one.
    pub fn link_target(&mut self, stat: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        let found = self.links.get(&key).cloned();
        if found.is_none() {
            self.links.insert(key, path.to_vec());
        }
        found
    }

    /// A regular file, read from `file`.
    pub fn file(&mut self, path: &[u8], meta: Meta, file: OwnedFd, stat: &Stat) -> Result<()> {
        let size = stat.st_size as u64;
        let kind = Kind::File(Content {
            size,
            pieces: Vec::new(),
        });
        let entry = Entry {
            path: path.to_vec(),
            meta,
            kind,
        };
        bounds::check(&entry)?;
        let index = self.writer.count();
        self.writer
            .push_file(entry.path, entry.meta, size, Vec::new())?;
        if size == 0 {
            return Ok(());
        }
        let wanted = Wanted {
            entry: index,
            path: path.to_vec(),
            file: file.into(),
            size,
            may_have_holes: (stat.st_blocks as u64) * 512 < size,
        };
        self.contents.want(wanted, self.progress)
    }

    /// Waits for the contents and stores the manifest.
    pub fn finish(mut self) -> Result<Scanned> {
        for (entry, pieces) in self.contents.finish(self.progress)? {
            self.writer.fill(entry, pieces);
        }
        let (layer, entries) = self.writer.finish_canonical()?;
        Ok(Scanned {
            layer,
            entries,
            report: self.report,
        })
    }
}
