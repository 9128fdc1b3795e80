//! What the floors above rely on: content comes back, only published content stays, collection
//! respects leases, and the derived files can be lost.

mod common;

use std::path::Path;

use cairn_model::BlobId;
use cairn_store::gc::Marks;
use cairn_store::{Disk, Error, ScrubOptions, Store, scrub};
use common::{NOTES, Note, collect, mark_all, remove};

fn open(root: &Path) -> Store {
    Store::create(root, Disk::default()).unwrap();
    Store::open(root, Disk::default(), None).unwrap()
}

fn blob(i: u32) -> Vec<u8> {
    let seed = blake3::hash(&i.to_le_bytes());
    seed.as_bytes().repeat(50 + i as usize % 100)
}

fn put(store: &Store, name: &str, range: std::ops::Range<u32>) -> Vec<BlobId> {
    common::put(store, name, range.map(blob)).unwrap()
}

#[test]
fn content_comes_back_and_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids = put(&store, "a", 0..100);
    let again = put(&store, "b", 50..100);
    assert_eq!(ids[50..], again);
    assert_eq!(
        store.pack_rows().unwrap().len(),
        1,
        "the second import stored nothing"
    );
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(store.get(id).unwrap(), blob(i as u32));
    }
    let reopened = open(dir.path());
    assert_eq!(reopened.get(&ids[7]).unwrap(), blob(7));
    assert!(
        scrub(&reopened, &ScrubOptions::all(), &|_| ())
            .unwrap()
            .damage
            .is_empty()
    );
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ingest = store.ingest().unwrap();
    ingest.feeder().put(b"lost").unwrap();
    let prepared = ingest.finish().unwrap();
    let refused: Result<(), Error> = store.publish(prepared, |_| Err(Error::Worker));
    assert!(refused.is_err());
    assert!(matches!(
        store.get(&BlobId::of(b"lost")),
        Err(Error::MissingBlob(_))
    ));
    for place in ["packs", "tmp", "leases"] {
        assert_eq!(
            std::fs::read_dir(dir.path().join(place)).unwrap().count(),
            0,
            "{place}"
        );
    }
}

#[test]
fn collection_frees_what_no_row_names_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = put(&store, "old", 0..60);
    let new = put(&store, "new", 40..120);
    assert_eq!(collect(&store).unwrap().dead_blobs, 0);
    remove(&store, "old").unwrap();
    assert_eq!(collect(&store).unwrap().dead_blobs, 40);
    for (i, id) in new.iter().enumerate() {
        assert_eq!(store.get(id).unwrap(), blob(40 + i as u32));
    }
    assert!(matches!(store.get(&old[3]), Err(Error::MissingBlob(_))));
    remove(&store, "new").unwrap();
    collect(&store).unwrap();
    assert_eq!(store.pack_rows().unwrap(), []);
    assert_eq!(
        std::fs::read_dir(dir.path().join("packs")).unwrap().count(),
        0
    );
}

#[test]
fn an_import_that_was_stopped_across_two_collections_publishes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "old", 0..50);
    let ingest = store.ingest().unwrap();
    let mut feeder = ingest.feeder();
    for i in 0..50 {
        feeder.put(&blob(i)).unwrap();
    }
    let ids = feeder.ids().unwrap();
    remove(&store, "old").unwrap();
    let first = collect(&store).unwrap();
    assert_eq!(first.removed_packs, 0, "the lease holds the retired pack");
    assert!(first.waiting_bytes > 0);
    collect(&store).unwrap();
    drop(feeder);
    let prepared = ingest.finish().unwrap();
    let note = Note(ids.iter().map(|id| *id.as_bytes()).collect());
    store
        .publish::<_, Error>(prepared, |txn| NOTES.put(txn, "new", &note))
        .unwrap();
    assert_eq!(collect(&store).unwrap().waiting_bytes, 0);
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(store.get(id).unwrap(), blob(i as u32));
    }
}

/// Makes the journal so long that the database serves.
fn lengthen(store: &Store) {
    let note = Note(vec![[7; 32]; 100]);
    let rows = |txn: &mut cairn_store::Txn<'_>| {
        (0..1400).try_for_each(|i| NOTES.put(txn, format!("long {i}"), &note))
    };
    store.db().write::<_, Error>(rows).unwrap();
}

#[test]
fn index_database_and_journal_can_be_lost() {
    for lost in ["index", "journal", "index/CURRENT"] {
        can_be_lost(lost, false);
    }
    for lost in ["index", "db", "journal", "index/CURRENT"] {
        can_be_lost(lost, true);
    }
}

fn can_be_lost(lost: &str, long: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    if long {
        lengthen(&store);
        // Who does not know the rows yet opens the database for them.
        store = open(dir.path());
    }
    let ids = put(&store, "a", 0..80);
    drop(store);
    let path = dir.path().join(lost);
    if path.is_dir() {
        std::fs::remove_dir_all(&path).unwrap()
    } else {
        std::fs::remove_file(&path).unwrap()
    }
    let store = open(dir.path());
    assert_eq!(store.get(&ids[5]).unwrap(), blob(5), "without {lost}");
    let note = store.db().read(|rows| NOTES.get(rows, "a")).unwrap();
    assert_eq!(note.map(|n| n.0.len()), Some(80), "without {lost}");
    store.db().verify().unwrap();
}

/// Packs below `root` that this process has open though they are unlinked: their space is not free.
fn held_packs(root: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter(|link| {
            link.starts_with(root) && link.to_string_lossy().ends_with(".pack (deleted)")
        })
        .count()
}

#[test]
fn a_pack_that_was_read_gives_its_space_back_when_it_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = open(dir.path());
    let ids = put(&store, "a", 0..50);
    for reader in [&store, &other] {
        reader.reload_index().unwrap();
        assert_eq!(reader.get(&ids[3]).unwrap(), blob(3));
    }
    remove(&store, "a").unwrap();
    collect(&store).unwrap();
    assert_eq!(store.pack_rows().unwrap().len(), 0, "it is collected");
    // What another process has open goes as soon as that looks at the index.
    assert_eq!(held_packs(dir.path()), 1);
    other.reload_index().unwrap();
    assert_eq!(held_packs(dir.path()), 0);
}

#[test]
fn a_missing_blob_stops_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "a", 0..10);
    let note = Note(vec![[7; 32]]);
    store
        .db()
        .write::<_, Error>(|txn| NOTES.put(txn, "b", &note))
        .unwrap();
    let mut marks = Marks::new(&store).unwrap();
    let stopped = store.db().read(|rows| mark_all(rows, &mut marks));
    assert!(matches!(stopped, Err(Error::MissingBlob(_))));
}

#[test]
fn a_repository_with_an_unknown_feature_is_left_alone_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("r");
    drop(open(&root));
    let path = root.join("format");
    let first = std::fs::read_to_string(&path).unwrap();
    assert_eq!(first, "cairn repository 1, fastcdc-2020 16/64/256 KiB\n");
    let second = "cairn repository 2, fastcdc-2020 16/64/256 KiB\nrequires: warp\n";
    std::fs::write(&path, second).unwrap();
    let tries = [
        Store::open(&root, Disk::default(), None).map(drop),
        Store::create(&root, Disk::default()),
        cairn_store::restore_format(&root, &Disk::default()).map(drop),
    ];
    for tried in tries {
        let error = tried.unwrap_err();
        assert_eq!(error.class(), cairn_model::Class::FailedPrecondition);
        let words = error.to_string();
        let root = root.display().to_string();
        assert!(words.contains("warp") && words.contains(&root), "{words}");
        assert!(words.contains("newer version"), "{words}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), second);
}
