//! Kills, full disks, and many commands at once.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Cairn, docker_archive, is_root, noise};

fn archive(cairn: &Cairn, i: u64) -> String {
    let layer = |seed: u64| {
        let mut tar = common::Tar::new();
        for f in 0..12 {
            tar = tar.file(&format!("d{seed}/f{f}"), &noise(seed * 100 + f, 90_000));
        }
        tar.done()
    };
    let path = cairn.path(&format!("{i}.tar"));
    std::fs::write(
        &path,
        docker_archive(&format!("app:{i}"), &[layer(1), layer(10 + i)], |_| ()),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

fn assert_whole(cairn: &Cairn, names: &[String]) {
    cairn.ok(&["check"]);
    let present = cairn.image_names();
    for name in names {
        assert!(
            present.contains(name),
            "{name} was acknowledged and is gone; there are {present:?}"
        );
    }
    for name in &present {
        cairn.ok(&[
            "export",
            name,
            "-o",
            cairn.path("out.tar").to_str().unwrap(),
        ]);
    }
}

/// Imports, removals and collections killed at moments spread over their whole course: what was
/// acknowledged stays, and the repository opens each time.
#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    let cairn = Cairn::new();
    let archives: Vec<String> = (0..4).map(|i| archive(&cairn, i)).collect();
    cairn.ok(&["import", &archives[0]]);
    let mut acknowledged = vec!["app:0".to_owned()];
    let mut killed = 0;
    for round in 0..60_u64 {
        let i = 1 + (round % 3) as usize;
        let name = format!("app:{i}");
        let args: Vec<&str> = match round % 5 {
            0..=2 => vec!["import", &archives[i]],
            3 => vec!["rmi", &name],
            _ => vec!["gc"],
        };
        if args[0] == "rmi" {
            acknowledged.retain(|known| *known != name);
        }
        let mut child = cairn
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(300 + (round * 1777) % 60_000));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        let done = child.wait().unwrap();
        if done.success() && args[0] == "import" && !acknowledged.contains(&name) {
            acknowledged.push(name);
        }
        if round % 6 == 5 {
            assert_whole(&cairn, &acknowledged);
        }
    }
    assert!(killed >= 15, "only {killed} were killed in the middle");
    cairn.ok(&["gc"]);
    assert_whole(&cairn, &acknowledged);
    assert_eq!(
        std::fs::read_dir(cairn.root().join("tmp")).unwrap().count(),
        0,
        "gc finds what the killed ones left"
    );
    for name in cairn.image_names() {
        cairn.ok(&["rmi", &name]);
    }
    cairn.ok(&["gc"]);
    assert_eq!(
        std::fs::read_dir(cairn.root().join("packs"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_full_disk_is_an_error_and_nothing_more() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let archives: Vec<String> = (0..4).map(|i| archive(&cairn, i)).collect();
    std::fs::create_dir(cairn.root()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4500k", "none"])
        .arg(cairn.root())
        .status()
        .unwrap();
    assert!(mount.success());
    let mut stored = Vec::new();
    let mut full = 0;
    for (i, archive) in archives.iter().enumerate() {
        let output = cairn.output(&["import", archive]);
        let err = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => stored.push(format!("app:{i}")),
            Some(1) => {
                assert!(
                    ["No space left", "the disk is full"]
                        .iter()
                        .any(|why| err.contains(why))
                        && err.lines().count() == 1,
                    "{err}"
                );
                full += 1;
            }
            other => panic!("{other:?}: {err}"),
        }
    }
    let whole = cairn.image_names();
    let check = cairn.output(&["check"]);
    // Space comes back although the disk is full.
    let freed = whole
        .iter()
        .all(|name| cairn.output(&["rmi", name]).status.success())
        && cairn.output(&["gc"]).status.success();
    let again = cairn.output(&["import", &archives[3]]);
    let unmounted = Command::new("umount").arg(cairn.root()).status().unwrap();
    assert!(unmounted.success());
    assert!(
        full > 0 && !stored.is_empty(),
        "{stored:?} stored, {full} did not fit"
    );
    assert_eq!(whole, stored);
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    assert!(freed);
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
}

/// Free bytes of the file system at `path`.
fn free(path: &std::path::Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize
}

#[test]
fn a_collection_works_within_the_room_there_is() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let import = |name: &str, files: std::ops::Range<u64>| {
        let tree = cairn.path(name);
        std::fs::create_dir_all(&tree).unwrap();
        for f in files {
            std::fs::write(tree.join(format!("f{f}")), noise(f, 60_000)).unwrap();
        }
        cairn.import_dir(&tree, name);
    };
    std::fs::create_dir(cairn.root()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=20m", "none"])
        .arg(cairn.root())
        .status()
        .unwrap();
    assert!(mount.success());
    // Half of a pack of 4 MB stays needed; another of 3 MB is needed by nobody in the end.
    import("big", 0..70);
    import("half", 0..35);
    import("other", 100..150);
    let filler = cairn.root().join("tmp/filler");
    let room = free(&cairn.root()) - 2_000_000;
    std::fs::write(&filler, vec![0; room as usize]).unwrap();
    cairn.ok(&["rmi", "big"]);
    let tight = cairn.json(&["gc"]);
    cairn.ok(&["rmi", "other"]);
    let said = cairn.json(&["gc", "-n"]);
    let done = cairn.json(&["gc"]);
    let check = cairn.output(&["check"]);
    let out = cairn.path("out");
    let out = out.to_str().unwrap();
    let export = cairn.output(&["export", "half", "--format", "dir", "-o", out]);
    let unmounted = Command::new("umount").arg(cairn.root()).status().unwrap();
    assert!(unmounted.success());
    // The half does not fit beside the whole: nothing happens, and what it takes is said.
    assert_eq!(tight["freed_bytes"], 0);
    assert!(
        tight["needs_bytes"].as_u64().unwrap() > 2_000_000,
        "{tight}"
    );
    // What nobody needs goes first, and makes the room.
    assert_eq!(done["needs_bytes"], serde_json::Value::Null, "{done}");
    assert!(done["freed_bytes"].as_u64().unwrap() > 4_500_000, "{done}");
    assert_eq!(said["freed_bytes"], done["freed_bytes"]);
    assert!(check.status.success() && export.status.success());
}

#[test]
fn eight_at_once_all_succeed_and_share() {
    let cairn = Cairn::new();
    let archives: Vec<String> = (0..6).map(|i| archive(&cairn, i)).collect();
    cairn.ok(&["import", &archives[0]]);
    let start = |args: &[&str]| {
        cairn
            .command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = archives[1..]
        .iter()
        .map(|archive| start(&["import", archive]))
        .collect();
    children.push(start(&["gc"]));
    children.push(start(&["import", &archives[1]]));
    children.push(start(&["stats"]));
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(cairn.image_names().len(), 6);
    cairn.ok(&["gc"]);
    let names = cairn.image_names();
    assert_whole(&cairn, &names);
}

#[test]
fn a_container_whose_monitor_is_killed_ends_and_can_be_removed() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    common::shell_tree(&tree);
    cairn.import_dir(&tree, "shell");
    let mut child = cairn
        .command(&["run", "--name", "c", "shell", "/bin/sh", "-c", "sleep 1000"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while cairn.json(&["ps"]).as_array().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = cairn.json(&["ps"])[0]["pid"].as_u64().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..500 {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(cairn.json(&["ps", "-a"])[0]["status"], "lost");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(
        !mounts.contains(cairn.root().to_str().unwrap()),
        "no mount stays"
    );
    cairn.ok(&["rm", "c"]);
    cairn.ok(&["gc"]);
    assert_eq!(
        std::fs::read_dir(cairn.root().join("heads"))
            .unwrap()
            .count(),
        0
    );
}
