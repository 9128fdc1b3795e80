//! Any sequence of imports, commits, removals, collections, crashes and restarts, held against a model
//! that is a map from names to files.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cairn_crash_model::Failing;
use cairn_repo::{GcOptions, OptimizeOptions, Repo};
use cairn_snapshot::Snapshotter;
use cairn_store::{Disk, ScrubOptions};
use common::Files;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const TREES: u64 = 6;

#[derive(Debug, Clone)]
enum Step {
    /// Import of a tree under its name.
    Import(u64),
    /// A change on top of an image becomes another image.
    Commit(u64),
    /// A name goes, of an import or of a commit.
    Remove(u64, bool),
    Collect,
    /// What is stored is recompressed.
    Optimize,
    /// The repository is dropped and opened again.
    Restart,
    /// The step is tried while one operation of the disk fails, and everything is dropped.
    Crash(Box<Step>, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let simple = prop_oneof![
        4 => (0..TREES).prop_map(Step::Import),
        2 => (0..TREES).prop_map(Step::Commit),
        3 => (0..TREES, any::<bool>()).prop_map(|(n, committed)| Step::Remove(n, committed)),
        2 => Just(Step::Collect),
        2 => Just(Step::Optimize),
        1 => Just(Step::Restart),
    ];
    let crash = (simple.clone(), 0_usize..60);
    prop_oneof![
        3 => simple,
        1 => crash.prop_map(|(step, at)| Step::Crash(Box::new(step), at)),
    ]
}

type Model = BTreeMap<String, Files>;

fn name(number: u64, committed: bool) -> String {
    format!("{}:{number}", if committed { "done" } else { "app" })
}

/// What `step` makes of the model.
fn expected(model: &Model, step: &Step) -> Model {
    let mut next = model.clone();
    match step {
        Step::Import(n) => drop(next.insert(name(*n, false), common::files(*n))),
        Step::Commit(n) => {
            if let Some(base) = model.get(&name(*n, false)) {
                let mut files = base.clone();
                files.insert("own".into(), format!("changed {n}").into_bytes());
                next.insert(name(*n, true), files);
            }
        }
        Step::Remove(n, committed) => drop(next.remove(&name(*n, *committed))),
        Step::Collect | Step::Optimize | Step::Restart => {}
        Step::Crash(inner, _) => return expected(model, inner),
    }
    next
}

fn perform(repo: &Repo, trees: &Path, step: &Step) -> cairn_repo::Result<()> {
    match step {
        Step::Import(n) => {
            common::import(repo, &trees.join(n.to_string()), &name(*n, false))?;
        }
        Step::Commit(n) => {
            let (base, key) = (name(*n, false), format!("work-{n}"));
            if repo.images().find(&base).is_err() {
                return Ok(());
            }
            common::change(repo, &key, &base, format!("changed {n}").as_bytes())?;
            common::commit(repo, &key, &base, &name(*n, true))?;
            repo.snapshots().remove(&key.parse().unwrap())?;
        }
        Step::Remove(n, committed) => {
            let name = name(*n, *committed);
            if repo.images().find(&name).is_ok() {
                repo.images().remove(&name)?;
            }
        }
        Step::Collect => drop(repo.gc().run(&GcOptions::default())?),
        Step::Optimize => drop(repo.optimize(&OptimizeOptions::default())?),
        Step::Restart | Step::Crash(..) => {}
    }
    Ok(())
}

fn shown(repo: &Repo) -> Model {
    let names = common::names(repo);
    names
        .into_iter()
        .map(|name| {
            let files = common::shown(repo, &name).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, files)
        })
        .collect()
}

/// Snapshots that a crash left without a commit.
fn drop_leftovers(repo: &Repo) {
    for n in 0..TREES {
        let key = format!("work-{n}").parse().unwrap();
        if repo.snapshots().stat(&key).is_ok() {
            repo.snapshots().remove(&key).unwrap();
        }
    }
}

fn run(steps: &[Step]) {
    let dir = tempfile::tempdir().unwrap();
    let trees = dir.path().join("trees");
    for n in 0..TREES {
        common::write(&trees.join(n.to_string()), &common::files(n));
    }
    let root = dir.path().join("r");
    let open = || Repo::open_or_create(&root, common::options(Disk::default())).unwrap();
    let mut repo = open();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Restart => repo = open(),
            Step::Crash(inner, at) => {
                let probe = Arc::new(Failing::at(*at));
                let failing = common::options(Disk::probed(probe));
                let done = Repo::open(&root, failing).and_then(|r| perform(&r, &trees, inner));
                repo = open();
                let now = shown(&repo);
                let next = expected(&model, inner);
                assert!(
                    now == next || (done.is_err() && now == model),
                    "{inner:?} came out half done: {done:?}"
                );
                drop_leftovers(&repo);
                model = now;
            }
            _ => {
                perform(&repo, &trees, step).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                model = expected(&model, step);
            }
        }
        assert!(shown(&repo) == model, "after {step:?}");
    }
    let report = repo.check().packs(&ScrubOptions::all()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    for name in common::names(&repo) {
        repo.images().remove(&name).unwrap();
    }
    // An import under a name that was taken leaves the image that had it without one.
    while let Some(image) = repo.images().readable().unwrap().first() {
        repo.images().remove(&image.row.id.to_string()).unwrap();
    }
    repo.gc().run(&GcOptions::default()).unwrap();
    let left = repo.store().pack_rows().unwrap();
    assert_eq!(left, [], "everything was removed and collected");
    for place in ["packs", "tmp", "leases", "heads"] {
        let count = std::fs::read_dir(root.join(place)).unwrap().count();
        assert_eq!(count, 0, "{place}");
    }
}

/// 40 sequences, or as many as PROPTEST_CASES says; what failed is kept beside this file.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if asked { default.cases } else { 40 },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_repository_does_as_the_model(steps in prop::collection::vec(step(), 1..14)) {
        run(&steps);
    }
}
