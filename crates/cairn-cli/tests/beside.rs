//! Commands beside each other: one that is stopped, many at once, one that is killed while it opens.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Cairn, noise};

fn tree(cairn: &Cairn, i: u64) -> String {
    let tree = cairn.path(&format!("tree{i}"));
    std::fs::create_dir_all(&tree).unwrap();
    for f in 0..20 {
        std::fs::write(tree.join(format!("common{f}")), noise(f, 60_000)).unwrap();
        std::fs::write(
            tree.join(format!("own{f}")),
            noise(1000 * (i + 1) + f, 60_000),
        )
        .unwrap();
    }
    tree.to_str().unwrap().to_owned()
}

fn start(cairn: &Cairn, args: &[&str]) -> Child {
    let mut command = cairn.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let kill = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(kill.success());
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

/// True where it ended within the time.
fn ends(child: &mut Child, within: Duration) -> bool {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > within {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// A writer is stopped in the middle; what it relies on is removed and collected, twice; it goes on and
/// everything is whole.
#[test]
fn a_stopped_import_survives_two_collections() {
    let cairn = Cairn::new();
    let trees: Vec<String> = (0..2).map(|i| tree(&cairn, i)).collect();
    let mut in_the_middle = 0;
    for round in 0..12_u64 {
        cairn.ok(&["import", &trees[0], "--name", "old"]);
        let mut import = start(&cairn, &["import", &trees[1], "--name", "new"]);
        std::thread::sleep(Duration::from_millis(1 + round * 4));
        signal(&import, "-STOP");
        if std::fs::read_dir(cairn.root().join("leases"))
            .unwrap()
            .count()
            > 0
        {
            in_the_middle += 1;
        }
        let mut others = start(&cairn, &["rmi", "old"]);
        // Stopped with the repository lock it holds up everybody, as it has to; then it goes on first.
        if ends(&mut others, Duration::from_secs(2)) {
            finish(others);
            for _ in 0..2 {
                cairn.ok(&["gc"]);
            }
            signal(&import, "-CONT");
            assert!(ends(&mut import, Duration::from_secs(60)));
        } else {
            signal(&import, "-CONT");
            finish(others);
            cairn.ok(&["gc"]);
        }
        finish(import);
        cairn.ok(&["check"]);
        let out = cairn.path("out");
        let out = out.to_str().unwrap();
        cairn.ok(&["export", "new", "--format", "dir", "-o", out]);
        for f in 0..20 {
            let content = std::fs::read(format!("{out}/common{f}")).unwrap();
            assert!(content == noise(f, 60_000), "common{f}");
        }
        std::fs::remove_dir_all(out).unwrap();
        cairn.ok(&["rmi", "new"]);
        cairn.ok(&["gc"]);
    }
    assert!(
        in_the_middle >= 3,
        "only {in_the_middle} were stopped with a lease"
    );
    let packs = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    assert_eq!(packs.count(), 0);
}

#[test]
fn the_same_from_two_importers_at_once_is_stored_once() {
    let cairn = Cairn::new();
    let tree = tree(&cairn, 0);
    let once = {
        let alone = Cairn::new();
        alone.ok(&["import", &tree, "--name", "a"]);
        alone.json(&["stats"])["blobs"].as_u64().unwrap()
    };
    for round in 0..4 {
        let imports: Vec<Child> = (0..4)
            .map(|i| {
                start(
                    &cairn,
                    &["import", &tree, "--name", &format!("r{round}:{i}")],
                )
            })
            .collect();
        imports.into_iter().for_each(finish);
    }
    cairn.ok(&["check"]);
    let stats = cairn.json(&["stats"]);
    assert_eq!(stats["dead_bytes"], 0, "{stats}");
    // The tree once, and a document for each image.
    let images = cairn.json(&["images"]).as_array().unwrap().len() as u64;
    assert_eq!(
        stats["blobs"].as_u64().unwrap(),
        once - 1 + images,
        "{stats}"
    );
}

#[test]
fn a_waiter_says_for_whom_and_the_trace_tells_how_long() {
    let cairn = Cairn::new();
    let tree = tree(&cairn, 0);
    cairn.ok(&["import", &tree, "--name", "a"]);
    let lock = std::fs::File::open(cairn.root().join("lock")).unwrap();
    lock.lock().unwrap();
    let trace = cairn.path("trace");
    // One without a terminal, as in a script, and one with.
    let plain = cairn.command(&["images"]);
    let inner = format!(
        "{} --root {} images",
        env!("CARGO_BIN_EXE_cairn"),
        cairn.root().display()
    );
    let mut shown = std::process::Command::new("script");
    shown.args(["-qec", &inner, "/dev/null"]);
    let mut waiting: Vec<_> = [plain, shown]
        .into_iter()
        .map(|mut images| {
            images
                .env("CAIRN_LOCK_TRACE", &trace)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    assert!(!ends(&mut waiting[0], Duration::from_millis(1500)));
    drop(lock);
    let said: Vec<String> = waiting
        .into_iter()
        .map(|images| {
            let output = images.wait_with_output().unwrap();
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            out + &String::from_utf8_lossy(&output.stderr)
        })
        .collect();
    // The last that had it wrote its words into the lock.
    assert!(
        said[1].contains("waiting") && said[1].contains("cairn import"),
        "{said:?}"
    );
    assert!(!said[0].contains("waiting"), "not in a script: {said:?}");
    let lines = std::fs::read_to_string(trace).unwrap();
    let waited = lines.lines().map(|line| {
        assert!(line.ends_with("cairn images"), "{line}");
        let waited = line.split(' ').next().unwrap();
        waited.parse::<u64>().unwrap()
    });
    assert!(waited.max().unwrap() > 1_000_000, "{lines}");
}

#[test]
fn a_kill_while_it_opens_harms_nothing() {
    let cairn = Cairn::new();
    let tree = tree(&cairn, 0);
    cairn.ok(&["import", &tree, "--name", "a"]);
    cairn.use_database();
    let mut killed = 0;
    for round in 0..150_u64 {
        // A tag changes the database, so that the next one has something to apply.
        if round % 10 == 0 {
            cairn.ok(&["tag", "a", &format!("t{round}")]);
            // Without its files it is filled from the journal: the longest opening there is.
            if round % 20 == 0 {
                std::fs::remove_dir_all(cairn.root().join("db")).unwrap();
            }
        }
        let mut child = start(&cairn, &["tag", "a", "again"]);
        std::thread::sleep(Duration::from_micros(200 + round * 97));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
    }
    assert!(killed > 20, "only {killed} were killed");
    cairn.ok(&["tag", "a", "again"]);
    let names = cairn.image_names();
    assert_eq!(names.len(), 17, "{names:?}");
    cairn.ok(&["check"]);
}
