//! Repositories with the feature `frames`: every blob is a zstd frame with its checksum, laid so that the
//! kernel can read it in place, and all else is as in any repository.

mod common;

use std::path::Path;

use cairn_model::BlobId;
use cairn_store::{
    Codec, Disk, Error, NewStore, PackReader, ScrubOptions, Slot, Store, is_checksum_cut, salvage,
    scrub,
};
use common::{NOTES, Note};

const HEADER: u64 = 16;
/// Blobs of a note.
const NOTE: usize = 140;

fn open(root: &Path) -> Store {
    let wanted = NewStore {
        frames: true,
        ..NewStore::default()
    };
    Store::create_as(root, Disk::default(), wanted).unwrap();
    Store::open(root, Disk::default(), None).unwrap()
}

/// Content of many lengths, of which every third is noise.
fn blob(i: u32) -> Vec<u8> {
    let seed = blake3::hash(&i.to_le_bytes());
    let length = (i as usize * 37) % 9000;
    if i.is_multiple_of(3) {
        let mut noise = vec![0; length];
        blake3::Hasher::new_keyed(seed.as_bytes())
            .finalize_xof()
            .fill(&mut noise);
        return noise;
    }
    let mut text = seed.to_hex().repeat(length / 64 + 1).into_bytes();
    text.truncate(length);
    text
}

/// Notes that name all blobs of a range: a row has room for some hundred.
fn names(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count.div_ceil(NOTE)).map(move |n| format!("{name}-{n}"))
}

/// Stores blobs in one pack.
fn put(store: &Store, name: &str, range: std::ops::Range<u32>) -> Vec<BlobId> {
    let ingest = store.ingest().unwrap();
    let mut feeder = ingest.feeder();
    for i in range {
        feeder.put(&blob(i)).unwrap();
    }
    let ids = feeder.ids().unwrap();
    drop(feeder);
    let published = store.publish::<_, Error>(ingest.finish().unwrap(), |txn| {
        for (name, ids) in names(name, ids.len()).zip(ids.chunks(NOTE)) {
            let note = Note(ids.iter().map(|id| *id.as_bytes()).collect());
            NOTES.put(txn, &name, &note)?;
        }
        Ok(())
    });
    published.unwrap();
    ids
}

fn remove(store: &Store, name: &str, count: usize) {
    for name in names(name, count) {
        common::remove(store, &name).unwrap();
    }
}

/// Every slot of every pack, with what is wrong with how it lies.
fn slots(store: &Store) -> Vec<Slot> {
    let mut all = Vec::new();
    for (id, _) in store.pack_rows().unwrap() {
        let directory = store.pack(&id).unwrap().directory().unwrap();
        assert_eq!(directory.bytes % 4096, 0, "the kernel reads whole pages");
        for slot in &directory.slots {
            let end = u64::from(slot.offset) + HEADER + u64::from(slot.stored);
            assert_eq!(slot.codec, Codec::Frame);
            assert!(!is_checksum_cut(end), "a blob ends at {end}");
        }
        all.extend(directory.slots);
    }
    all
}

#[test]
fn frames_lie_as_the_kernel_needs_them_also_after_a_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("r"));
    let old = put(&store, "old", 0..2500);
    put(&store, "new", 2000..5000);
    assert!(slots(&store).len() > 4000);
    remove(&store, "old", old.len());
    let outcome = common::collect(&store).unwrap();
    assert!(
        outcome.written_bytes > 0,
        "a pack was rewritten: {outcome:?}"
    );
    assert!(slots(&store).len() < 3100);
    for i in 2000..5000 {
        assert_eq!(store.get(&BlobId::of(&blob(i))).unwrap(), blob(i));
    }
    assert!(matches!(store.get(&old[1]), Err(Error::MissingBlob(_))));
    let found = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    // Zeros between and behind frames are nothing that another collection could free.
    assert_eq!(common::collect(&store).unwrap().written_bytes, 0);
}

#[test]
fn a_damaged_frame_is_named_and_the_others_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("r"));
    put(&store, "a", 0..900);
    let slots = slots(&store);
    let (id, _) = store.pack_rows().unwrap()[0];
    let path = store.pack_path(&id);
    let mut bytes = std::fs::read(&path).unwrap();
    let hit = slots[slots.len() / 2];
    bytes[(u64::from(hit.offset) + HEADER) as usize + hit.stored as usize / 2] ^= 4;
    // The directory goes, too.
    let end = bytes.len() - 100;
    bytes.truncate(end);
    std::fs::write(&path, &bytes).unwrap();
    let pack = PackReader::open(&path).unwrap();
    let mut saved = Vec::new();
    let nothing = |id: &BlobId| Err(Error::MissingBlob(*id));
    salvage::<Error>(&pack, &nothing, |content| {
        saved.push(BlobId::of(&content));
        Ok(())
    })
    .unwrap();
    let wanted: Vec<BlobId> = slots.iter().map(|slot| slot.id).collect();
    let wanted: Vec<BlobId> = wanted.into_iter().filter(|id| *id != hit.id).collect();
    assert_eq!(saved, wanted);
    let damage = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap().damage;
    assert!(!damage.is_empty());
}

#[test]
fn only_a_new_repository_gets_frames_and_an_older_program_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    Store::create(&plain, Disk::default()).unwrap();
    let wanted = NewStore {
        frames: true,
        ..NewStore::default()
    };
    let refused = Store::create_as(&plain, Disk::default(), wanted).unwrap_err();
    assert!(refused.to_string().contains("feature frames"), "{refused}");
    let store = Store::open(&plain, Disk::default(), None).unwrap();
    put(&store, "a", 0..50);
    let (id, _) = store.pack_rows().unwrap()[0];
    let directory = store.pack(&id).unwrap().directory().unwrap();
    assert!(
        directory
            .slots
            .iter()
            .all(|slot| slot.codec != Codec::Frame)
    );

    let framed = dir.path().join("framed");
    drop(open(&framed));
    // A program without features knows no second version; one with them names what it does not know.
    let text = std::fs::read_to_string(framed.join("format")).unwrap();
    let wanted = "cairn repository 2, fastcdc-2020 16/64/256 KiB\nrequires: frames\n";
    assert_eq!(text, wanted);
    // Asked again, or not asked, it stays as it is.
    assert!(open(&framed).has_frames());
    Store::create(&framed, Disk::default()).unwrap();
    assert!(open(&framed).has_frames());
}

#[test]
fn a_lost_format_comes_back_with_its_feature() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("r");
    let store = open(&root);
    put(&store, "a", 0..50);
    drop(store);
    let text = std::fs::read_to_string(root.join("format")).unwrap();
    std::fs::write(root.join("format"), "").unwrap();
    assert!(cairn_store::restore_format(&root, &Disk::default()).unwrap());
    // And with the one that only documents could tell of.
    let restored = std::fs::read_to_string(root.join("format")).unwrap();
    assert_eq!(restored, text + "requires: own-names\n");
}

#[test]
fn what_leaves_for_others_is_stored_as_they_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("r"));
    let ids = put(&store, "a", 0..300);
    for (i, id) in ids.iter().enumerate() {
        let packed = store.packed(id).unwrap();
        let content = blob(i as u32);
        assert_eq!(packed.open(id).unwrap(), content);
        match packed.codec {
            Codec::Plain => assert_eq!(packed.payload, content),
            Codec::Zstd => assert!(packed.payload.len() < content.len()),
            Codec::Frame | Codec::Delta(_) => panic!("blob {i} leaves as it is here"),
        }
    }
}
