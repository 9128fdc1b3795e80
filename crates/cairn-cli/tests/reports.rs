//! Reports of repositories that are empty, busy, read-only or damaged, and to disks that are full: each is right or an
//! error of one line, and none changes or waits for what it need not.

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Cairn, Tar, docker_archive, is_root, noise};
use serde_json::Value;

/// Every report that names no image.
const REPORTS: [&[&str]; 20] = [
    &["stats"],
    &["stats", "--by", "image"],
    &["stats", "--by", "layer"],
    &["stats", "--by", "snapshot"],
    &["stats", "--by", "head"],
    &["stats", "--by", "path"],
    &["stats", "--by", "file"],
    &["stats", "--by", "type"],
    &["stats", "--by", "package"],
    &["stats", "--by", "time"],
    &["stats", "--by", "file", "--since", "1d"],
    &["stats", "--show", "waste"],
    &["stats", "--show", "sharing"],
    &["stats", "--show", "histograms"],
    &["stats", "--show", "growth"],
    &["images"],
    &["orphans"],
    &["snapshot", "ls"],
    &["gc", "-n"],
    &["doctor"],
];

fn archive(cairn: &Cairn, name: &str, seed: u64) -> Vec<u8> {
    let shared = Tar::new().file("usr/lib/shared", &noise(1, 600_000)).done();
    let own = Tar::new().file("app/own", &noise(seed, 500_000)).done();
    let archive = docker_archive(name, &[shared, own], |_| ());
    std::fs::write(cairn.path("archive.tar"), &archive).unwrap();
    archive
}

/// A repository with two images that share a layer.
fn repository() -> Cairn {
    let cairn = Cairn::new();
    for (name, seed) in [("a:1", 10), ("b:1", 20)] {
        archive(&cairn, name, seed);
        cairn.ok(&["import", cairn.path("archive.tar").to_str().unwrap()]);
    }
    cairn
}

/// The reports that name images, too, and the page.
fn all_reports(page: &str) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = REPORTS.iter().map(|report| report.to_vec()).collect();
    all.push(vec!["stats", "--what-if-removed", "a:1,b:1"]);
    all.push(vec!["stats", "--by", "path", "--image", "a:1"]);
    all.push(vec!["why", "a:1"]);
    all.push(vec!["stats", "--html", page]);
    all
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn reports_of_an_empty_repository_say_that_there_is_nothing() {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    for report in REPORTS {
        assert!(words(&cairn.output(report)).is_empty(), "{report:?}");
        cairn.json(report);
    }
    let stats = cairn.json(&["stats"]);
    for figure in [
        "logical_bytes",
        "unique_bytes",
        "dead_bytes",
        "blobs",
        "packs",
    ] {
        assert_eq!(stats[figure], 0, "{figure}");
    }
    for by in ["image", "path", "package", "time"] {
        let view = cairn.json(&["stats", "--by", by]);
        assert_eq!(view["rows"], Value::Array(Vec::new()), "{by}");
        assert_eq!(view["total"]["stored_bytes"], 0);
    }
    let page = cairn.path("page.html");
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .trim_end()
            .ends_with("</html>")
    );
    cairn.fails(&["stats", "--what-if-removed", "a:1"], 1, "a:1");
}

/// Figures that do not change with what goes on beside.
fn figures(cairn: &Cairn) -> Vec<Value> {
    let stats = cairn.json(&["stats"]);
    let named = [
        "logical_bytes",
        "unique_bytes",
        "stored_content_bytes",
        "images",
        "layers",
    ];
    named.iter().map(|figure| stats[*figure].clone()).collect()
}

#[test]
fn reports_of_a_busy_repository_are_those_of_what_is_published() {
    let cairn = repository();
    let (before, page) = (figures(&cairn), cairn.path("page.html"));
    let reports = all_reports(page.to_str().unwrap());
    // An import that waits for the second half of its archive.
    let half = archive(&cairn, "c:1", 30);
    let (first, second) = half.split_at(half.len() / 2);
    let mut import = cairn.command(&["import", "-"]);
    let import = import.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut import = import.spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    // A pipe holds less than this: the import has read of it.
    input.write_all(first).unwrap();
    for report in &reports {
        cairn.ok(report);
    }
    assert_eq!(figures(&cairn), before);
    input.write_all(second).unwrap();
    drop(input);
    assert!(import.wait().unwrap().success());
    assert_ne!(figures(&cairn), before);
    // With the lock held they wait, and are right then.
    let lock = std::fs::File::open(cairn.root().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting = cairn.command(&["--json", "stats"]);
    let mut waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    drop(lock);
    let output = waiting.wait_with_output().unwrap();
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(stats["logical_bytes"], figures(&cairn)[0]);
}

#[test]
fn reports_while_images_come_and_go_are_right_or_say_what_is_gone() {
    let cairn = repository();
    let page = cairn.path("page.html");
    let reports = all_reports(page.to_str().unwrap());
    let path = cairn.path("other.tar");
    std::fs::write(&path, archive(&cairn, "c:1", 30)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (cairn, done) = (&cairn, &done);
        let changing = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                cairn.ok(&["import", path.to_str().unwrap()]);
                cairn.ok(&["rmi", "c:1"]);
                cairn.ok(&["gc", "--all"]);
            }
        });
        let failed: Vec<String> = reports
            .iter()
            .map(|report| (report, cairn.output(report)))
            .filter(|(_, output)| !output.status.success())
            .map(|(report, output)| format!("{report:?}: {}", words(&output)))
            .collect();
        // Before anything is asserted: the other thread would go on for ever.
        done.store(true, Ordering::SeqCst);
        changing.join().unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    });
    cairn.ok(&["check", "--full"]);
}

#[test]
fn reports_of_a_read_only_repository_write_nothing() {
    if !is_root() {
        skip!("a read-only mount needs root");
    }
    let cairn = repository();
    let page = cairn.path("page.html");
    let before = common::survey(&cairn.root());
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99
        root=$1; shift; exec \"$0\" --root \"$root\" \"$@\"";
    for report in all_reports(page.to_str().unwrap()) {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]);
        command.arg(env!("CARGO_BIN_EXE_cairn")).arg(cairn.root());
        let output = command
            .args(&report)
            .env_remove("CAIRN_ROOT")
            .output()
            .unwrap();
        if output.status.code() == Some(99) {
            skip!("nothing can be mounted here");
        }
        // What works here and what does not is the matter of doctor, and it says so by its code.
        let is_fine = output.status.success() || report == ["doctor"];
        assert!(is_fine, "{report:?}: {}", words(&output));
    }
    assert!(
        common::survey(&cairn.root()) == before,
        "something was written"
    );
    assert!(page.exists());
}

#[test]
fn reports_of_a_damaged_repository_are_whole_or_one_line_that_says_so() {
    let cairn = repository();
    cairn.ok(&["stats"]);
    let page = cairn.path("page.html");
    std::fs::write(&page, "before").unwrap();
    let reports = all_reports(page.to_str().unwrap());
    let files = ["packs", "index", "db"].map(|name| cairn.root().join(name));
    // A short journal does without a database.
    for lost in files.into_iter().filter(|path| path.exists()) {
        let aside = cairn.path("aside");
        std::fs::rename(&lost, &aside).unwrap();
        std::fs::create_dir(&lost).unwrap();
        let mut failed = 0;
        for report in &reports {
            let output = cairn.output(report);
            let said = words(&output);
            assert!(!said.contains("panicked"), "{report:?}: {said}");
            match output.status.code() {
                Some(0) => {}
                Some(1) if report[0] == "doctor" => {}
                Some(3) => {
                    failed += 1;
                    let last = said.lines().last().unwrap_or_default();
                    assert!(last.starts_with("cairn: "), "{report:?}: {said}");
                    assert!(
                        output.stdout.is_empty() || report[0] == "doctor",
                        "{report:?}"
                    );
                }
                code => panic!(
                    "{report:?} with {} lost gave {code:?}: {said}",
                    lost.display()
                ),
            }
        }
        if lost.ends_with("packs") {
            assert!(failed > 5, "nothing can be read");
            assert_eq!(std::fs::read_to_string(&page).unwrap(), "before");
        }
        std::fs::remove_dir_all(&lost).unwrap();
        std::fs::rename(&aside, &lost).unwrap();
    }
    cairn.ok(&["check", "--full"]);
}

#[test]
fn a_page_that_does_not_fit_on_the_disk_leaves_the_one_before() {
    if !is_root() {
        skip!("a small disk needs root");
    }
    let cairn = repository();
    let place = cairn.path("disk");
    std::fs::create_dir(&place).unwrap();
    let at = place.to_str().unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at];
    if !Command::new("mount")
        .args(mount)
        .status()
        .is_ok_and(|s| s.success())
    {
        skip!("no tmpfs can be mounted here");
    }
    let outcome = std::panic::catch_unwind(|| {
        for (option, name) in [("--html", "page.html"), ("--metrics", "cairn.prom")] {
            let file = place.join(name);
            std::fs::write(&file, "before").unwrap();
            let filler = place.join("filler");
            let _ = std::fs::write(&filler, vec![1; 100_000]);
            cairn.fails(
                &["stats", option, file.to_str().unwrap()],
                1,
                "No space left on device",
            );
            cairn.fails(&["stats", option, file.to_str().unwrap()], 1, name);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
            std::fs::remove_file(&filler).unwrap();
            std::fs::remove_file(&file).unwrap();
            assert_eq!(
                std::fs::read_dir(&place).unwrap().count(),
                0,
                "parts are left"
            );
        }
    });
    let _ = Command::new("umount").args(["-l", at]).status();
    outcome.unwrap();
}
