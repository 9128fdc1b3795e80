//! Power is cut after every operation of import, commit, removal, collection, recompression and repair: whatever the
//! disk then holds opens, holds what was acknowledged, and checks sound.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use cairn_crash_model::{Failing, Recording, images};
use cairn_repo::{GcOptions, OptimizeOptions, Repo};
use cairn_snapshot::Snapshotter;
use cairn_store::{Disk, ScrubOptions};
use common::Files;

/// Images looked at behind each operation.
const IMAGES_MAX: usize = 10;

/// What was acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
struct Promises {
    images: BTreeMap<String, Files>,
    /// Active snapshots.
    snapshots: Vec<String>,
    /// A pack was cut on purpose and not repaired yet.
    damaged: bool,
}

struct Scenario<'a> {
    repo: Repo,
    trees: &'a Path,
    promises: Promises,
    told: &'a mut dyn FnMut(&Promises),
}

impl Scenario<'_> {
    fn tell(&mut self) {
        (self.told)(&self.promises);
    }

    fn import(&mut self, number: u64) -> cairn_repo::Result<()> {
        let name = format!("app:{number}");
        common::import(&self.repo, &self.trees.join(number.to_string()), &name)?;
        self.promises.images.insert(name, common::files(number));
        self.tell();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> cairn_repo::Result<()> {
        // While it goes, both answers are right.
        self.promises.images.remove(name);
        self.tell();
        self.repo.images().remove(name).map(drop)
    }

    fn run(&mut self) -> cairn_repo::Result<()> {
        for number in 0..3 {
            self.import(number)?;
        }
        common::change(&self.repo, "work", "app:1", b"changed")?;
        self.promises.snapshots.push("work".into());
        self.tell();
        common::commit(&self.repo, "work", "app:1", "done:1")?;
        let mut changed = common::files(1);
        changed.insert("own".into(), b"changed".to_vec());
        self.promises.images.insert("done:1".into(), changed);
        self.tell();
        self.remove("app:0")?;
        self.repo.gc().run(&GcOptions::default())?;
        self.tell();
        let report = self.repo.optimize(&OptimizeOptions::default())?;
        assert!(report.done.differences > 0 && report.complete, "{report:?}");
        self.tell();
        self.import(3)?;
        self.promises.snapshots.clear();
        self.tell();
        self.repo.snapshots().remove(&"work".parse().unwrap())?;
        // A pack loses its end: every blob of it is still there, and a repair saves them all.
        self.promises.damaged = true;
        self.tell();
        let packs = self.repo.store().pack_rows()?;
        let (id, row) = packs.iter().max_by_key(|(_, row)| row.bytes).unwrap();
        let disk = self.repo.store().disk();
        let mut pack = disk.append(&self.repo.store().pack_path(id))?;
        pack.truncate(row.bytes - 10)?;
        pack.sync()?;
        let report = self.repo.check().repair()?;
        assert!(report.is_sound(), "{report:?}");
        self.promises.damaged = false;
        self.tell();
        self.remove("app:2")?;
        self.repo.gc().run(&GcOptions::default())?;
        Ok(())
    }
}

fn scenario(
    root: &Path,
    trees: &Path,
    disk: Disk,
    told: &mut dyn FnMut(&Promises),
) -> cairn_repo::Result<()> {
    let repo = Repo::open_or_create(root, common::options(disk))?;
    let mut scenario = Scenario {
        repo,
        trees,
        promises: Promises::default(),
        told,
    };
    scenario.run()
}

fn trees() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..9 {
        common::write(&dir.path().join(number.to_string()), &common::files(number));
    }
    dir
}

fn assert_holds(root: &Path, trees: &Path, promises: &Promises, what: &str) {
    let repo = Repo::open_or_create(root, common::options(Disk::default()))
        .unwrap_or_else(|e| panic!("{what}: does not open: {e}"));
    let hold = repo.store().db().hold();
    if promises.damaged {
        let report = repo
            .check()
            .repair()
            .unwrap_or_else(|e| panic!("{what}: cannot repair: {e}"));
        assert!(report.is_sound(), "{what}: {report:?}");
    }
    let report = repo
        .check()
        .packs(&ScrubOptions::all())
        .unwrap_or_else(|e| panic!("{what}: cannot check: {e}"));
    assert!(report.is_sound(), "{what}: {report:?}");
    for (name, files) in &promises.images {
        let shown = common::shown(&repo, name).unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
        assert!(shown == *files, "{what}: {name} shows something else");
    }
    for key in &promises.snapshots {
        let key = key.parse().unwrap();
        repo.snapshots()
            .usage(&key)
            .unwrap_or_else(|e| panic!("{what}: {key}: {e}"));
    }
    // Images that were on their way are whole or not there.
    for name in common::names(&repo) {
        common::shown(&repo, &name).unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
    }
    drop(hold);
    common::import(&repo, &trees.join("8"), "after:1")
        .unwrap_or_else(|e| panic!("{what}: cannot import: {e}"));
    repo.gc()
        .run(&GcOptions::default())
        .unwrap_or_else(|e| panic!("{what}: cannot collect: {e}"));
    assert!(
        common::shown(&repo, "after:1").unwrap() == common::files(8),
        "{what}"
    );
}

#[test]
fn power_may_be_cut_at_any_moment() {
    let (dir, trees) = (tempfile::tempdir().unwrap(), trees());
    let root = dir.path().join("r");
    let recording = Arc::new(Recording::default());
    let mut told: Vec<(usize, Promises)> = Vec::new();
    let disk = Disk::probed(recording.clone());
    let recorded = recording.clone();
    scenario(&root, trees.path(), disk, &mut |promises| {
        told.push((recorded.count(), promises.clone()));
    })
    .unwrap();
    let ops = recording.ops();
    assert!(ops.len() > 150, "{} operations", ops.len());
    let mut seen = HashSet::new();
    for cut in 0..=ops.len() {
        let none = Promises::default();
        let before = told.iter().rev().find(|(at, _)| *at <= cut);
        let promises = before.map_or(&none, |(_, promises)| promises);
        for image in images(&ops[..cut], IMAGES_MAX, cut as u64) {
            let names: Vec<String> = promises.images.keys().cloned().collect();
            if !seen.insert((image.key(), names, promises.snapshots.clone())) {
                continue;
            }
            let crash = tempfile::tempdir().unwrap();
            let place = crash.path().join("r");
            image.write(&root, &place).unwrap();
            let last = ops[..cut].last().map(|op| format!("{op:.60?}"));
            let what = format!("cut at {cut} after {last:?}, {}", image.choice);
            assert_holds(&place, trees.path(), promises, &what);
        }
    }
    assert!(seen.len() > 500, "only {} images", seen.len());
}

#[test]
fn any_operation_may_fail() {
    let trees = trees();
    // Every third, for time; the store's own tests take every one of theirs.
    for at in (0..).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("r");
        let probe = Arc::new(Failing::at(at));
        let mut promised = Promises::default();
        let disk = Disk::probed(probe.clone());
        let done = scenario(&root, trees.path(), disk, &mut |promises| {
            promised = promises.clone();
        });
        if !probe.is_reached() {
            done.unwrap();
            assert!(at > 150, "the scenario has only {at} operations");
            return;
        }
        // What fails beside a publication (a merge, say) may be told or made good, never half done.
        assert_holds(
            &root,
            trees.path(),
            &promised,
            &format!("operation {at} failed"),
        );
    }
}
