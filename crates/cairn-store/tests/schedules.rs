//! Importers and collectors interleaved: one of them is held before each of its file operations in
//! turn, as SIGSTOP would hold a process, while the other runs to its end. Leases must make every such
//! schedule come out right.

mod common;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::{io, thread};

use cairn_model::BlobId;
use cairn_store::{Disk, Error, Op, Probe, ScrubOptions, Store, scrub};
use common::{NOTES, collect, remove};

fn blob(i: u32) -> Vec<u8> {
    blake3::hash(&i.to_le_bytes()).as_bytes().repeat(30)
}

fn put(store: &Store, name: &str, range: std::ops::Range<u32>) -> Result<(), Error> {
    common::put(store, name, range.map(blob)).map(drop)
}

/// Holds its thread before one operation until it is let go.
struct Holding {
    at: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    count: usize,
    held: bool,
    let_go: bool,
}

impl Probe for Holding {
    fn before(&self, _: &Op) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        if state.count == self.at + 1 {
            state.held = true;
            self.changed.notify_all();
            while !state.let_go {
                state = self.changed.wait(state).unwrap();
            }
        }
        Ok(())
    }
}

impl Holding {
    fn new(at: usize) -> Arc<Self> {
        Arc::new(Self {
            at,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Waits until the thread is held, or done; true where it is held.
    fn wait(&self, held: &thread::JoinHandle<()>) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.held && !held.is_finished() {
            let pause = std::time::Duration::from_millis(1);
            state = self.changed.wait_timeout(state, pause).unwrap().0;
        }
        state.held
    }

    fn let_go(&self) {
        self.state.lock().unwrap().let_go = true;
        self.changed.notify_all();
    }
}

fn is_locked(root: &Path) -> bool {
    let lock = std::fs::File::open(root.join("lock")).unwrap();
    lock.try_lock().is_err()
}

fn assert_shows(root: &Path, name: &str, range: std::ops::Range<u32>, what: &str) {
    let store = Store::open(root, Disk::default(), None).unwrap();
    for _ in 0..2 {
        let note = store.db().read::<_, Error>(|rows| NOTES.get(rows, name));
        let note = note.unwrap().unwrap_or_else(|| panic!("{what}: {name}"));
        assert_eq!(note.0.len(), range.len());
        for (id, i) in note.0.iter().zip(range.clone()) {
            let content = store.get(&BlobId::from_bytes(*id));
            let content = content.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(content == blob(i), "{what}");
        }
        let damage = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap().damage;
        assert!(damage.is_empty(), "{what}: {damage:?}");
        collect(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    let leases = std::fs::read_dir(root.join("leases")).unwrap().count();
    assert_eq!(leases, 0, "{what}: leases stay");
}

/// Runs `held` on a disk that holds it before operation `at`, and `other` while it is held (or after
/// it, where it is held with the repository lock). False where `held` has no such operation.
fn schedule(
    at: usize,
    root: &Path,
    held: impl FnOnce(&Store) -> Result<(), Error> + Send + 'static,
    other: impl FnOnce(&Store) -> Result<(), Error>,
) -> bool {
    let holding = Holding::new(at);
    let store = Store::open(root, Disk::probed(holding.clone()), None).unwrap();
    let thread = thread::spawn(move || held(&store).unwrap());
    let reached = holding.wait(&thread);
    let mut other = Some(other);
    let beside = Store::open(root, Disk::default(), None).unwrap();
    if !is_locked(root)
        && let Some(other) = other.take()
    {
        other(&beside).unwrap();
    }
    holding.let_go();
    thread.join().unwrap();
    if let Some(other) = other {
        other(&beside).unwrap();
    }
    reached
}

fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path(), Disk::default()).unwrap();
    let store = Store::open(dir.path(), Disk::default(), None).unwrap();
    put(&store, "old", 0..30).unwrap();
    put(&store, "stays", 20..40).unwrap();
    dir
}

fn twice_without_old(store: &Store) -> Result<(), Error> {
    remove(store, "old")?;
    collect(store)?;
    collect(store).map(drop)
}

#[test]
fn an_importer_held_anywhere_survives_two_collections() {
    let mut at = 0;
    loop {
        let dir = store();
        let import = |store: &Store| put(store, "new", 5..60);
        let reached = schedule(at, dir.path(), import, twice_without_old);
        let what = format!("import held before operation {at}");
        assert_shows(dir.path(), "new", 5..60, &what);
        assert_shows(dir.path(), "stays", 20..40, &what);
        if !reached {
            assert!(at > 10, "an import has only {at} operations");
            return;
        }
        at += 1;
    }
}

#[test]
fn a_collector_held_anywhere_lets_imports_through() {
    let mut at = 0;
    loop {
        let dir = store();
        remove(
            &Store::open(dir.path(), Disk::default(), None).unwrap(),
            "old",
        )
        .unwrap();
        let import = |store: &Store| put(store, "new", 5..60);
        let reached = schedule(at, dir.path(), |store| collect(store).map(drop), import);
        let what = format!("collection held before operation {at}");
        assert_shows(dir.path(), "new", 5..60, &what);
        assert_shows(dir.path(), "stays", 20..40, &what);
        if !reached {
            assert!(at > 10, "a collection has only {at} operations");
            return;
        }
        at += 1;
    }
}

#[test]
fn two_importers_of_the_same_store_it_once() {
    let mut at = 0;
    loop {
        let dir = store();
        let import = |name: &'static str| move |store: &Store| put(store, name, 100..150);
        let reached = schedule(at, dir.path(), import("one"), import("two"));
        let what = format!("import held before operation {at}");
        let store = Store::open(dir.path(), Disk::default(), None).unwrap();
        let rows = store.pack_rows().unwrap();
        let blobs: u32 = rows.iter().map(|(_, row)| row.blobs).sum();
        assert_eq!(blobs, 40 + 50, "{what}");
        assert_shows(dir.path(), "one", 100..150, &what);
        assert_shows(dir.path(), "two", 100..150, &what);
        if !reached {
            return;
        }
        at += 1;
    }
}
