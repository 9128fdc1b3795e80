//! Where packs are read from.
//!
//! Everything that reads a published pack goes through a [`PackSource`]: lookups, scrub, repair, salvage,
//! collection, and what brings index and packs together. The directory of a repository is one; the tests
//! have another, in memory, whose reads fail on demand. A source only gives: packs come to be, and go,
//! through [`crate::Disk`], whose order of operations durability depends on.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cairn_model::PackId;

use super::{PackReader, file_name};
use crate::error::{IoContext, Result};

/// Bytes of one pack.
pub trait PackBytes: Debug + Send + Sync {
    /// Their number.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` with the bytes from `offset` on, or fails.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A set of packs.
pub trait PackSource: Debug + Send + Sync {
    /// Ids of all packs there are, in no order. What is no pack by its name is passed over.
    fn list(&self) -> Result<Vec<PackId>>;

    /// Opens a pack; one that is not there is an error of class "not found".
    fn open(&self, id: &PackId) -> Result<PackReader>;
}

impl PackBytes for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }
}

/// The packs in a directory, a file each.
#[derive(Debug, Clone)]
pub struct PackDirectory(PathBuf);

impl PackDirectory {
    /// Of the packs in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }
}

impl PackSource for PackDirectory {
    fn list(&self) -> Result<Vec<PackId>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.0).at("list", &self.0)? {
            // A name that could not be read must not look like a pack that is gone.
            let path = entry.at("list", &self.0)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let is_pack = path.extension().is_some_and(|e| e == "pack");
            ids.extend(
                stem.filter(|_| is_pack)
                    .and_then(|stem| stem.parse::<PackId>().ok()),
            );
        }
        Ok(ids)
    }

    fn open(&self, id: &PackId) -> Result<PackReader> {
        PackReader::open(&self.0.join(file_name(id)))
    }
}
