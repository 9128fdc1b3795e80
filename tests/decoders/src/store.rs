//! Files of the store, and where content is cut.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use cairn_model::BlobId;
use cairn_store::{BLOB_BYTES_MAX, Cutter, Disk, PackReader, Segment, Store, cut_all, salvage};

/// A repository that all runs of one process share, and a place for files.
pub(crate) struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

/// One at a time: files in it have fixed names.
pub(crate) fn place() -> &'static Mutex<Place> {
    static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();
    PLACE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("repository");
        Store::create(&root, Disk::default()).expect("a new repository");
        let store = Store::open(&root, Disk::default(), None).expect("it opens");
        Mutex::new(Place { dir, store })
    })
}

/// Runs `f` on a file that holds `bytes`.
fn with_file(name: &str, bytes: &[u8], f: impl FnOnce(PathBuf)) {
    let place = place().lock().unwrap_or_else(PoisonError::into_inner);
    let path = place.dir.path().join(name);
    std::fs::write(&path, bytes).expect("a file in a temporary directory");
    f(path);
}

/// A pack: every blob its directory names is whole or refused, and what is saved of it hashes to itself.
pub fn pack(bytes: &[u8]) {
    with_file("fuzzed.pack", bytes, |path| {
        let Ok(pack) = PackReader::open(&path) else {
            return;
        };
        // Whatever a difference is from: it has to come to the content that is named.
        let content_of = |id: &BlobId| Ok(id.as_bytes().to_vec());
        if let Ok(directory) = pack.directory() {
            assert_eq!(directory.bytes, bytes.len() as u64);
            for slot in &directory.slots {
                if let Ok(content) = pack.blob(slot, &mut Vec::new(), &content_of) {
                    assert_eq!(BlobId::of(&content), slot.id);
                }
            }
        }
        let save = |content: Vec<u8>| {
            assert!(content.len() <= BLOB_BYTES_MAX);
            Ok::<_, cairn_store::Error>(())
        };
        salvage(&pack, &content_of, save).expect("what cannot be saved is passed over");
    });
}

/// A segment of the index: where it verifies, each entry is found, and otherwise nothing worse than an
/// error comes of looking.
pub fn index(bytes: &[u8]) {
    with_file(&format!("{}.idx", "0".repeat(32)), bytes, |path| {
        let Ok(segment) = Segment::open(&path) else {
            return;
        };
        let sound = segment.verify().is_ok();
        let ids: Vec<_> = segment.entries().take(1000).collect();
        for id in ids.into_iter().flatten().map(|(_, slot)| slot.id) {
            let found = segment.find(&id, &[]);
            assert!(!sound || found.is_ok_and(|found| found.is_some()));
        }
        let _ = segment.find(&BlobId::of(bytes), &[]);
    });
}

/// A journal: read to its end or refused.
pub fn journal(bytes: &[u8]) {
    with_file("journal", bytes, |path| {
        if let Ok(rows) = cairn_store::journal_rows(&path) {
            assert!(rows.keys().all(|key| key.len() <= bytes.len()));
        }
    });
}

/// The chunker: the first byte says how the rest arrives, and the cuts are the same however it does.
pub fn chunker(bytes: &[u8]) {
    let Some((how, content)) = bytes.split_first() else {
        return;
    };
    // Short inputs are repeated, so that there is something to cut.
    let times = (600_000 / content.len().max(1)).clamp(1, 4000);
    let content = content.repeat(times);
    let expected: Vec<u32> = cut_all(&content).map(|chunk| chunk.len() as u32).collect();
    let place = place().lock().unwrap_or_else(PoisonError::into_inner);
    let ingest = place.store.ingest().expect("a lease");
    let mut feeder = ingest.feeder();
    let (mut cutter, mut cuts) = (Cutter::default(), Vec::new());
    let (mut rest, mut step) = (&content[..], usize::from(*how) + 1);
    while !rest.is_empty() {
        let (part, later) = rest.split_at(step.min(rest.len()));
        cutter
            .feed(&mut feeder, part, &mut cuts)
            .expect("content is stored");
        rest = later;
        step = step * 7 % 300_007 + 1;
    }
    cutter
        .finish(&mut feeder, &mut cuts)
        .expect("content is stored");
    let cuts: Vec<u32> = cuts.into_iter().map(|(_, length)| length).collect();
    assert_eq!(cuts, expected);
}
