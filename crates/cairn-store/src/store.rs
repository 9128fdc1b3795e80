//! The store: blobs in, blobs out, and the moment at which they become part of the repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cairn_model::{BlobId, PackId};
use serde::{Deserialize, Serialize};

use crate::codec::Stored;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::index::{self, Index, Location};
use crate::ingest::{Ingest, Prepared};
use crate::lease::Lease;
use crate::meta::{Db, Notice, Table, Txn};
use crate::pack::{Directory, PackFile, Slot, file_name};

/// First line of the file `format`.
pub const FORMAT: &str = "cairn repository 1, fastcdc-2020 16/64/256 KiB";
const OPEN_PACKS_MAX: usize = 128;

/// What the database knows of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRowV1 {
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Number of blobs.
    pub blobs: u32,
    /// Index generation that brought it.
    pub born: u64,
    /// Index generation that condemned it: no longer found, unlinked when no older lease lives.
    pub condemned: Option<u64>,
}

impl Stored for PackRowV1 {
    const TYPE: u8 = 2;
    const NAME: &'static str = "pack row";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateV1 {
    pub generation: u64,
}

impl Stored for StateV1 {
    const TYPE: u8 = 3;
    const NAME: &'static str = "store state";
}

pub(crate) const PACKS: Table<PackRowV1> = Table::new(b'p');
pub(crate) const STATE: Table<StateV1> = Table::new(b'g');

/// A repository's store; clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    disk: Disk,
    db: Db,
    index: RwLock<Arc<Index>>,
    packs: Mutex<HashMap<PackId, Arc<PackFile>>>,
}

/// What there may be before a repository has its file `format`.
const BEGINNINGS: [&str; 8] = [
    "lock",
    "packs",
    "index",
    "leases",
    "tmp",
    "journal",
    "journal.new",
    "format.new",
];
const DIRECTORIES: [&str; 4] = ["packs", "index", "leases", "tmp"];

impl Store {
    /// Makes an empty store in `root`, which may exist but must be empty.
    pub fn create(root: &Path, disk: Disk) -> Result<()> {
        if !root.exists() {
            disk.mkdir(root)?;
            // Images hold other people's files, setuid programs among them: nobody else walks in.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(root, mode).at("change the mode of", root)?;
        }
        // What an earlier try left behind when it was cut off is ours; anything else is somebody's.
        let mut present = std::fs::read_dir(root).at("list", root)?.flatten();
        if !present.all(|entry| BEGINNINGS.iter().any(|name| entry.file_name() == *name))
            && !root.join("format").exists()
        {
            return Err(Error::Io {
                action: "make a repository in",
                path: root.into(),
                source: std::io::Error::other("the directory is not empty"),
            });
        }
        let db = Db::new(root, disk.clone(), None);
        if root.join("format").exists() {
            return Ok(());
        }
        db.locked(|| {
            for name in DIRECTORIES {
                disk.mkdir(&root.join(name))?;
            }
            if !root.join("index").join("CURRENT").exists() {
                index::rebuild(&disk, &root.join("index"), 0, Vec::new())?;
            }
            Ok(())
        })?;
        db.create()?;
        disk.replace(&root.join("format"), format!("{FORMAT}\n").as_bytes())
    }

    /// Opens the store in `root`. `notice` is told when the repository lock is waited for.
    pub fn open(root: &Path, disk: Disk, notice: Option<Notice>) -> Result<Self> {
        let format = root.join("format");
        match std::fs::read_to_string(&format) {
            Ok(text) if text.trim_end() == FORMAT => {}
            Ok(found) => {
                let found = found.chars().take(100).collect();
                return Err(Error::Format {
                    path: format,
                    found,
                    known: FORMAT,
                });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotARepository(root.into()));
            }
            Err(e) => return Err(e).at("read", &format),
        }
        let db = Db::new(root, disk.clone(), notice);
        let index = match Index::open(&root.join("index")) {
            Ok(index) => index,
            Err(_) => {
                // The index is derived: make it anew from the packs' own directories.
                for name in DIRECTORIES {
                    disk.mkdir(&root.join(name))?;
                }
                let rebuilt = db.write(|txn| rebuild_index(root, &disk, txn));
                rebuilt?;
                Index::open(&root.join("index"))?
            }
        };
        let inner = Inner {
            root: root.into(),
            disk,
            db,
            index: RwLock::new(Arc::new(index)),
            packs: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Directory of the repository.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// The index as last loaded.
    pub fn index(&self) -> Arc<Index> {
        self.0
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The index as it is on disk now.
    pub fn reload_index(&self) -> Result<Arc<Index>> {
        let fresh = Arc::new(Index::open(&self.0.root.join("index"))?);
        *self.0.index.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    pub(crate) fn index_dir(&self) -> PathBuf {
        self.0.root.join("index")
    }

    /// Path of a published pack.
    pub fn pack_path(&self, id: &PackId) -> PathBuf {
        self.0.root.join("packs").join(file_name(id))
    }

    /// An open pack.
    pub fn pack(&self, id: &PackId) -> Result<Arc<PackFile>> {
        let mut packs = self.0.packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = packs.get(id) {
            return Ok(pack.clone());
        }
        let pack = Arc::new(PackFile::open(&self.pack_path(id))?);
        if packs.len() >= OPEN_PACKS_MAX {
            packs.clear();
        }
        packs.insert(*id, pack.clone());
        Ok(pack)
    }

    /// Where a blob is; looks at the index on disk again before it says that it is missing.
    pub fn find(&self, id: &BlobId) -> Result<Location> {
        if let Some(found) = self.index().find(id) {
            return Ok(found);
        }
        self.reload_index()?.find(id).ok_or(Error::MissingBlob(*id))
    }

    /// Content of a blob, checked against its id.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>> {
        let found = self.find(id)?;
        let read = |found: &Location| self.pack(&found.pack)?.blob(&found.slot, &mut Vec::new());
        match read(&found) {
            // A collection may have moved the blob since the index was loaded.
            Err(Error::Io { .. }) => read(
                &self
                    .reload_index()?
                    .find(id)
                    .ok_or(Error::MissingBlob(*id))?,
            ),
            done => done,
        }
    }

    /// Begins a lease: what is found from now on stays until it ends.
    pub fn lease(&self) -> Result<Lease> {
        self.0.db.locked(|| {
            let index = self.reload_index()?;
            Lease::begin(&self.0.root, index.generation())
        })
    }

    /// Starts an import of content under a lease of its own.
    pub fn ingest(&self) -> Result<Ingest> {
        let lease = self.lease()?;
        Ok(Ingest::start(self.0.disk.clone(), self.index(), lease))
    }

    /// Makes prepared content part of the repository together with the rows that `decide` writes: all
    /// of it or, on any error, nothing. Holds the repository lock for milliseconds.
    pub fn publish<T, E: From<Error>>(
        &self,
        prepared: Prepared,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let root = &self.0.root;
        let done = self.0.db.write_after::<_, E>(
            |txn| {
                let index = self.consistent_index(txn)?;
                let mut entries = Vec::new();
                for hit in &prepared.hits {
                    self.revive(txn, &index, hit, &mut entries)?;
                }
                let out = decide(txn)?;
                let publishes = !prepared.packs.is_empty() || !entries.is_empty();
                let generation = index.generation() + 1;
                for pack in &prepared.packs {
                    let row = PackRowV1 {
                        bytes: pack.bytes,
                        blobs: pack.slots.len() as u32,
                        born: generation,
                        condemned: None,
                    };
                    PACKS.put(txn, pack.id.as_bytes(), &row)?;
                    entries.extend(pack.slots.iter().map(|slot| (pack.id, *slot)));
                }
                if publishes {
                    STATE.put(txn, [], &StateV1 { generation })?;
                }
                Ok((out, publishes.then_some((index, generation, entries))))
            },
            |(_, publication)| {
                let Some((index, generation, entries)) = publication.take() else {
                    return Ok(());
                };
                for pack in &prepared.packs {
                    self.0.disk.rename(&pack.path, &self.pack_path(&pack.id))?;
                }
                self.0.disk.sync_dir(&root.join("packs"))?;
                index::publish(&self.0.disk, &self.index_dir(), &index, generation, entries)?;
                Ok(())
            },
        );
        drop(prepared);
        let (out, _) = done?;
        self.reload_index()?;
        Ok(out)
    }

    /// The index on disk, after making good what a crash between index and transaction left: packs the
    /// index names but no row does are whole and durable, so they are adopted.
    pub(crate) fn consistent_index(&self, txn: &mut Txn<'_>) -> Result<Arc<Index>> {
        let index = self.reload_index()?;
        let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
        if index.generation() == state.generation {
            return Ok(index);
        }
        rebuild_index(&self.0.root, &self.0.disk, txn)?;
        self.reload_index()
    }

    /// A pack that an import relied on is made findable again if it was condemned meanwhile.
    fn revive(
        &self,
        txn: &mut Txn<'_>,
        index: &Index,
        id: &PackId,
        entries: &mut Vec<(PackId, Slot)>,
    ) -> Result<()> {
        if index.packs().any(|known| known == *id) {
            return Ok(());
        }
        let row = PACKS
            .get(txn, id.as_bytes())?
            .ok_or(Error::MissingPack(*id))?;
        let directory = self.pack(id)?.directory()?;
        entries.extend(directory.slots.into_iter().map(|slot| (*id, slot)));
        PACKS.put(
            txn,
            id.as_bytes(),
            &PackRowV1 {
                condemned: None,
                ..row
            },
        )
    }

    /// All packs and their rows.
    pub fn pack_rows(&self) -> Result<Vec<(PackId, PackRowV1)>> {
        self.0.db.read(|rows| pack_rows(rows))
    }
}

pub(crate) fn pack_rows(rows: &dyn crate::meta::Rows) -> Result<Vec<(PackId, PackRowV1)>> {
    let found = PACKS.scan(rows, [])?;
    let id = |key: &[u8]| key.try_into().map(PackId::from_bytes);
    found
        .into_iter()
        .map(|(key, row)| {
            Ok((
                id(&key).map_err(|_| Error::corrupt("pack row", "its key is no id"))?,
                row,
            ))
        })
        .collect()
}

/// Makes the index anew from the directories of the packs on disk. Whole packs without a row get one;
/// packs whose directory does not read are left out, for `check` to name and repair.
pub(crate) fn rebuild_index(root: &Path, disk: &Disk, txn: &mut Txn<'_>) -> Result<()> {
    let packs = root.join("packs");
    let mut entries = Vec::new();
    let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
    let current = Index::open(&root.join("index")).map_or(0, |index| index.generation());
    let generation = state.generation.max(current) + 1;
    for file in std::fs::read_dir(&packs).at("list", &packs)?.flatten() {
        let path = file.path();
        if path.extension().is_none_or(|e| e != "pack") {
            continue;
        }
        let Ok(Directory { id, slots, bytes }) =
            PackFile::open(&path).and_then(|pack| pack.directory())
        else {
            continue;
        };
        match PACKS.get(txn, id.as_bytes())? {
            Some(row) if row.condemned.is_some() => continue,
            Some(_) => {}
            None => {
                let row = PackRowV1 {
                    bytes,
                    blobs: slots.len() as u32,
                    born: generation,
                    condemned: None,
                };
                PACKS.put(txn, id.as_bytes(), &row)?;
            }
        }
        entries.extend(slots.into_iter().map(|slot| (id, slot)));
    }
    index::rebuild(disk, &root.join("index"), generation, entries)?;
    STATE.put(txn, [], &StateV1 { generation })
}

impl Store {
    /// Makes the index anew from the packs' own directories.
    pub fn rebuild_index(&self) -> Result<()> {
        self.0
            .db
            .write(|txn| rebuild_index(&self.0.root, &self.0.disk, txn))?;
        self.reload_index().map(drop)
    }

    /// Takes a pack out of index and database; its file stays where it is. For repairs.
    pub fn forget_pack(&self, id: &PackId) -> Result<()> {
        self.0
            .packs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.0.db.write::<_, Error>(|txn| {
            let index = self.consistent_index(txn)?;
            PACKS.delete(txn, id.as_bytes());
            let generation = index.generation() + 1;
            STATE.put(txn, [], &StateV1 { generation })?;
            let entries = index
                .segments()
                .iter()
                .flat_map(crate::index::Segment::entries);
            let stays = entries
                .filter(|entry| !matches!(entry, Ok((pack, _)) if pack == id))
                .collect::<Result<Vec<_>>>()?;
            index::rebuild(&self.0.disk, &self.index_dir(), generation, stays)
        })?;
        self.reload_index().map(drop)
    }
}
