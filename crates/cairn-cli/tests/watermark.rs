//! Limits hold while content is written: a writer collects or is refused before they are passed.

mod common;

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Cairn, Tar, docker_archive, is_root, noise};

const MEGABYTE: u64 = 1_000_000;

/// As `du` counts, each file once also where it is renamed meanwhile.
fn used(root: &Path) -> u64 {
    let (mut seen, mut todo, mut sum) = (HashSet::new(), vec![root.to_owned()], 0);
    while let Some(path) = todo.pop() {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if seen.insert((meta.dev(), meta.ino())) {
            sum += meta.blocks() * 512;
        }
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(entries.map(|entry| entry.path()));
        }
    }
    sum
}

/// A file system of its own for a repository, whose use is known at one moment; a walk takes its time, and what
/// goes and comes meanwhile it counts twice.
struct Alone(std::path::PathBuf);

impl Alone {
    /// None without root.
    fn new(root: &Path) -> Option<Self> {
        std::fs::create_dir_all(root).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=600m,mode=700", "tmpfs"];
        let mount = std::process::Command::new("mount")
            .args(options)
            .arg(root)
            .status();
        let done = is_root() && mount.is_ok_and(|status| status.success());
        done.then(|| Self(root.to_owned()))
    }

    fn used(&self) -> u64 {
        let all = rustix::fs::statvfs(&self.0).unwrap();
        (all.f_blocks - all.f_bfree) * all.f_frsize
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

fn archive(cairn: &Cairn, name: &str, seed: u64, bytes: u64) -> String {
    let layer = Tar::new().file("own", &noise(seed, bytes as usize)).done();
    let path = cairn.path(&format!("{}.tar", name.replace(':', "-")));
    std::fs::write(&path, docker_archive(name, &[layer], |_| ())).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_writer_at_full_speed_stays_below_the_limit_and_every_import_that_fits_succeeds() {
    let seconds = std::env::var("CAIRN_WRITE_SECONDS").map_or(6, |text| text.parse().unwrap());
    let cairn = Cairn::new();
    let limit = 150 * MEGABYTE;
    let alone = Alone::new(&cairn.root());
    let used = || match &alone {
        Some(alone) => alone.used(),
        None => used(&cairn.root()),
    };
    cairn.ok(&["init"]);
    cairn.ok(&["config", "set", "gc.max-used", &limit.to_string()]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (done, highest, imports) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                highest.fetch_max(used(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let writer = |number: u64| {
            let cairn = &cairn;
            let imports = &imports;
            scope.spawn(move || {
                let mut turn = 0;
                // The limit is reached however slow the machine is.
                while Instant::now() < end || turn < 12 {
                    let name = format!("i{number}:{turn}");
                    let seed = 1000 * (number + 1) + turn;
                    let path = archive(cairn, &name, seed, 20 * MEGABYTE);
                    let output = cairn.output(&["import", &path]);
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{name}: {said}");
                    std::fs::remove_file(path).unwrap();
                    imports.fetch_add(1, Ordering::SeqCst);
                    turn += 1;
                }
            })
        };
        // Two take turns at giving up what they wrote, which takes its time: where it is asked for only.
        let writers = std::env::var("CAIRN_WRITERS").map_or(1, |text| text.parse().unwrap());
        let writers: Vec<_> = (0..writers).map(writer).collect();
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let highest = highest.load(Ordering::SeqCst);
    let imports = imports.load(Ordering::SeqCst);
    eprintln!("{imports} imports, at most {highest} bytes of {limit}");
    assert!(highest <= limit + limit / 100, "{highest} of {limit}");
    assert!(imports * 20 * MEGABYTE > limit, "the limit was not reached");
    cairn.ok(&["check", "--full"]);
}

#[test]
fn an_import_that_cannot_fit_is_refused_and_removes_nothing() {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    cairn.ok(&["config", "set", "gc.max-used", "20M"]);
    for n in 0..3 {
        let path = archive(&cairn, &format!("small:{n}"), n, 4 * MEGABYTE);
        cairn.ok(&["import", &path]);
    }
    let before = cairn.image_names();
    let path = archive(&cairn, "large:1", 50, 40 * MEGABYTE);
    let said = cairn.fails(&["import", &path], 1, "gc.max-used");
    assert!(said.contains("no room"), "{said}");
    assert_eq!(cairn.image_names(), before);
    assert!(
        used(&cairn.root()) < 20 * MEGABYTE,
        "what was written is gone"
    );
    // Nor does it make room at the cost of what is pinned.
    for name in &before {
        cairn.ok(&["pin", name]);
    }
    let path = archive(&cairn, "other:1", 51, 12 * MEGABYTE);
    cairn.fails(&["import", &path], 1, "gc.max-used");
    assert_eq!(cairn.image_names(), before);
    cairn.ok(&["unpin", "small:0"]);
    cairn.ok(&["unpin", "small:1"]);
    cairn.ok(&["import", &path]);
    assert_eq!(cairn.image_names(), ["other:1", "small:2"]);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn what_nothing_needs_makes_room_before_any_image_does() {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    cairn.ok(&["config", "set", "gc.max-used", "20M"]);
    for name in ["dead:1", "alive:1"] {
        let path = archive(&cairn, name, name.len() as u64, 8 * MEGABYTE);
        cairn.ok(&["import", &path]);
    }
    cairn.ok(&["rmi", "dead:1"]);
    let path = archive(&cairn, "new:1", 77, 8 * MEGABYTE);
    cairn.ok(&["import", &path]);
    assert_eq!(cairn.image_names(), ["alive:1", "new:1"]);
}

#[test]
fn a_commit_makes_room_too() {
    if !is_root() {
        skip!("a container's changes are written by root here");
    }
    let cairn = common::shell();
    let limit = used(&cairn.root()) + 12 * MEGABYTE;
    let path = archive(&cairn, "old:1", 5, 7 * MEGABYTE);
    cairn.ok(&["import", &path]);
    cairn.ok(&["config", "set", "gc.max-used", &limit.to_string()]);
    cairn.ok(&["snapshot", "prepare", "work", "shell"]);
    let head = cairn.json(&["snapshot", "mounts", "work"]);
    let upper = head["head"]["upper"].as_str().unwrap().to_owned();
    std::fs::write(Path::new(&upper).join("new"), noise(9, 2_500_000)).unwrap();
    cairn.ok(&["snapshot", "commit", "done", "work"]);
    assert!(!cairn.image_names().contains(&"old:1".to_owned()));
    cairn.ok(&["check", "--full"]);
}

#[test]
fn a_disk_that_fills_up_refuses_an_import_by_name_and_collects_what_it_can() {
    if !is_root() {
        skip!("a small disk needs root");
    }
    let cairn = Cairn::new();
    let place = cairn.path("disk");
    std::fs::create_dir(&place).unwrap();
    let run = |args: &[&str]| {
        std::process::Command::new(args[0])
            .args(&args[1..])
            .status()
    };
    let at = place.to_str().unwrap();
    if !run(&["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", at]).is_ok_and(|s| s.success()) {
        skip!("no tmpfs can be mounted here");
    }
    let root = place.join("repository");
    let root = root.to_str().unwrap();
    let large = archive(&cairn, "large:1", 1, 60 * MEGABYTE);
    let fits = archive(&cairn, "fits:1", 2, 20 * MEGABYTE);
    let more = archive(&cairn, "more:1", 3, 18 * MEGABYTE);
    let on_disk = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.arg("--root").arg(root).args(args).output().unwrap()
    };
    let outcome = std::panic::catch_unwind(|| {
        let refused = on_disk(&["import", &large]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the disk is full") && !said.contains("check"),
            "{said}"
        );
        assert!(on_disk(&["import", &fits]).status.success());
        assert!(on_disk(&["rmi", "fits:1"]).status.success());
        let done = on_disk(&["import", &more]);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    });
    let _ = run(&["umount", "-l", at]);
    outcome.unwrap();
}
