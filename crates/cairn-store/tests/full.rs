//! A disk that is full although there was room just now: whoever gives out room hears of it and has the say.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_store::{Disk, Error, Op, OpenOptions, Probe, Room, Store};

/// No pack can be written any more.
struct Full;

impl Probe for Full {
    fn before(&self, op: &Op) -> std::io::Result<()> {
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|is| is == "pack");
        match op {
            Op::Append(path, _) if is_pack(path) => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

/// Gives out whatever is asked for.
#[derive(Debug, Default)]
struct Generous {
    ran_out: AtomicUsize,
}

impl Room for Generous {
    fn take(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn ran_out(&self) -> String {
        self.ran_out.fetch_add(1, Ordering::SeqCst);
        "the disk of the test is full".to_owned()
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_is_no_room_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path(), Disk::default()).unwrap();
    let room = Arc::new(Generous::default());
    let options = OpenOptions {
        disk: Disk::probed(Arc::new(Full)),
        room: Some(room.clone()),
        ..OpenOptions::default()
    };
    let store = Store::open_with(dir.path(), options).unwrap();
    let refused = common::put(&store, "a", [b"content".to_vec()].into_iter());
    let Err(Error::NoRoom { why }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(why, "the disk of the test is full");
    assert!(room.ran_out.load(Ordering::SeqCst) > 0);
    let store = Store::open(dir.path(), Disk::default(), None).unwrap();
    assert!(store.pack_rows().unwrap().is_empty());
    let ids = common::put(&store, "a", [b"content".to_vec()].into_iter()).unwrap();
    assert_eq!(store.get(&ids[0]).unwrap(), b"content");
}
