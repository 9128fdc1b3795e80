//! Finds blobs: memory-mapped, sorted segment files that any number of processes read without a lock.
//!
//! Everything here can be rebuilt from the packs' own directories. `CURRENT` names the segments in
//! force and is replaced as a whole; segments never change. A process that holds an [`Index`] keeps
//! its maps when segments are merged and unlinked behind it.

mod segment;

use std::path::{Path, PathBuf};

use cairn_model::{BlobId, PackId};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Stored};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::pack::Slot;
use crate::random;

pub use segment::{Segment, write as write_segment};

/// Segments are merged until each is at least this many times smaller than the one before it.
const MERGE_RATIO: u64 = 4;

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: PackId,
    /// Where in it.
    pub slot: Slot,
    /// Which segment said so.
    pub segment: usize,
    /// Its place in that segment.
    pub position: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CurrentV1 {
    generation: u64,
    segments: Vec<[u8; 16]>,
}

impl Stored for CurrentV1 {
    const TYPE: u8 = 1;
    const NAME: &'static str = "index list";
}

/// One consistent state of the index.
#[derive(Debug)]
pub struct Index {
    generation: u64,
    segments: Vec<Segment>,
}

impl Index {
    /// Opens the state that `CURRENT` in `dir` names.
    pub fn open(dir: &Path) -> Result<Self> {
        loop {
            let current = read_current(dir)?;
            let opened: Result<Vec<_>> = current
                .segments
                .iter()
                .map(|id| Segment::open(&path_of(dir, id)))
                .collect();
            match opened {
                Ok(segments) => {
                    return Ok(Self {
                        generation: current.generation,
                        segments,
                    });
                }
                // A merge may have replaced the list between the two reads.
                Err(e) if read_current(dir)? == current => return Err(e),
                Err(_) => {}
            }
        }
    }

    /// Counts publications and collections; equal in `CURRENT` and in the database.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of entries (a blob stored twice counts twice).
    pub fn len(&self) -> usize {
        self.segments.iter().map(Segment::len).sum()
    }

    /// True where nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where `id` is stored.
    pub fn find(&self, id: &BlobId) -> Option<Location> {
        self.segments
            .iter()
            .enumerate()
            .rev()
            .find_map(|(segment, s)| {
                let position = s.find(id)?;
                let (pack, slot) = s.entry(position).ok()?;
                Some(Location {
                    pack,
                    slot,
                    segment,
                    position,
                })
            })
    }

    /// True where some entry points into `pack`.
    pub fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.segments.iter().flat_map(Segment::packs)
    }
}

fn path_of(dir: &Path, id: &[u8; 16]) -> PathBuf {
    dir.join(format!("{}.idx", PackId::from_bytes(*id).hex()))
}

fn read_current(dir: &Path) -> Result<CurrentV1> {
    let path = dir.join("CURRENT");
    match std::fs::read(&path) {
        Ok(bytes) => codec::decode(&bytes),
        Err(source) => Err(Error::Io {
            action: "read",
            path,
            source,
        }),
    }
}

fn write_current(disk: &Disk, dir: &Path, current: &CurrentV1) -> Result<()> {
    disk.replace(&dir.join("CURRENT"), &codec::encode(current))?;
    for name in crate::error::IoContext::at(std::fs::read_dir(dir), "list", dir)?.flatten() {
        let path = name.path();
        let known = current.segments.iter().any(|id| path == path_of(dir, id));
        if !known && path.extension().is_some_and(|e| e == "idx") {
            disk.unlink(&path)?;
        }
    }
    Ok(())
}

/// Puts entries in force as one new segment in front of `index`, under `generation`. Small segments
/// are merged into it so that their number stays logarithmic. The caller holds the repository lock.
pub fn publish(
    disk: &Disk,
    dir: &Path,
    index: &Index,
    generation: u64,
    mut entries: Vec<(PackId, Slot)>,
) -> Result<()> {
    let mut keep = index.segments.len();
    while keep > 0 && (index.segments[keep - 1].len() as u64) < MERGE_RATIO * entries.len() as u64 {
        keep -= 1;
        entries.extend(index.segments[keep].entries().collect::<Result<Vec<_>>>()?);
    }
    let mut segments: Vec<[u8; 16]> = index.segments[..keep].iter().map(Segment::id).collect();
    if !entries.is_empty() {
        segments.push(write_new(disk, dir, entries)?);
    }
    write_current(
        disk,
        dir,
        &CurrentV1 {
            generation,
            segments,
        },
    )
}

/// Replaces the whole index by `entries`. The caller holds the repository lock.
pub fn rebuild(
    disk: &Disk,
    dir: &Path,
    generation: u64,
    entries: Vec<(PackId, Slot)>,
) -> Result<()> {
    let segments = if entries.is_empty() {
        Vec::new()
    } else {
        vec![write_new(disk, dir, entries)?]
    };
    write_current(
        disk,
        dir,
        &CurrentV1 {
            generation,
            segments,
        },
    )
}

fn write_new(disk: &Disk, dir: &Path, entries: Vec<(PackId, Slot)>) -> Result<[u8; 16]> {
    let id = random::<16>()?;
    let path = path_of(dir, &id);
    segment::write(disk, &path, entries)?;
    Ok(id)
}
