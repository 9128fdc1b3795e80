//! Hundreds of snapshots, each committed over the one before, are mounted as one.

use std::os::fd::AsRawFd;
use std::path::Path;

use cairn_model::{Driver, MountPlan, SnapshotKey};
use cairn_repo::{Options, Repo};
use cairn_snapshot::{Labels, Snapshotter};

/// Snapshots in the chain, and how often one of them is mounted on the way.
const COUNT: usize = 300;
/// Files below all of them.
const BASE: usize = 1100;
const EVERY: usize = 7;

fn key(number: usize) -> SnapshotKey {
    format!("n{number}").parse().unwrap()
}

/// More than a block, so that it is read from its pack.
fn noise(number: usize) -> Vec<u8> {
    let mut out = vec![0; 8000];
    let mut hasher = blake3::Hasher::new();
    let hasher = hasher.update(&number.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Commits a snapshot that has what `write` puts into its head.
fn commit(repo: &Repo, number: usize, write: impl FnOnce(&Path)) {
    let parent = number.checked_sub(1).map(key);
    let work: SnapshotKey = "work".parse().unwrap();
    let prepare = repo
        .snapshots()
        .prepare(&work, parent.as_ref(), Labels::default());
    let MountPlan::Packs(plan) = prepare.unwrap() else {
        panic!("a plan of another driver");
    };
    write(&plan.head.unwrap().upper);
    let commit = repo
        .snapshots()
        .commit(&key(number), &work, Labels::default());
    commit.unwrap();
}

#[test]
fn hundreds_of_commits_are_mounted_as_one() {
    let place = tempfile::tempdir().unwrap();
    let options = Options {
        driver: Some(Driver::Packs),
        frames: true,
        ..Options::default()
    };
    let repo = Repo::open_or_create(place.path(), options).unwrap();
    if repo.views().driver().unwrap() != Driver::Packs {
        let all = std::env::var_os("CAIRN_TESTS_ALL");
        assert!(all.is_none(), "the driver packs does not work here");
        return eprintln!("skipped: the driver packs does not work here");
    }
    commit(&repo, 0, |upper| {
        for n in 0..BASE {
            std::fs::write(upper.join(format!("base{n}")), n.to_string().repeat(30)).unwrap();
        }
    });
    let (mut whole, mut shared) = (0, None);
    for n in 1..COUNT {
        commit(&repo, n, |upper| {
            std::fs::write(upper.join("last"), noise(n)).unwrap();
            std::fs::write(upper.join(format!("own{n}")), n.to_string()).unwrap();
        });
        if n % EVERY != 0 && n + 1 != COUNT {
            continue;
        }
        let view: SnapshotKey = "view".parse().unwrap();
        let plan = repo
            .snapshots()
            .view(&view, Some(&key(n)), Labels::default());
        let plan = plan.unwrap();
        let MountPlan::Packs(of) = &plan else {
            panic!("a plan of another driver");
        };
        whole += usize::from(of.images.len() == 1);
        let count = of.images.len();
        assert!((1..=16).contains(&count), "{n}: {count}");
        shared = of.contents[0].image.shared.clone();
        let mounted = cairn_view::mount(&plan).unwrap();
        let root = format!("/proc/self/fd/{}", mounted.as_raw_fd());
        let read = |name: String| std::fs::read_to_string(format!("{root}/{name}")).unwrap();
        assert!(std::fs::read(format!("{root}/last")).unwrap() == noise(n));
        for number in [1, n / 2 + 1, n] {
            assert_eq!(read(format!("own{number}")), number.to_string());
        }
        assert_eq!(read("base77".into()), "77".repeat(30));
        if n + 1 == COUNT {
            let names = std::fs::read_dir(&root).unwrap().count();
            assert_eq!(names, BASE + COUNT);
        }
        repo.snapshots().remove(&view).unwrap();
    }
    assert!(whole <= 2, "{whole}");
    // As many mounts are left as can be, and none after all.
    let place = shared.unwrap().parent().unwrap().to_owned();
    let mounts = || {
        let entries = std::fs::read_dir(&place).unwrap().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    };
    assert!((100..=128).contains(&mounts()), "{}", mounts());
    repo.gc()
        .run(&cairn_repo::GcOptions {
            prune_cache: true,
            ..Default::default()
        })
        .unwrap();
    assert_eq!(mounts(), 0);
}
