//! Recompression: blobs stored as differences from others are read, kept, counted, found damaged and saved like any
//! other, and none is ever the difference from one that is a difference itself.

mod common;

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn_model::BlobId;
use cairn_store::gc;
use cairn_store::optimize::{self, Known};
use cairn_store::{
    Codec, Damage, Disk, Error, Location, NewStore, ScrubOptions, Store, salvage, scrub,
};
use common::{collect, optimize, put, remove};

const HEADER: u64 = 16;
const BLOBS: u32 = 40;

fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Content that does not get shorter alone, and differs little from version to version.
fn blob(i: u32, version: u32) -> Vec<u8> {
    let mut content = noise(i, 3000 + (i as usize * 977) % 40_000);
    for part in 0..version {
        let at = (part as usize * 1009) % content.len();
        content[at] ^= 0xff;
        content.extend(noise(1000 * i + part, 20));
    }
    content
}

fn version(store: &Store, number: u32) -> Vec<BlobId> {
    let name = format!("version-{number}");
    put(store, &name, (0..BLOBS).map(|i| blob(i, number))).unwrap()
}

fn open(root: &Path, frames: bool) -> Store {
    let wanted = NewStore {
        frames,
        ..NewStore::default()
    };
    Store::create_as(root, Disk::default(), wanted).unwrap();
    Store::open(root, Disk::default(), None).unwrap()
}

fn find(store: &Store, id: &BlobId) -> Location {
    store.reload_index().unwrap().find(id).unwrap().unwrap()
}

fn assert_reads(store: &Store, versions: &[u32]) {
    for number in versions {
        for i in 0..BLOBS {
            let content = blob(i, *number);
            let read = store.get(&BlobId::of(&content));
            assert!(read.unwrap() == content, "blob {i} of version {number}");
        }
    }
}

fn packs_bytes(store: &Store) -> u64 {
    let rows = store.pack_rows().unwrap();
    let in_force = rows.iter().filter(|(_, row)| row.retired.is_none());
    in_force.map(|(_, row)| row.bytes).sum()
}

fn damage(store: &Store) -> Vec<Damage> {
    let found = scrub(store, &ScrubOptions::all(), &|_| ()).unwrap();
    assert!(found.unread.is_empty());
    found.damage
}

/// What each blob is the difference from, of those that are one. Asserts that it is none itself.
fn differences(store: &Store) -> Vec<(BlobId, BlobId)> {
    let index = store.reload_index().unwrap();
    let mut out = Vec::new();
    for found in index.locations().unwrap() {
        let slot = found.unwrap().slot;
        if let Codec::Delta(other) = slot.codec {
            let other_is = index.find(&other).unwrap().unwrap().slot.codec;
            assert!(other_is.reference().is_none(), "a chain of differences");
            out.push((slot.id, other));
        }
    }
    out
}

#[test]
fn versions_cost_their_difference_and_read_as_before() {
    for frames in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let store = open(&place.path().join("store"), frames);
        version(&store, 0);
        let one = packs_bytes(&store);
        for number in 1..5 {
            version(&store, number);
        }
        let before = packs_bytes(&store);
        let done = optimize(&store, Known::default()).unwrap();
        assert_eq!(done.blobs, 5 * u64::from(BLOBS));
        let found = differences(&store);
        assert_eq!(done.differences, found.len() as u64);
        assert!(
            found.len() >= 4 * BLOBS as usize - 8,
            "{} found",
            found.len()
        );
        let after = packs_bytes(&store);
        assert!(after < one + (before - one) / 5, "{one} {before} {after}");
        assert_reads(&store, &[0, 1, 2, 3, 4]);
        assert!(damage(&store).is_empty());
        // There is nothing left to do, and nothing is done again.
        assert_eq!(optimize(&store, Known::default()).unwrap().packs, 0);
        // A new version costs as much as ever, and little once it is recompressed.
        version(&store, 5);
        optimize(&store, Known::default()).unwrap();
        assert!(packs_bytes(&store) < after + after / 10 + one);
        assert_reads(&store, &[0, 1, 2, 3, 4, 5]);
        differences(&store);
        // An index made anew of the packs finds the same.
        let before = differences(&store).len();
        store.rebuild_index().unwrap();
        assert_eq!(differences(&store).len(), before);
        assert_reads(&store, &[0, 1, 2, 3, 4, 5]);
        // The file of the format says what a program has to know.
        let format = std::fs::read_to_string(place.path().join("store/format")).unwrap();
        assert!(format.contains("requires: deltas\n"), "{format}");
    }
}

#[test]
fn what_differences_need_stays_as_long_as_they_do() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    version(&store, 0);
    version(&store, 1);
    optimize(&store, Known::default()).unwrap();
    let found = differences(&store);
    assert!(!found.is_empty());
    remove(&store, "version-0").unwrap();
    collect(&store).unwrap();
    assert_reads(&store, &[1]);
    assert!(damage(&store).is_empty());
    // The same content comes again, and the only ones to hold it are those blobs.
    let again = put(&store, "again", (0..BLOBS).map(|i| blob(i, 1))).unwrap();
    remove(&store, "version-1").unwrap();
    collect(&store).unwrap();
    assert!(again.iter().all(|id| store.get(id).is_ok()));
    remove(&store, "again").unwrap();
    collect(&store).unwrap();
    assert_eq!(packs_bytes(&store), 0);
}

/// What nobody needs any more may lie on in a pack that is worth keeping, while what it was the difference from is gone.
#[test]
fn a_difference_that_outlived_what_it_was_from_is_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    version(&store, 0);
    optimize(&store, Known::default()).unwrap();
    put(&store, "keeper", (0..40).map(|i| noise(5000 + i, 40_000))).unwrap();
    optimize(&store, Known::default()).unwrap();
    let ids = version(&store, 1);
    optimize(&store, Known::default()).unwrap();
    // Both in one pack, of which the differences are a small part.
    merge(&store, &[find(&store, &ids[0]).pack, keeper_pack(&store)]);
    assert!(!differences(&store).is_empty());
    for name in ["version-0", "version-1"] {
        remove(&store, name).unwrap();
    }
    collect(&store).unwrap();
    let index = store.reload_index().unwrap();
    let left = ids.iter().find(|id| index.find(id).unwrap().is_some());
    let left = left.expect("a difference that nobody needs");
    assert!(!store.has(left).unwrap());
    assert!(damage(&store).is_empty(), "nobody needs what does not read");
    // It comes again, as it is.
    version(&store, 1);
    assert_reads(&store, &[1]);
    collect(&store).unwrap();
    optimize(&store, Known::default()).unwrap();
    assert_reads(&store, &[1]);
    assert!(damage(&store).is_empty());
}

fn keeper_pack(store: &Store) -> cairn_model::PackId {
    find(store, &BlobId::of(&noise(5000, 40_000))).pack
}

/// Puts two packs together, as a collection does with many small ones.
fn merge(store: &Store, packs: &[cairn_model::PackId]) {
    let (marks, mut plan) = common::planned(store).unwrap();
    for pack in &mut plan.packs {
        if packs.contains(&pack.id) {
            pack.action = gc::Action::Rewrite;
        }
    }
    common::carry_out(store, &plan, marks).unwrap();
}

/// An import that finds a difference relies on two packs; a collection that retires both beside it must not win.
#[test]
fn an_import_beside_a_collection_keeps_both_packs() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    version(&store, 0);
    optimize(&store, Known::default()).unwrap();
    version(&store, 1);
    optimize(&store, Known::default()).unwrap();
    assert!(!differences(&store).is_empty());
    let ingest = store.ingest().unwrap();
    let mut feeder = ingest.feeder();
    for i in 0..BLOBS {
        feeder.put(&blob(i, 1)).unwrap();
    }
    let ids = feeder.ids().unwrap();
    drop(feeder);
    let prepared = ingest.finish().unwrap();
    for name in ["version-0", "version-1"] {
        remove(&store, name).unwrap();
    }
    let outcome = collect(&store).unwrap();
    assert!(outcome.waiting_bytes > 0, "{outcome:?}");
    let note = common::Note(ids.iter().map(|id| *id.as_bytes()).collect());
    let published =
        store.publish::<_, Error>(prepared, |txn| common::NOTES.put(txn, "kept", &note));
    published.unwrap();
    assert_reads(&store, &[1]);
    collect(&store).unwrap();
    assert_reads(&store, &[1]);
    assert!(damage(&store).is_empty());
}

#[test]
fn what_is_in_use_stays_as_it_is_until_it_is_not() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), true);
    version(&store, 0);
    let used: HashSet<BlobId> = version(&store, 1).into_iter().collect();
    let known = |in_use: &HashSet<BlobId>| Known {
        in_use: in_use.clone(),
        ..Known::default()
    };
    let done = optimize(&store, known(&used)).unwrap();
    // A pack of which nothing can be recompressed is not even copied; others become differences from what is in it.
    assert_eq!((done.packs, done.differences), (1, u64::from(BLOBS)));
    for id in &used {
        assert_eq!(find(&store, id).slot.codec, Codec::Frame);
    }
    // Half of it is: the rest waits, and comes once it can.
    let half: HashSet<BlobId> = used.iter().copied().take(BLOBS as usize / 2).collect();
    let done = optimize(&store, known(&half)).unwrap();
    assert_eq!((done.packs, done.left_blobs), (1, half.len() as u64));
    assert!(
        half.iter()
            .all(|id| find(&store, id).slot.codec == Codec::Frame)
    );
    assert_eq!(optimize(&store, known(&half)).unwrap().packs, 0);
    let done = optimize(&store, Known::default()).unwrap();
    assert_eq!(
        (done.packs, done.left_blobs, done.blobs),
        (1, 0, half.len() as u64)
    );
    assert_reads(&store, &[0, 1]);
}

#[test]
fn guesses_are_taken_where_nothing_resembles() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    // Too short for a sketch.
    let old = noise(1, 400);
    let new = [&old[..], b"and some more"].concat();
    let ids: Vec<BlobId> = [old, new.clone()]
        .map(|c| put(&store, &BlobId::of(&c).hex(), [c].into_iter()).unwrap()[0])
        .into();
    let known = Known {
        similar: [(ids[1], vec![BlobId::of(b"nowhere"), ids[1], ids[0]])].into(),
        ..Known::default()
    };
    assert_eq!(optimize(&store, known).unwrap().differences, 1);
    assert_eq!(differences(&store), [(ids[1], ids[0])]);
    assert_eq!(store.get(&ids[1]).unwrap(), new);
    // It leaves the repository as content of its own.
    let packed = store.packed(&ids[1]).unwrap();
    assert!(packed.codec.reference().is_none());
    assert_eq!(packed.open(&ids[1]), Some(new));
}

fn flip(store: &Store, found: &Location, at: u64) {
    let path = store.pack_path(&found.pack);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = u64::from(found.slot.offset) + at;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn damage_is_named_and_what_is_whole_is_saved() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    let store = open(&root, false);
    version(&store, 0);
    version(&store, 1);
    optimize(&store, Known::default()).unwrap();
    let found = differences(&store);
    let (of_damaged, damaged) = found[0];
    let (own, _) = found[1];
    // The id at its front, its frame; and the content that another is the difference from.
    for (id, at) in [
        (own, HEADER + 3),
        (own, HEADER + 40),
        (damaged, HEADER + 100),
    ] {
        let place = find(&store, &id);
        flip(&store, &place, at);
        let ids: HashSet<BlobId> = damage(&store)
            .into_iter()
            .map(|damage| match damage {
                Damage::Blob { id, .. } => id,
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted = match id == own {
            true => HashSet::from([own]),
            false => HashSet::from([damaged, of_damaged]),
        };
        assert_eq!(ids, wanted, "byte {at}");
        assert!(store.get(&own).is_err() == (id == own));
        flip(&store, &place, at);
    }
    assert!(damage(&store).is_empty());
    // A pack without its directory gives all back, in whatever order differences and others lie.
    let pack = store.pack(&find(&store, &own).pack).unwrap();
    let mut saved = HashSet::new();
    let nothing = |id: &BlobId| Err(Error::MissingBlob(*id));
    salvage::<Error>(&pack, &nothing, |content| {
        saved.insert(BlobId::of(&content));
        Ok(())
    })
    .unwrap();
    assert_eq!(saved.len(), pack.directory().unwrap().slots.len());
}

#[test]
fn a_reference_that_is_gone_or_a_difference_is_an_error_that_names_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    version(&store, 0);
    optimize(&store, Known::default()).unwrap();
    version(&store, 1);
    optimize(&store, Known::default()).unwrap();
    let (id, other) = differences(&store)[0];
    assert_ne!(find(&store, &id).pack, find(&store, &other).pack);
    store.forget_pack(&find(&store, &other).pack).unwrap();
    let error = store.get(&id).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert!(error.to_string().contains(&format!("{other}")), "{error}");
    // What is needed and gone stops a collection.
    let marked = common::planned(&store);
    assert!(marked.is_err());
}

#[test]
fn what_is_due_is_told_before() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"), false);
    version(&store, 0);
    let due = |store: &Store| {
        let (marks, plan) = common::planned(store).unwrap();
        optimize::due(store, &plan, marks.index(), &HashSet::new()).unwrap()
    };
    assert_eq!(due(&store).packs.len(), 1);
    assert!(due(&store).bytes > 0);
    optimize(&store, Known::default()).unwrap();
    assert!(due(&store).packs.is_empty());
}
