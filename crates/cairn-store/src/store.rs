//! The store: blobs in, blobs out, and the moment at which they become part of the repository.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cairn_model::{BlobId, Class, PackId};
use serde::{Deserialize, Serialize};

use crate::codec::Stored;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::index::{self, Index, List, Location, NewSegment, segment_path, write_sorted};
use crate::ingest::{Ingest, Prepared};
use crate::lease::Lease;
use crate::meta::{Db, Notice, Table, Txn};
use crate::pack::{Directory, PackFile, file_name};
use crate::place::{check_format, mend_modes};
use crate::reserve;
use crate::scrub::VERIFIED;
use crate::sealed::{SealedPack, drop_stored};

/// First line of the file `format`.
pub const FORMAT: &str = "cairn repository 1, fastcdc-2020 16/64/256 KiB";
const OPEN_PACKS_MAX: usize = 128;
/// A publication that others keep overtaking goes ahead after this many tries, and may store what they
/// have; a collection drops one of the two.
const SETTLE_TRIES: usize = 8;
/// Entries that are sorted at a time when the index is made anew.
const HEAL_ENTRIES_MAX: usize = 1 << 19;

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
const BEGINNINGS: [&str; 10] = [
    "lock",
    "packs",
    "index",
    "leases",
    "tmp",
    "journal",
    "journal.new",
    "journal.copy",
    "format.new",
    "lost+found",
];
const DIRECTORIES: [&str; 4] = ["packs", "index", "leases", "tmp"];

/// Images hold other people's files, setuid programs and secrets among them: nobody else walks in.
fn make_private(path: &Path) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path, mode).at("change the mode of", path)
}

/// Makes a directory of a repository, for its owner alone whatever the mode of the one above it; one that
/// exists stays as it is.
pub fn private_directory(path: &Path, disk: &Disk) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    disk.mkdir(path)?;
    make_private(path)
}

/// True where an index does not open for a reason that making it anew takes away.
fn is_derivable(error: &Error) -> bool {
    matches!(error.class(), Class::Corrupt | Class::NotFound)
}

impl Store {
    /// Makes an empty store in `root`, which may exist but must be empty.
    pub fn create(root: &Path, disk: Disk) -> Result<()> {
        if !root.exists() {
            let missing = root.ancestors().take_while(|path| !path.exists()).count();
            disk.mkdir(root)?;
            // Each new name is in the directory above it.
            for above in root.ancestors().skip(1).take(missing) {
                let here = above.as_os_str().is_empty();
                disk.sync_dir(if here { Path::new(".") } else { above })?;
            }
            make_private(root)?;
        }
        match check_format(root) {
            Err(Error::NotARepository(_)) => {}
            done => return done,
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
        // One maker at a time; `format` comes last and says that all is there.
        let db = Db::new(root, disk.clone(), None);
        db.locked(|| {
            if root.join("format").exists() {
                return Ok(());
            }
            for name in DIRECTORIES {
                private_directory(&root.join(name), &disk)?;
            }
            if !root.join("index").join("CURRENT").exists() {
                List::default().put(&disk, &root.join("index"), &[])?;
            }
            db.create()?;
            disk.replace(&root.join("format"), format!("{FORMAT}\n").as_bytes())?;
            reserve::fill(root);
            Ok(())
        })
    }

    /// Opens the store in `root`. `notice` is told when the repository lock is waited for.
    pub fn open(root: &Path, disk: Disk, notice: Option<Notice>) -> Result<Self> {
        check_format(root)?;
        mend_modes(root);
        let db = Db::new(root, disk.clone(), notice);
        let index = match Index::open(&root.join("index"), None) {
            Ok(index) => index,
            // Short of descriptors or memory, refused: nothing that a new index would change.
            Err(e) if !is_derivable(&e) => return Err(e),
            Err(_) => {
                // The index is derived: make it anew from the packs' own directories.
                for name in DIRECTORIES {
                    private_directory(&root.join(name), &disk)?;
                }
                db.write(|txn| match Index::open(&root.join("index"), None) {
                    // Another process was first.
                    Ok(_) => Ok(()),
                    Err(e) if !is_derivable(&e) => Err(e),
                    Err(_) => heal(root, &disk, txn, &Index::default()),
                })?;
                Index::open(&root.join("index"), None)?
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

    /// Lets this process spend the room that is kept for a full disk: for what removes things.
    pub fn may_spend_reserve(&self) {
        self.0.disk.may_spend_reserve(&self.0.root);
    }

    /// Puts the room for a full disk aside again where it is gone.
    pub fn fill_reserve(&self) {
        reserve::fill(&self.0.root);
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
        let before = self.index();
        let fresh = Arc::new(Index::open(&self.index_dir(), Some(&before))?);
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
        let opened = PackFile::open(&self.pack_path(id)).map_err(|e| match e.class() {
            Class::NotFound => Error::MissingPack(*id),
            _ => e,
        });
        let pack = Arc::new(opened?);
        if packs.len() >= OPEN_PACKS_MAX {
            packs.clear();
        }
        packs.insert(*id, pack.clone());
        Ok(pack)
    }

    /// Where a blob is; looks at the index on disk again before it says that it is missing.
    pub fn find(&self, id: &BlobId) -> Result<Location> {
        if let Some(found) = self.index().find(id)? {
            return Ok(found);
        }
        let again = self.reload_index()?.find(id)?;
        again.ok_or(Error::MissingBlob(*id))
    }

    /// Content of a blob, checked against its id.
    pub fn get(&self, id: &BlobId) -> Result<Vec<u8>> {
        let found = self.find(id)?;
        let read = |found: &Location| self.pack(&found.pack)?.blob(&found.slot, &mut Vec::new());
        match read(&found) {
            // A collection may have moved the blob since the index was loaded.
            Err(Error::Io { .. } | Error::MissingPack(_)) => {
                let again = self.reload_index()?.find(id)?;
                read(&again.ok_or(Error::MissingBlob(*id))?)
            }
            done => done,
        }
    }

    /// Begins a lease: what is found from now on stays until it ends.
    pub fn lease(&self) -> Result<Lease> {
        self.0.db.locked(|| {
            let index = self.reload_index()?;
            Lease::begin(&self.0.root, &self.0.disk, index.generation())
        })
    }

    /// Starts an import of content under a lease of its own.
    pub fn ingest(&self) -> Result<Ingest> {
        let lease = self.lease()?;
        Ingest::start(self.0.disk.clone(), self.index(), lease)
    }

    /// Makes prepared content part of the repository together with the rows that `decide` writes: all
    /// of it or, on any error, nothing. Holds the repository lock for milliseconds, however much is
    /// stored already.
    pub fn publish<T, E: From<Error>>(
        &self,
        mut prepared: Prepared,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut decide = Some(decide);
        // Each try looks only at what was published since the one before.
        for last in (0..SETTLE_TRIES).map(|n| n + 1 == SETTLE_TRIES) {
            self.settle(&mut prepared)?;
            let done = self.0.db.write_after::<_, E>(
                |txn| {
                    let index = self.consistent_index(txn)?;
                    if index.generation() != prepared.index.generation() && !last {
                        return Ok(None);
                    }
                    let Some(decide) = decide.take() else {
                        unreachable!("BUG: decided once")
                    };
                    self.decide(txn, &index, &prepared, decide).map(Some)
                },
                |decided| match decided {
                    Some((_, Some(edit))) => Ok(self.put_in_force(edit, &prepared.packs)?),
                    _ => Ok(()),
                },
            );
            if let Some((out, edit)) = done? {
                drop(prepared);
                if edit.is_some() {
                    // The publication stands. A merge that fails (a full disk, say) leaves everything as
                    // it was, and whoever publishes or collects next tries again.
                    let _ = self.tidy();
                }
                return Ok(out);
            }
        }
        unreachable!("BUG: the last try decides")
    }

    /// Leaves out of prepared content what others published since it was looked up: the same content
    /// from two importers is stored once. Takes no lock.
    fn settle(&self, prepared: &mut Prepared) -> Result<()> {
        let index = self.reload_index()?;
        let news = index.without(&prepared.index);
        if !news.is_empty() {
            for pack in std::mem::take(&mut prepared.packs) {
                let rest = drop_stored(&self.0.disk, pack, &news, &mut prepared.hits)?;
                prepared.packs.extend(rest);
            }
        }
        prepared.index = index;
        Ok(())
    }

    /// The part of a publication that is decided inside the transaction; no edit where nothing is new.
    fn decide<T, E: From<Error>>(
        &self,
        txn: &mut Txn<'_>,
        index: &Index,
        prepared: &Prepared,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<Edit>), E> {
        let mut edit = Edit {
            list: index.list().clone(),
            add: Vec::new(),
        };
        let known: HashSet<PackId> = index.packs().collect();
        for hit in &prepared.hits {
            self.revive(txn, &known, hit, &mut edit)?;
        }
        let out = decide(txn)?;
        edit.list.generation += 1;
        let generation = edit.list.generation;
        for pack in &prepared.packs {
            PACKS.put(txn, pack.id.as_bytes(), &pack.row(generation))?;
            edit.add.extend(pack.segment.clone());
        }
        if edit.add.is_empty() && edit.list.hidden == index.list().hidden {
            return Ok((out, None));
        }
        STATE.put(txn, [], &StateV1 { generation })?;
        Ok((out, Some(edit)))
    }

    /// Gives sealed packs their names, then puts the index that knows them in force.
    pub(crate) fn put_in_force(&self, edit: &mut Edit, packs: &[SealedPack]) -> Result<()> {
        for pack in packs {
            self.0.disk.rename(&pack.path, &self.pack_path(&pack.id))?;
        }
        if !packs.is_empty() {
            self.0.disk.sync_dir(&self.0.root.join("packs"))?;
        }
        std::mem::take(&mut edit.list).put(&self.0.disk, &self.index_dir(), &edit.add)
    }

    /// A pack that an import relied on is made findable again if it was condemned meanwhile.
    fn revive(
        &self,
        txn: &mut Txn<'_>,
        known: &HashSet<PackId>,
        id: &PackId,
        edit: &mut Edit,
    ) -> Result<()> {
        if known.contains(id) && !edit.list.hidden.contains(id) {
            return Ok(());
        }
        let row = PACKS
            .get(txn, id.as_bytes())?
            .ok_or(Error::MissingPack(*id))?;
        if !known.contains(id) {
            let slots = self.pack(id)?.directory()?.slots;
            let entries = slots.into_iter().map(|slot| (*id, slot)).collect();
            edit.add
                .extend(write_sorted(&self.0.disk, &self.index_dir(), entries)?);
        }
        edit.list.hidden.remove(id);
        let row = PackRowV1 {
            condemned: None,
            ..row
        };
        PACKS.put(txn, id.as_bytes(), &row)
    }

    /// The index on disk, after making good what a crash between index and transaction left.
    pub(crate) fn consistent_index(&self, txn: &mut Txn<'_>) -> Result<Arc<Index>> {
        let index = self.reload_index()?;
        let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
        if index.generation() == state.generation {
            return Ok(index);
        }
        heal(&self.0.root, &self.0.disk, txn, &index)?;
        self.reload_index()
    }

    /// Merges segments of the index as long as some are due, beside everything else: others are held up
    /// only while the list is replaced. Nothing happens where another process is at it.
    pub fn tidy(&self) -> Result<()> {
        let mut index = self.reload_index()?;
        if index::due(&index).is_none() {
            return Ok(());
        }
        let path = self.0.root.join("index").join("lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let one = options.open(&path).at("open", &path)?;
        if one.try_lock().is_err() {
            return Ok(());
        }
        let lease = self.lease()?;
        while let Some(run) = index::due(&index) {
            let inputs = &index.segments()[run];
            let merged = match index::merge(&self.0.disk, lease.directory(), inputs, index.hidden())
            {
                // Searching goes on with what there is; "check --repair" makes it anew.
                Err(e) if e.is_corruption() => return Ok(()),
                done => done?,
            };
            let gone: HashSet<[u8; 16]> = inputs.iter().map(|s| s.id()).collect();
            let dropped: HashSet<PackId> = inputs
                .iter()
                .flat_map(|s| s.packs())
                .filter(|pack| index.hidden().contains(pack))
                .copied()
                .collect();
            let done = self.0.db.locked(|| {
                let now = Index::open(&self.index_dir(), Some(&index))?;
                let mut list = now.list().clone();
                let there = gone.iter().all(|id| list.segments.contains(id));
                if !there || !dropped.iter().all(|pack| list.hidden.contains(pack)) {
                    return Ok(false);
                }
                let at = list.segments.iter().position(|id| gone.contains(id));
                list.segments.retain(|id| !gone.contains(id));
                if let Some(new) = &merged {
                    let path = segment_path(&self.index_dir(), &new.id);
                    self.0.disk.rename(&new.path, &path)?;
                    list.segments.insert(at.unwrap_or(0), new.id);
                }
                let left: HashSet<PackId> = now
                    .segments()
                    .iter()
                    .filter(|s| !gone.contains(&s.id()))
                    .flat_map(|s| s.packs().iter().copied())
                    .collect();
                list.hidden.retain(|pack| left.contains(pack));
                list.put(&self.0.disk, &self.index_dir(), &[])?;
                Ok(true)
            })?;
            if !done {
                break;
            }
            index = self.reload_index()?;
        }
        Ok(())
    }

    /// All packs and their rows.
    pub fn pack_rows(&self) -> Result<Vec<(PackId, PackRowV1)>> {
        self.0.db.read(|rows| pack_rows(rows))
    }

    /// Makes the index anew from the packs' own directories.
    pub fn rebuild_index(&self) -> Result<()> {
        let (root, disk) = (&self.0.root, &self.0.disk);
        self.0
            .db
            .write(|txn| heal(root, disk, txn, &Index::default()))?;
        self.tidy()
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
            VERIFIED.delete(txn, id.as_bytes());
            let mut list = index.list().clone();
            list.generation += 1;
            let generation = list.generation;
            STATE.put(txn, [], &StateV1 { generation })?;
            if index.packs().any(|pack| pack == *id) {
                list.hidden.insert(*id);
            }
            list.put(&self.0.disk, &self.index_dir(), &[])
        })?;
        self.reload_index().map(drop)
    }
}

/// A change of the index that waits to be put in force.
pub(crate) struct Edit {
    pub list: List,
    pub add: Vec<NewSegment>,
}

/// All packs and their rows.
pub fn pack_rows(rows: &dyn crate::meta::Rows) -> Result<Vec<(PackId, PackRowV1)>> {
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

/// Brings index, rows and pack files together: whole packs without a row get one, packs in force that
/// `index` lacks get entries from their own directories, and all others are hidden. Packs whose
/// directory is damaged are left out, for `check` to name and repair.
pub(crate) fn heal(root: &Path, disk: &Disk, txn: &mut Txn<'_>, index: &Index) -> Result<()> {
    let (packs, directory) = (root.join("packs"), root.join("index"));
    let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
    // A list that does not read may have been of any generation before the one that comes now.
    let current = List::read(&directory).map_or(0, |list| list.generation);
    let generation = state.generation.max(current) + 1;
    let known: HashSet<PackId> = index.packs().collect();
    let mut live = HashSet::new();
    let mut entries = Vec::new();
    let mut add = Vec::new();
    for file in std::fs::read_dir(&packs).at("list", &packs)?.flatten() {
        let path = file.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let named = stem.and_then(|stem| stem.parse::<PackId>().ok());
        let Some(named) = named.filter(|_| path.extension().is_some_and(|e| e == "pack")) else {
            continue;
        };
        let row = PACKS.get(txn, named.as_bytes())?;
        if row.is_some_and(|row| row.condemned.is_some()) {
            continue;
        }
        if row.is_none() || !known.contains(&named) {
            let Directory { id, slots, bytes } =
                match PackFile::open(&path).and_then(|pack| pack.directory()) {
                    Err(e) if e.is_corruption() || e.class() == Class::NotFound => continue,
                    done => done?,
                };
            if id != named {
                continue;
            }
            if row.is_none() {
                let row = PackRowV1 {
                    bytes,
                    blobs: slots.len() as u32,
                    born: generation,
                    condemned: None,
                };
                PACKS.put(txn, id.as_bytes(), &row)?;
            }
            if !known.contains(&id) {
                entries.extend(slots.into_iter().map(|slot| (id, slot)));
            }
        }
        live.insert(named);
        if entries.len() >= HEAL_ENTRIES_MAX {
            add.extend(write_sorted(
                disk,
                &directory,
                std::mem::take(&mut entries),
            )?);
        }
    }
    add.extend(write_sorted(disk, &directory, entries)?);
    let list = List {
        generation,
        segments: index.list().segments.clone(),
        hidden: known.difference(&live).copied().collect(),
    };
    list.put(disk, &directory, &add)?;
    STATE.put(txn, [], &StateV1 { generation })
}
