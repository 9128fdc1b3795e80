//! Every file operation of the store fails once, and power is cut after every one of them.
//!
//! A scenario (imports, a removal, a collection) runs on a disk that records each operation. From the
//! record, crash images are built: what was synced is there; of what was not, all, nothing, or a torn
//! part; renames and unlinks whose directory was not synced happened or did not. Each image must open,
//! and hold everything that was acknowledged before the cut. The database directory is never in an
//! image: it is not synced, and losing it must cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cairn_model::BlobId;
use cairn_store::codec::Stored;
use cairn_store::gc::{self, Marks};
use cairn_store::{Disk, Error, Op, Probe, Rows, ScrubOptions, Store, Table, scrub};

#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
struct Note(Vec<[u8; 32]>);

impl Stored for Note {
    const TYPE: u8 = 200;
    const NAME: &'static str = "note";
}

const NOTES: Table<Note> = Table::new(b'n');

fn blob(i: u32) -> Vec<u8> {
    blake3::hash(&i.to_le_bytes())
        .as_bytes()
        .repeat(20 + i as usize % 30)
}

fn put(store: &Store, name: &str, range: std::ops::Range<u32>) -> Result<(), Error> {
    let ingest = store.ingest()?;
    let mut feeder = ingest.feeder();
    for i in range {
        feeder.put(&blob(i))?;
    }
    let ids = feeder.ids()?;
    drop(feeder);
    let note = Note(ids.iter().map(|id| *id.as_bytes()).collect());
    store.publish(ingest.finish()?, |txn| NOTES.put(txn, name, &note))
}

fn mark_all(rows: &dyn Rows, marks: &mut Marks) -> Result<(), Error> {
    for (_, note) in NOTES.scan(rows, [])? {
        for id in note.0 {
            marks.mark(&BlobId::from_bytes(id))?;
        }
    }
    Ok(())
}

fn collect(store: &Store) -> Result<(), Error> {
    gc::adopt_orphans(store)?;
    let mut marks = Marks::new(store)?;
    store.db().read(|rows| mark_all(rows, &mut marks))?;
    let plan = gc::plan(store, &marks)?;
    gc::apply::<Error>(store, &plan, marks, |txn, marks| mark_all(txn, marks))?;
    store.db().compact()
}

type Promises = BTreeMap<&'static str, std::ops::Range<u32>>;

/// Runs the scenario; `told` hears what is promised after each step. Stops at the first error.
fn scenario(
    root: &Path,
    disk: Disk,
    told: &mut dyn FnMut(&Promises, Option<&'static str>),
) -> Result<(), Error> {
    let mut promises = Promises::new();
    Store::create(root, disk.clone())?;
    let store = Store::open(root, disk, None)?;
    for (name, range) in [("a", 0..12), ("b", 6..20), ("c", 15..30)] {
        told(&promises, Some(name));
        put(&store, name, range.clone())?;
        promises.insert(name, range);
        told(&promises, None);
    }
    // While it is being removed, both answers are right.
    promises.remove("a");
    told(&promises, None);
    store.db().write::<_, Error>(|txn| {
        NOTES.delete(txn, "a");
        Ok(())
    })?;
    collect(&store)?;
    told(&promises, None);
    put(&store, "d", 0..10)?;
    promises.insert("d", 0..10);
    told(&promises, None);
    collect(&store)
}

fn assert_holds(root: &Path, promises: &Promises, what: &str) {
    let opened = Store::open(root, Disk::default(), None);
    let store = match opened {
        Ok(store) => store,
        // Cut before the repository was made: nothing was promised, and it can be made again.
        Err(Error::NotARepository(_)) if promises.is_empty() => {
            Store::create(root, Disk::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
            Store::open(root, Disk::default(), None).unwrap_or_else(|e| panic!("{what}: {e}"))
        }
        Err(e) => panic!("{what}: does not open: {e}"),
    };
    store
        .db()
        .verify()
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    for (name, range) in promises {
        let note = store.db().read::<_, Error>(|rows| NOTES.get(rows, name));
        let note = note.unwrap_or_else(|e| panic!("{what}: {e}"));
        let note = note.unwrap_or_else(|| panic!("{what}: {name} was acknowledged and is gone"));
        assert_eq!(note.0.len(), range.len());
        for (id, i) in note.0.iter().zip(range.clone()) {
            let content = store
                .get(&BlobId::from_bytes(*id))
                .unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
            assert!(content == blob(i), "{what}");
        }
    }
    // Whatever else is there, every row's blobs are whole, and work goes on.
    let mut marks = Marks::new(&store).unwrap();
    store
        .db()
        .read(|rows| mark_all(rows, &mut marks))
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let damage = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap().damage;
    assert!(damage.is_empty(), "{what}: {damage:?}");
    put(&store, "after", 100..103).unwrap_or_else(|e| panic!("{what}: cannot write: {e}"));
    collect(&store).unwrap_or_else(|e| panic!("{what}: cannot collect: {e}"));
}

struct Failing {
    at: usize,
    count: AtomicUsize,
    errno: i32,
}

impl Probe for Failing {
    fn before(&self, _: &Op) -> io::Result<()> {
        let now = self.count.fetch_add(1, Ordering::Relaxed);
        if now == self.at {
            Err(io::Error::from_raw_os_error(self.errno))
        } else {
            Ok(())
        }
    }

    fn short_write(&self, len: usize) -> usize {
        len / 2
    }
}

#[test]
fn every_operation_may_fail_once() {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("r");
        // 5 EIO, 28 ENOSPC, by turns.
        let probe = Arc::new(Failing {
            at,
            count: AtomicUsize::new(0),
            errno: if at % 2 == 0 { 5 } else { 28 },
        });
        let mut promised = Promises::new();
        let done = scenario(&root, Disk::probed(probe.clone()), &mut |promises, _| {
            promised = promises.clone()
        });
        let reached = probe.count.load(Ordering::Relaxed) > at;
        assert_eq!(
            done.is_err(),
            reached,
            "operation {at} failed and nobody was told"
        );
        if !reached {
            assert!(at > 60, "the scenario has only {at} operations");
            return;
        }
        assert_holds(&root, &promised, &format!("operation {at} failed"));
        at += 1;
    }
}

#[derive(Default)]
struct Recording(Mutex<Vec<Op>>);

impl Probe for Recording {
    fn before(&self, op: &Op) -> io::Result<()> {
        self.0.lock().unwrap().push(op.clone());
        Ok(())
    }
}

/// What of the unsynced survives a cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Survives {
    /// Everything reached the disk.
    All,
    /// Names did, data did not.
    Names,
    /// Data did, names did not.
    Data,
    /// Half of the last unsynced data of each file, and names.
    Torn,
}

/// Files as they would be after a cut behind `ops`: a model of a disk that keeps only what it promised.
fn image(ops: &[Op], survives: Survives) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeSet<PathBuf>) {
    #[derive(Clone, Default)]
    struct File {
        data: Vec<u8>,
        synced: usize,
    }
    let mut inodes: Vec<File> = Vec::new();
    // Names now, and names as the directories last promised.
    let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut durable: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    for op in ops {
        match op {
            Op::Create(path) => {
                inodes.push(File::default());
                names.insert(path.clone(), inodes.len() - 1);
            }
            Op::Append(path, bytes) => inodes[names[path]].data.extend_from_slice(bytes),
            Op::Truncate(path, len) => {
                let file = &mut inodes[names[path]];
                file.data.truncate(*len as usize);
                file.synced = file.synced.min(*len as usize);
            }
            Op::Sync(path) => {
                let file = &mut inodes[names[path]];
                file.synced = file.data.len();
            }
            Op::Rename(from, to) => {
                let inode = names.remove(from).unwrap();
                names.insert(to.clone(), inode);
            }
            Op::Unlink(path) => {
                names.remove(path);
            }
            Op::Mkdir(path) => {
                directories.insert(path.clone());
            }
            Op::SyncDir(path) => {
                durable.retain(|name, _| name.parent() != Some(path));
                let here = names.iter().filter(|(name, _)| name.parent() == Some(path));
                durable.extend(here.map(|(name, inode)| (name.clone(), *inode)));
            }
        }
    }
    let names = if survives == Survives::Data {
        durable
    } else {
        names
    };
    let content = |file: &File| match survives {
        Survives::All | Survives::Data => file.data.clone(),
        Survives::Names => file.data[..file.synced].to_vec(),
        Survives::Torn => file.data[..file.synced + (file.data.len() - file.synced) / 2].to_vec(),
    };
    (
        names
            .into_iter()
            .map(|(name, inode)| (name, content(&inodes[inode])))
            .collect(),
        directories,
    )
}

#[test]
fn power_may_be_cut_after_every_operation() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("r");
    let recording = Arc::new(Recording::default());
    let mut told: Vec<(usize, Promises)> = Vec::new();
    let count = || recording.0.lock().unwrap().len();
    scenario(
        &root,
        Disk::probed(recording.clone()),
        &mut |promises, _| told.push((count(), promises.clone())),
    )
    .unwrap();
    let ops = recording.0.lock().unwrap().clone();
    assert!(ops.len() > 60, "{} operations", ops.len());
    for cut in 0..=ops.len() {
        let none = Promises::new();
        let promises = told
            .iter()
            .rev()
            .find(|(at, _)| *at <= cut)
            .map_or(&none, |(_, promises)| promises);
        // What the next word takes back is not promised any more while it is on its way.
        let next = told
            .iter()
            .find(|(at, _)| *at > cut)
            .map_or(promises, |(_, promises)| promises);
        let kept: Promises = promises
            .iter()
            .filter(|(name, _)| next.contains_key(*name))
            .map(|(n, r)| (*n, r.clone()))
            .collect();
        for survives in [
            Survives::All,
            Survives::Names,
            Survives::Data,
            Survives::Torn,
        ] {
            let (files, directories) = image(&ops[..cut], survives);
            let crash = tempfile::tempdir().unwrap();
            let place = |path: &Path| {
                crash
                    .path()
                    .join("r")
                    .join(path.strip_prefix(&root).unwrap())
            };
            for path in &directories {
                std::fs::create_dir_all(place(path)).unwrap();
            }
            for (path, content) in &files {
                let path = place(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let last = ops[..cut].last().map(|op| format!("{op:.60?}"));
            assert_holds(
                &crash.path().join("r"),
                &kept,
                &format!("cut at {cut}, {survives:?} survives, after {last:?}"),
            );
        }
    }
}
