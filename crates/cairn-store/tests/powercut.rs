//! Every file operation of the store fails once, and power is cut after every one of them.
//!
//! A scenario (imports, a removal, a collection) runs on a disk that records each operation, and from the
//! record crash images are built. Each must open, and hold everything that was acknowledged before the
//! cut. The database directory is never in an image: it is not synced, and losing it must cost nothing.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use cairn_crash_model::{Failing, Recording, images};
use cairn_model::BlobId;
use cairn_store::gc::Marks;
use cairn_store::optimize::Known;
use cairn_store::{Disk, Error, ScrubOptions, Store, scrub};
use common::{NOTES, mark_all};

/// Images looked at behind each operation.
const IMAGES_MAX: usize = 12;

fn blob(i: u32) -> Vec<u8> {
    if i >= VERSIONS.start {
        let mut noise = vec![0; 5000];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(i % 1000).to_le_bytes());
        hasher.finalize_xof().fill(&mut noise);
        noise.extend(i.to_le_bytes());
        return noise;
    }
    blake3::hash(&i.to_le_bytes())
        .as_bytes()
        .repeat(20 + i as usize % 30)
}

/// Numbers of blobs that are noise, and of the same with a little changed.
const VERSIONS: std::ops::Range<u32> = 1000..1004;
const LATER_VERSIONS: std::ops::Range<u32> = 2000..2004;

fn put_versions(store: &Store, name: &str, version: usize) -> Result<(), Error> {
    put(store, name, [VERSIONS, LATER_VERSIONS][version].clone())
}

fn put(store: &Store, name: &str, range: std::ops::Range<u32>) -> Result<(), Error> {
    common::put(store, name, range.map(blob)).map(drop)
}

fn collect(store: &Store) -> Result<(), Error> {
    common::collect(store)?;
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
    common::remove(&store, "a")?;
    collect(&store)?;
    told(&promises, None);
    put(&store, "d", 0..10)?;
    promises.insert("d", 0..10);
    told(&promises, None);
    collect(&store)?;
    // Content of which all is the difference from something, then less of what that is.
    put_versions(&store, "old", 0)?;
    promises.insert("old", VERSIONS);
    told(&promises, None);
    put_versions(&store, "new", 1)?;
    promises.insert("new", LATER_VERSIONS);
    told(&promises, None);
    let done = common::optimize(&store, Known::default())?;
    assert!(done.differences > 0, "{done:?}");
    told(&promises, None);
    promises.remove("old");
    told(&promises, None);
    common::remove(&store, "old")?;
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
    let hold = store.db().hold();
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
    drop(hold);
    let damage = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap().damage;
    assert!(damage.is_empty(), "{what}: {damage:?}");
    put(&store, "after", 100..103).unwrap_or_else(|e| panic!("{what}: cannot write: {e}"));
    collect(&store).unwrap_or_else(|e| panic!("{what}: cannot collect: {e}"));
}

#[test]
fn every_operation_may_fail_once() {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("r");
        let probe = Arc::new(Failing::at(at));
        let mut promised = Promises::new();
        let done = scenario(&root, Disk::probed(probe.clone()), &mut |promises, _| {
            promised = promises.clone()
        });
        let reached = probe.is_reached();
        assert!(
            done.is_err() == reached || probe.may_be_a_merge(),
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

#[test]
fn power_may_be_cut_after_every_operation() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("r");
    let recording = Arc::new(Recording::default());
    let mut told: Vec<(usize, Promises)> = Vec::new();
    let count = || recording.count();
    scenario(
        &root,
        Disk::probed(recording.clone()),
        &mut |promises, _| told.push((count(), promises.clone())),
    )
    .unwrap();
    let ops = recording.ops();
    assert!(ops.len() > 60, "{} operations", ops.len());
    let mut seen = HashSet::new();
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
        for image in images(&ops[..cut], IMAGES_MAX, cut as u64) {
            if !seen.insert((image.key(), kept.keys().copied().collect::<Vec<_>>())) {
                continue;
            }
            let crash = tempfile::tempdir().unwrap();
            image.write(&root, &crash.path().join("r")).unwrap();
            let last = ops[..cut].last().map(|op| format!("{op:.60?}"));
            assert_holds(
                &crash.path().join("r"),
                &kept,
                &format!("cut at {cut} after {last:?}, {}", image.choice),
            );
        }
    }
    assert!(seen.len() > 300, "only {} images", seen.len());
}
