//! Heads of the driver copy, what is left of an export that fails, and which driver is chosen.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use common::{Cairn, is_root, noise};

fn with_image() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir_all(tree.join("d/e")).unwrap();
    for n in 0..8 {
        std::fs::write(tree.join(format!("d/e/f{n}")), noise(n, 60_000)).unwrap();
    }
    cairn.import_dir(&tree, "img");
    cairn
}

fn head(cairn: &Cairn) -> PathBuf {
    let mut heads = std::fs::read_dir(cairn.root().join("heads")).unwrap();
    heads.next().unwrap().unwrap().path()
}

#[test]
fn a_copy_that_was_cut_off_is_made_again_before_it_is_used() {
    let mut cairn = with_image();
    cairn.driver = Some("copy");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    let head = head(&cairn);
    assert!(head.join("copied").exists() && !head.join("copying").exists());
    // As a power cut in the middle leaves it.
    std::fs::remove_file(head.join("copied")).unwrap();
    std::fs::write(head.join("copying"), b"").unwrap();
    std::fs::write(head.join("upper/d/e/f3"), b"torn").unwrap();
    std::fs::remove_file(head.join("upper/d/e/f4")).unwrap();
    cairn.ok(&["snapshot", "mounts", "s"]);
    assert!(head.join("copied").exists() && !head.join("copying").exists());
    assert_eq!(
        common::survey(&head.join("upper/d")),
        common::survey(&cairn.path("tree/d"))
    );
    // What a process wrote since stays.
    std::fs::write(head.join("upper/d/mine"), b"mine").unwrap();
    cairn.ok(&["snapshot", "mounts", "s"]);
    assert_eq!(std::fs::read(head.join("upper/d/mine")).unwrap(), b"mine");
}

#[test]
fn a_commit_takes_nothing_of_a_copy_that_was_cut_off_for_a_change() {
    let mut cairn = with_image();
    cairn.driver = Some("copy");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    let head = head(&cairn);
    std::fs::remove_file(head.join("copied")).unwrap();
    std::fs::write(head.join("copying"), b"").unwrap();
    std::fs::write(head.join("upper/d/e/f3"), b"torn").unwrap();
    std::fs::remove_file(head.join("upper/d/e/f4")).unwrap();
    assert_eq!(cairn.json(&["snapshot", "usage", "s"])["inodes"], 0);
    cairn.ok(&["snapshot", "commit", "done", "s"]);
    assert_eq!(cairn.json(&["snapshot", "stat", "done"])["entries"], 0);
}

#[test]
fn a_copy_is_not_made_over_what_another_driver_wrote() {
    let mut cairn = with_image();
    cairn.driver = Some("copy");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    let head = head(&cairn);
    std::fs::remove_file(head.join("copied")).unwrap();
    std::fs::remove_dir_all(head.join("upper/d")).unwrap();
    std::fs::write(head.join("upper/mine"), b"mine").unwrap();
    cairn.fails(&["snapshot", "mounts", "s"], 1, "--driver");
    assert_eq!(std::fs::read(head.join("upper/mine")).unwrap(), b"mine");
}

#[test]
fn an_export_that_fails_takes_away_what_it_made_and_nothing_else() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = with_image();
    let small = cairn.path("small");
    std::fs::create_dir(&small).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=200k", "none"];
    let mounted = Command::new("mount").args(mount).arg(&small).status();
    assert!(mounted.unwrap().success());
    let there = small.join("there");
    std::fs::create_dir(&there).unwrap();
    std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o751)).unwrap();
    let mut found = Vec::new();
    for format in ["dir", "oci"] {
        for place in ["new/deep/out", "there"] {
            let out = small.join(place);
            let args = ["export", "img", "--format", format, "-o"];
            let done = cairn.output(&[&args[..], &[out.to_str().unwrap()]].concat());
            let left = common::survey(&small).into_keys().collect::<Vec<_>>();
            let mode = there.metadata().unwrap().permissions().mode() & 0o777;
            found.push((format, place, done.status.code(), left, mode));
        }
    }
    let gone = Command::new("umount").arg(&small).status().unwrap();
    assert!(gone.success());
    for (format, place, code, left, mode) in found {
        assert_eq!(code, Some(1), "{format} {place}");
        let wanted = [PathBuf::new(), PathBuf::from("there")];
        assert_eq!(left, wanted, "{format} {place}");
        assert_eq!(mode, 0o751, "{format} {place}");
    }
}

#[test]
fn driver_says_which_one_is_chosen_and_why_no_better_one() {
    let cairn = with_image();
    let report = cairn.json(&["driver"]);
    assert_eq!(report["forced"], false);
    assert!(report["file_system_has_fs_verity"].is_boolean());
    let chosen = report["driver"].as_str().unwrap();
    let refused = report["refused"].as_array().unwrap();
    let all = ["erofs", "erofs-loop", "overlay", "overlay-user", "copy"];
    let before = all.iter().position(|driver| *driver == chosen).unwrap();
    assert_eq!(refused.len(), before, "{report}");
    for (refused, driver) in refused.iter().zip(all) {
        assert_eq!(refused["driver"], driver);
        assert!(!refused["why"].as_str().unwrap().is_empty());
    }
    let text = cairn.ok(&["driver"]);
    assert!(
        text.contains(chosen) && text.contains("Cairn does not use it"),
        "{text}"
    );
    let forced = cairn.json(&["--driver=copy", "driver"]);
    assert_eq!(
        (&forced["driver"], &forced["forced"]),
        (&"copy".into(), &true.into())
    );
    assert_eq!(forced["refused"].as_array().unwrap().len(), 0);
}
