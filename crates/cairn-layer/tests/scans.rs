//! Directories as layers: files that several threads read, and what is said of them beside their content.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use cairn_layer::{Fingerprint, Limits, Scanned, export_layer, read_content, scan, survey};
use cairn_model::Kind;
use cairn_store::{Disk, Error, Ingest, Store};

fn store(place: &Path) -> Store {
    let root = place.join("store");
    Store::create(&root, Disk::default()).unwrap();
    Store::open(&root, Disk::default(), None).unwrap()
}

fn scanned(
    store: &Store,
    ingest: &Ingest,
    tree: &Path,
) -> cairn_layer::Result<(Scanned, Option<Fingerprint>)> {
    scan(store, tree, ingest.feeder(), Limits::default(), &|_| ())
}

/// Content that is different for each file.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    blake3::Hasher::new()
        .update(&number.to_le_bytes())
        .finalize_xof()
        .fill(&mut content);
    content
}

#[test]
fn each_file_has_its_own_content_and_the_tar_its_length() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    // Some of each length: none, one blob, several; more than the threads hold at once.
    let lens = [0, 1, 100, 5000, 65_536, 65_537, 700_000];
    let files: Vec<(String, Vec<u8>)> = (0..400)
        .map(|n| (format!("{n:03}"), content(n, lens[n % lens.len()])))
        .collect();
    for (name, content) in &files {
        std::fs::write(tree.join(name), content).unwrap();
    }
    std::fs::hard_link(tree.join("001"), tree.join("link")).unwrap();
    let mut sparse = std::fs::File::create(tree.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(4 << 20)).unwrap();
    sparse.write_all(b"end").unwrap();

    let store = store(place.path());
    let ingest = store.ingest().unwrap();
    let (found, _) = scanned(&store, &ingest, &tree).unwrap();
    store
        .publish::<_, Error>(ingest.finish().unwrap(), |_| Ok(()))
        .unwrap();
    let read = |name: &str| {
        let mut entries = found.entries.iter();
        let entry = entries.find(|entry| entry.path == name.as_bytes()).unwrap();
        let Kind::File(content) = &entry.kind else {
            panic!("{name} is {:?}", entry.kind)
        };
        let mut out = Vec::new();
        read_content(&store, content, &mut out).unwrap();
        out
    };
    for (name, content) in &files {
        assert!(read(name) == *content, "{name}");
    }
    let sparse = read("sparse");
    assert_eq!(
        (sparse.len(), &sparse[4 << 20..]),
        ((4 << 20) + 3, &b"end"[..])
    );
    let mut tar = Vec::new();
    let (digest, bytes) = export_layer(&store, &found.layer, &mut tar).unwrap();
    assert_eq!(found.layer.tar_bytes, Some(bytes));
    assert_eq!((tar.len() as u64, found.layer.diff_id), (bytes, None));
    // With the digest known the export holds itself to it.
    let mut known = found.layer;
    known.diff_id = Some(digest);
    assert!(export_layer(&store, &known, &mut std::io::sink()).is_ok());
    known.diff_id = Some(cairn_model::Digest::from_bytes([0; 32]));
    assert!(export_layer(&store, &known, &mut std::io::sink()).is_err());
}

#[test]
fn the_state_that_the_reading_finds_is_that_of_a_walk() {
    // Nobody has written there for a minute; else neither trusts it.
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let ingest = store.ingest().unwrap();
    let before = survey(tree).unwrap();
    let (found, state) = scanned(&store, &ingest, tree).unwrap();
    let after = survey(tree).unwrap();
    if before.fingerprint == after.fingerprint {
        assert_eq!(state, before.fingerprint);
    }
    assert_eq!(found.layer.content_bytes, after.bytes);
}

#[test]
fn a_file_that_is_shorter_than_it_says_is_named() {
    // The kernel says a page of each attribute, and gives a line.
    let places = [
        "/sys/fs/ext4/features",
        "/sys/kernel/mm/swap",
        "/sys/kernel/mm/numa",
    ];
    let Some(tree) = places.iter().map(Path::new).find(|place| place.is_dir()) else {
        assert!(
            std::env::var_os("CAIRN_TESTS_ALL").is_none(),
            "must not be skipped here"
        );
        return eprintln!("skipped: needs one of {places:?}");
    };
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let ingest = store.ingest().unwrap();
    let said = scanned(&store, &ingest, tree).unwrap_err().to_string();
    assert!(
        said.starts_with("cannot read ") && said.len() < 200,
        "{said}"
    );
}
