//! A collection that retires a pack while another process merges the index: what was retired stays hidden.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use cairn_model::BlobId;
use cairn_store::{Disk, Op, Probe, ScrubOptions, Store, scrub};

fn blobs(first: u32, count: u32) -> impl Iterator<Item = Vec<u8>> {
    (first..first + count).map(|seed| {
        let word = |i: u32| (seed * 7919 + i).wrapping_mul(0x9E37_79B9).to_le_bytes();
        (0..500).flat_map(word).collect()
    })
}

/// Runs a collection once, when the first file of an index appears after a pack got its name: that is the
/// merge that follows a publication.
struct Meanwhile {
    other: Store,
    step: AtomicU8,
}

impl Probe for Meanwhile {
    fn before(&self, op: &Op) -> io::Result<()> {
        let is = |path: &Path, kind: &str| path.extension().is_some_and(|e| e == kind);
        match op {
            Op::Rename(_, to) if is(to, "pack") => self.step.store(1, Ordering::SeqCst),
            Op::Create(path) if is(path, "idx") => {
                let begun = self
                    .step
                    .compare_exchange(1, 2, Ordering::SeqCst, Ordering::SeqCst);
                if begun.is_ok() {
                    common::remove(&self.other, "old").map_err(io::Error::other)?;
                    common::collect(&self.other).map_err(io::Error::other)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn a_pack_that_is_retired_during_a_merge_is_not_found_again() {
    let directory = tempfile::TempDir::new().unwrap();
    let root = directory.path().join("store");
    Store::create(&root, Disk::default()).unwrap();
    let open = || Store::open(&root, Disk::default(), None).unwrap();
    // Half of this pack is needed by the other name too, so that a collection rewrites it.
    common::put(&open(), "old", blobs(0, 60)).unwrap();
    let probe = Arc::new(Meanwhile {
        other: open(),
        step: AtomicU8::new(0),
    });
    let merging = Store::open(&root, Disk::probed(probe.clone()), None).unwrap();
    let ids = common::put(&merging, "new", blobs(0, 20).chain(blobs(100, 40))).unwrap();
    assert_eq!(
        probe.step.load(Ordering::SeqCst),
        2,
        "the collection ran beside the merge"
    );
    drop(merging);
    for _ in 0..2 {
        common::collect(&open()).unwrap();
    }
    let store = open();
    for (id, content) in ids.iter().zip(blobs(0, 20).chain(blobs(100, 40))) {
        assert_eq!(store.get(id).unwrap(), content);
        assert_eq!(*id, BlobId::of(&content));
    }
    let found = scrub(&store, &ScrubOptions::all(), &|_| ()).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
}
