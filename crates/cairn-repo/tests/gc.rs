//! What a collection plans, by which policy, and what the cleanup of snapshots leaves to it.

mod common;

use std::path::Path;

use cairn_repo::{GcOptions, GcPolicy, Options, Repo};
use cairn_snapshot::Snapshotter;
use cairn_store::Disk;
use cairn_store::gc::Action;

use common::{files, import, options, shown, write};

/// Two images that share content; the first one is removed again.
fn half_dead(place: &Path, gc: GcPolicy) -> Repo {
    let options = Options {
        gc,
        ..options(Disk::default())
    };
    let repo = Repo::open_or_create(&place.join("repository"), options).unwrap();
    for number in [1, 8] {
        let directory = place.join(number.to_string());
        write(&directory, &files(number));
        import(&repo, &directory, &format!("n{number}")).unwrap();
    }
    repo.images().remove("n1").unwrap();
    repo
}

fn actions(repo: &Repo, all: bool) -> Vec<Action> {
    let options = GcOptions {
        all,
        ..GcOptions::default()
    };
    let plan = repo.gc().plan(&options).unwrap();
    plan.packs().iter().map(|pack| pack.action).collect()
}

#[test]
fn the_policy_decides_what_is_rewritten_and_all_overrules_it() {
    let place = tempfile::tempdir().unwrap();
    let lazy = GcPolicy {
        dead_share_max: 1.0,
        ..GcPolicy::default()
    };
    let repo = half_dead(place.path(), lazy);
    assert_eq!(actions(&repo, false), [Action::Keep, Action::Keep]);
    assert!(actions(&repo, true).contains(&Action::Rewrite));
    let report = repo.gc().run(&GcOptions::default()).unwrap();
    assert_eq!((report.written_bytes, report.removed_packs), (0, 0));

    let merging = GcPolicy {
        small_packs_max: 1,
        ..lazy
    };
    let root = repo.root().to_owned();
    drop(repo);
    let opened = Options {
        gc: merging,
        ..options(Disk::default())
    };
    let repo = Repo::open(&root, opened).unwrap();
    assert_eq!(actions(&repo, false), [Action::Rewrite, Action::Rewrite]);
    let planned = repo.gc().plan(&GcOptions::default()).unwrap();
    let forecast = planned.forecast().unwrap();
    let report = repo.gc().run(&GcOptions::default()).unwrap();
    assert_eq!(report, forecast);
    assert_eq!(report.removed_packs, 2);
    assert_eq!(shown(&repo, "n8").unwrap(), files(8));
}

#[test]
fn rounds_that_take_one_pack_each_come_to_the_same() {
    let mut freed = Vec::new();
    for round_blobs_max in [1, GcPolicy::default().round_blobs_max] {
        let place = tempfile::tempdir().unwrap();
        let policy = GcPolicy {
            round_blobs_max,
            dead_share_max: 0.0,
            ..GcPolicy::default()
        };
        let repo = half_dead(place.path(), policy);
        let report = repo.gc().run(&GcOptions::default()).unwrap();
        freed.push(report.dead_blobs);
        assert_eq!(shown(&repo, "n8").unwrap(), files(8));
        let again = repo.gc().run(&GcOptions::default()).unwrap();
        assert_eq!((again.dead_blobs, again.removed_packs), (0, 0));
    }
    assert!(freed[0] > 0 && freed[0] == freed[1], "{freed:?}");
}

#[test]
fn a_cleanup_removes_what_removals_left_and_leaves_content_to_gc() {
    let place = tempfile::tempdir().unwrap();
    let repo = half_dead(place.path(), GcPolicy::default());
    let top = repo.images().find("n8").unwrap().row.top.unwrap();
    let key = "work".parse().unwrap();
    repo.snapshots()
        .prepare(&key, Some(&top), Default::default())
        .unwrap();
    let heads = repo.root().join("heads");
    let orphan = heads.join("00112233445566778899aabbccddeeff");
    std::fs::create_dir(&orphan).unwrap();
    let before = repo.gc().plan(&GcOptions::default()).unwrap();
    let dead: u64 = before.packs().iter().map(|pack| pack.dead_blobs).sum();
    assert!(dead > 0);
    drop(before);

    repo.snapshots().cleanup().unwrap();

    assert!(!orphan.exists());
    assert_eq!(std::fs::read_dir(&heads).unwrap().count(), 1);
    let after = repo.gc().plan(&GcOptions::default()).unwrap();
    let left: u64 = after.packs().iter().map(|pack| pack.dead_blobs).sum();
    assert_eq!(left, dead);
    assert!(repo.gc().run(&GcOptions::default()).unwrap().dead_blobs > 0);
}
