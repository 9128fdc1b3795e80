//! Every read of a pack fails once, and from each one on all fail: whatever was asked for ends with an error
//! that says so and is no damage, nothing wrong comes out, and with the disk back it works.

mod common;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cairn_image::Compression;
use cairn_model::{Class, PackId};
use cairn_repo::{Format, GcOptions, Options, Repo};
use cairn_store::{
    Disk, IoContext, PackBytes, PackDirectory, PackReader, PackSource, ScrubOptions,
};

/// Which reads fail.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Nothing,
    Only(u64),
    From(u64),
}

/// Counts reads, and fails some.
#[derive(Debug)]
struct Faults {
    fault: Mutex<Fault>,
    reads: AtomicU64,
}

impl Faults {
    fn of(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault: Mutex::new(fault),
            reads: AtomicU64::new(0),
        })
    }

    fn read(&self) -> io::Result<()> {
        let now = self.reads.fetch_add(1, Ordering::SeqCst);
        let fails = match *self.fault.lock().unwrap() {
            Fault::Nothing => false,
            Fault::Only(n) => now == n,
            Fault::From(n) => now >= n,
        };
        // EIO, which has no kind of its own.
        if fails {
            Err(io::Error::from_raw_os_error(5))
        } else {
            Ok(())
        }
    }
}

/// The packs of a repository in memory; what is written meanwhile comes in when it is first opened.
#[derive(Debug)]
struct Memory {
    root: std::path::PathBuf,
    held: Mutex<HashMap<PackId, Arc<Vec<u8>>>>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Bytes(Arc<Vec<u8>>, Arc<Faults>);

impl PackBytes for Bytes {
    fn size(&self) -> io::Result<u64> {
        self.1.read()?;
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.read()?;
        let part = usize::try_from(offset)
            .ok()
            .and_then(|at| self.0.get(at..)?.get(..out.len()));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl PackSource for Memory {
    fn list(&self) -> cairn_store::Result<Vec<PackId>> {
        self.faults.read().at("list", &self.root)?;
        PackDirectory::new(&self.root.join("packs")).list()
    }

    fn open(&self, id: &PackId) -> cairn_store::Result<PackReader> {
        let path = self.root.join(format!("packs/{}.pack", id.hex()));
        self.faults.read().at("open pack", &path)?;
        let mut held = self.held.lock().unwrap();
        if !held.contains_key(id) {
            let bytes = std::fs::read(&path).at("open pack", &path)?;
            held.insert(*id, Arc::new(bytes));
        }
        let bytes = Bytes(held[id].clone(), self.faults.clone());
        Ok(PackReader::new(&path, bytes))
    }
}

fn open(root: &Path, faults: &Arc<Faults>) -> Repo {
    let options = Options {
        packs: Some(Arc::new(Memory {
            root: root.to_owned(),
            held: Mutex::default(),
            faults: faults.clone(),
        })),
        ..common::options(Disk::default())
    };
    Repo::open(root, options).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(done.unwrap().success());
}

/// Two images that need some of what the packs of two removed ones hold, so that a collection copies it.
fn repository(root: &Path, trees: &Path) {
    let repo = Repo::open_or_create(root, common::options(Disk::default())).unwrap();
    for number in 0..4 {
        let tree = trees.join(number.to_string());
        common::write(&tree, &common::files(number));
        common::import(&repo, &tree, &format!("app:{number}")).unwrap();
    }
    for number in [0, 2] {
        repo.images().remove(&format!("app:{number}")).unwrap();
    }
}

/// What an operation comes to; `None` where it says by itself that something could not be read.
type Outcome = cairn_repo::Result<Option<Vec<u8>>>;

/// Tries `what` with each read failing, or one in `step`. It works on a copy of the repository where it changes that.
fn each_read_fails(changes: bool, step: usize, what: &dyn Fn(&Repo, &Path) -> Outcome) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("r");
    repository(&root, dir.path());
    let mut number = 0;
    let mut scratch = || {
        number += 1;
        let place = dir.path().join(format!("try{number}"));
        std::fs::create_dir(&place).unwrap();
        place
    };
    let prepared = |place: &Path| {
        if changes {
            copy(&root, place);
            place.join("r")
        } else {
            root.clone()
        }
    };
    let place = scratch();
    let good = Faults::of(Fault::Nothing);
    let expected = what(&open(&prepared(&place), &good), &place).unwrap();
    assert!(expected.is_some());
    let reads = good.reads.load(Ordering::SeqCst);
    assert!(reads > 3, "{reads}");
    for n in (0..reads).step_by(step) {
        for fault in [Fault::Only(n), Fault::From(n)] {
            let place = scratch();
            let root = prepared(&place);
            let faults = Faults::of(fault);
            let repo = open(&root, &faults);
            let done = what(&repo, &place);
            // Threads that meet at a pack open it once or twice, so the last reads may not happen.
            let hit = faults.reads.load(Ordering::SeqCst) > n;
            match done {
                // A blob is looked up again after a read that failed; a single fault is overcome by that.
                Ok(Some(out)) => {
                    let may = !hit || matches!(fault, Fault::Only(_));
                    assert!(may, "{fault:?} was not noticed");
                    assert!(Some(out) == expected, "{fault:?} changed what came out");
                }
                Ok(None) => {}
                Err(e) => {
                    let words = cairn_model::one_line(&e);
                    assert_eq!(e.class(), Class::Unavailable, "{fault:?}: {words}");
                    assert!(words.contains("nput/output error"), "{fault:?}: {words}");
                }
            }
            // The disk is back.
            *faults.fault.lock().unwrap() = Fault::Nothing;
            let again = scratch();
            assert!(what(&repo, &again).unwrap().is_some(), "{fault:?}");
            let fresh = open(&root, &faults);
            for number in [1, 3] {
                let files = common::shown(&fresh, &format!("app:{number}")).unwrap();
                assert!(files == common::files(number), "{fault:?}: app:{number}");
            }
            std::fs::remove_dir_all(&place).unwrap();
            std::fs::remove_dir_all(&again).unwrap();
        }
    }
}

#[test]
fn an_export_ends_with_a_clean_error() {
    each_read_fails(false, 1, &|repo, place| {
        let images = repo.images().to_export(&["app:1".to_owned()])?;
        let out = place.join("image.tar");
        let done = repo
            .images()
            .export(&images, &out, Format::Docker, Compression::None);
        assert_eq!(done.is_ok(), out.exists(), "a file is whole or not there");
        done?;
        Ok(Some(std::fs::read(out).unwrap()))
    });
}

#[test]
fn a_checkout_ends_with_a_clean_error() {
    each_read_fails(false, 1, &|repo, place| {
        let out = place.join("root");
        let done = repo
            .images()
            .export_root(&repo.images().find("app:1")?, &out, false);
        assert_eq!(done.is_ok(), out.exists(), "nothing half is left");
        done?;
        let mut all = Vec::new();
        for (name, content) in common::files(1) {
            assert!(std::fs::read(out.join(&name)).unwrap() == content, "{name}");
            all.extend(content);
        }
        Ok(Some(all))
    });
}

#[test]
fn a_check_takes_what_it_cannot_read_for_no_damage() {
    each_read_fails(true, 1, &|repo, _| {
        let report = repo.check().packs(&ScrubOptions::all())?;
        assert!(report.is_sound(), "{report:?}");
        assert!(report.affected.is_empty() && report.faults.is_empty());
        Ok(report.unread.is_empty().then(Vec::new))
    });
}

#[test]
fn a_repair_leaves_alone_what_it_cannot_read() {
    // It reads everything three times, as the check above does once.
    each_read_fails(true, 5, &|repo, _| {
        let report = repo.check().repair()?;
        assert!(report.lost.is_empty(), "{report:?}");
        assert!(!repo.root().join("quarantine").exists());
        Ok(report.unread.is_empty().then(Vec::new))
    });
}

#[test]
fn a_collection_ends_with_a_clean_error_and_loses_nothing() {
    each_read_fails(true, 1, &|repo, _| {
        let options = GcOptions {
            all: true,
            ..GcOptions::default()
        };
        repo.gc().run(&options)?;
        Ok(Some(Vec::new()))
    });
}
