//! Mounts and directories made by hand: what they let through, and what they refuse.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use common::{Cairn, is_root, noise, shell_tree};

/// A tree with a setuid program and a device that works on every machine (null).
fn dangerous(root: &Path) {
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/true", root.join("bin/su")).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(root.join("bin/su"), mode(0o4755)).unwrap();
    let made = Command::new("mknod")
        .arg(root.join("null"))
        .args(["c", "1", "3"])
        .status();
    assert!(made.unwrap().success());
    std::fs::hard_link(root.join("null"), root.join("bin/null")).unwrap();
    std::fs::hard_link(root.join("bin/su"), root.join("bin/sudo")).unwrap();
    std::fs::set_permissions(root, mode(0o755)).unwrap();
}

/// Options of the mount at a place, of the mount itself.
fn options(place: &Path) -> String {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(4) == place.to_str());
    let line = line.unwrap_or_else(|| panic!("nothing at {}", place.display()));
    line.split(' ').nth(5).unwrap().to_owned()
}

#[test]
fn mounts_made_by_hand_have_no_setuid_programs_and_no_devices_unless_asked() {
    if !is_root() {
        skip!("mounting takes root");
    }
    for driver in ["erofs", "erofs-loop", "overlay", "copy"] {
        let mut cairn = Cairn::new();
        cairn.driver = Some(driver);
        dangerous(&cairn.path("tree"));
        cairn.import_dir(&cairn.path("tree"), "img");
        cairn.ok(&["snapshot", "prepare", "s", "img"]);
        cairn.ok(&["snapshot", "view", "v", "img"]);
        let place = cairn.path("place");
        std::fs::create_dir(&place).unwrap();
        let at = place.to_str().unwrap();
        for name in ["img", "s", "v"] {
            let mounted = |more: &[&str]| {
                cairn.ok(&[&["mount", name, at], more].concat());
                let options = options(&place);
                let opens = std::fs::File::open(place.join("null")).is_ok();
                cairn.ok(&["unmount", at]);
                let has = |word| options.split(',').any(|option| option == word);
                assert_eq!(opens, !has("nodev"), "{driver} {name} {options}");
                (has("nosuid"), has("nodev"))
            };
            assert_eq!(mounted(&[]), (true, true), "{driver} {name}");
            assert_eq!(mounted(&["--suid"]), (false, true), "{driver} {name}");
            assert_eq!(mounted(&["--dev"]), (true, false), "{driver} {name}");
            let both = mounted(&["--suid", "--dev"]);
            assert_eq!(both, (false, false), "{driver} {name}");
        }
    }
}

#[test]
fn an_exported_directory_is_its_owners_until_complete_and_has_devices_only_on_request() {
    if !is_root() {
        skip!("making device nodes takes root");
    }
    let cairn = Cairn::new();
    dangerous(&cairn.path("tree"));
    std::fs::write(cairn.path("tree/big"), noise(5, 3_000_000)).unwrap();
    cairn.import_dir(&cairn.path("tree"), "img");
    let export = |out: &str, more: &[&str]| {
        let out = cairn.path(out);
        let args = [
            "export",
            "img",
            "--format",
            "dir",
            "-o",
            out.to_str().unwrap(),
        ];
        let output = cairn.output(&[&args[..], more].concat());
        let mode = out.metadata().map_or(0, |meta| meta.mode() & 0o7777);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), mode, err)
    };
    let (code, mode, err) = export("plain", &[]);
    assert_eq!((code, mode), (Some(0), 0o755), "{err}");
    assert!(err.contains("skipped 2 device nodes"), "{err}");
    assert!(err.contains("--devices"), "{err}");
    assert!(!cairn.path("plain/null").exists());
    let inode = |name: &str| cairn.path("plain").join(name).metadata().unwrap().ino();
    assert_eq!(inode("bin/su"), inode("bin/sudo"), "other links stay");
    let (code, mode, err) = export("full", &["--devices"]);
    assert_eq!((code, mode, err.as_str()), (Some(0), 0o755, ""));
    assert_eq!(cairn.path("full/null").metadata().unwrap().rdev(), 0x103);
    // One that was there and open to all, and an export that fails half way.
    for pack in std::fs::read_dir(cairn.root().join("packs")).unwrap() {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (2_000_000..2_100_000).step_by(100) {
            bytes[at] ^= 1;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::create_dir(cairn.path("half")).unwrap();
    let before = cairn.path("half").metadata().unwrap().mode() & 0o7777;
    let (code, mode, err) = export("half", &[]);
    assert_eq!((code, mode), (Some(3), before), "{err}");
    let left = std::fs::read_dir(cairn.path("half")).unwrap().count();
    assert_eq!(left, 0, "what was there stays, and nothing is left in it");
    let (code, mode, err) = export("new/half", &[]);
    assert_eq!((code, mode), (Some(3), 0), "{err}");
    assert!(!cairn.path("new/half").exists());
}

#[test]
fn a_head_is_mounted_once_in_whatever_namespace() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let mut cairn = Cairn::new();
    cairn.driver = Some("overlay");
    dangerous(&cairn.path("tree"));
    cairn.import_dir(&cairn.path("tree"), "img");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    let (one, two) = (cairn.path("one"), cairn.path("two"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    cairn.ok(&["mount", "s", one]);
    let err = cairn.fails(&["mount", "s", two], 1, "unmount");
    assert!(err.contains(one), "{err}");
    cairn.fails(&["snapshot", "rm", "s"], 1, one);
    // The label alone does not decide: it may be gone, or somebody used umount(8) and mount(8).
    cairn.ok(&["snapshot", "label", "s", "cairn.mountpoint="]);
    cairn.fails(&["mount", "s", two], 1, one);
    cairn.ok(&["unmount", one]);
    cairn.ok(&["mount", "s", two]);
    cairn.ok(&["unmount", two]);
    // In a namespace of its own, which this one does not see.
    let script =
        format!("\"$0\" --root \"$1\" --driver overlay mount s {one} && echo mounted && read line");
    let mut elsewhere = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .arg(env!("CARGO_BIN_EXE_cairn"))
        .arg(cairn.root())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 8];
    let out = elsewhere.stdout.as_mut().unwrap();
    std::io::Read::read_exact(out, &mut word).unwrap();
    cairn.fails(&["mount", "s", two], 1, one);
    // Nor is it collected from under that mount.
    cairn.ok(&["gc"]);
    drop(elsewhere.stdin.take());
    elsewhere.wait().unwrap();
    cairn.ok(&["mount", "s", two]);
    cairn.ok(&["unmount", two]);
}

#[test]
fn the_root_of_a_running_container_is_not_mounted_a_second_time() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let mut cairn = Cairn::new();
    cairn.driver = Some("overlay");
    shell_tree(&cairn.path("tree"));
    cairn.import_dir(&cairn.path("tree"), "img");
    cairn.ok(&["run", "-d", "--name", "busy", "img", "sleep", "1000"]);
    let place = cairn.path("place");
    std::fs::create_dir(&place).unwrap();
    let at = place.to_str().unwrap();
    cairn.fails(&["mount", "container/busy", at], 1, "cairn stop busy");
    cairn.ok(&["stop", "-t", "0", "busy"]);
    cairn.ok(&["mount", "container/busy", at]);
    assert!(place.join("bin/sh").exists());
    cairn.ok(&["unmount", at]);
    cairn.ok(&["rm", "busy"]);
}

#[test]
fn nothing_is_mounted_over_or_in_the_repository() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = Cairn::new();
    dangerous(&cairn.path("tree"));
    cairn.import_dir(&cairn.path("tree"), "img");
    let alias = cairn.path("alias");
    std::fs::create_dir(&alias).unwrap();
    let bind = Command::new("mount")
        .args(["--bind"])
        .args([cairn.root(), alias.clone()])
        .status();
    assert!(bind.unwrap().success());
    let link = cairn.path("link");
    std::os::unix::fs::symlink(cairn.root(), &link).unwrap();
    let places = [
        cairn.root(),
        cairn.dir.path().to_owned(),
        cairn.root().join("heads"),
        cairn.root().join("cache"),
        alias.join("packs"),
        link.join("packs"),
        link.clone(),
    ];
    for place in places {
        cairn.fails(&["mount", "img", place.to_str().unwrap()], 1, "repository");
    }
    let gone = Command::new("umount").arg(&alias).status();
    assert!(gone.unwrap().success());
    assert_eq!(cairn.json(&["snapshot", "ls"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_mount_that_fails_leaves_nothing_and_gc_takes_what_a_lost_one_left() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = Cairn::new();
    dangerous(&cairn.path("tree"));
    cairn.import_dir(&cairn.path("tree"), "img");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    let before = cairn.json(&["snapshot", "ls"]);
    let place = cairn.path("place");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(cairn.path("file"), "").unwrap();
    let at = place.to_str().unwrap();
    let file = cairn.path("file");
    cairn.fails(&["mount", "img", file.to_str().unwrap()], 1, "directory");
    cairn.fails(&["mount", "nosuch", at], 1, "nosuch");
    // Without mount(8), which this driver needs, the mount itself fails.
    for name in ["img", "s"] {
        let output = cairn
            .command(&["--driver", "erofs-loop", "mount", name, at])
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let after = cairn.json(&["snapshot", "ls"]);
        let facts = |list: &serde_json::Value| -> Vec<_> {
            let all = list.as_array().unwrap().iter();
            all.map(|s| (s["name"].clone(), s["labels"].clone()))
                .collect()
        };
        assert_eq!(facts(&after), facts(&before));
    }
    cairn.ok(&["snapshot", "rm", "s"]);
    // As after a kill right before the mount, a umount(8), a boot.
    cairn.ok(&["mount", "img", at]);
    assert!(Command::new("umount").arg(at).status().unwrap().success());
    cairn.fails(&["rmi", "img"], 1, "mount/");
    assert!(cairn.ok(&["gc"]).contains("removed 1 views"));
    cairn.ok(&["rmi", "img"]);
    assert_eq!(cairn.json(&["snapshot", "ls"]).as_array().unwrap().len(), 0);
    // One that stands is not taken.
    cairn.import_dir(&cairn.path("tree"), "img");
    cairn.ok(&["mount", "img", at]);
    assert!(!cairn.ok(&["gc", "--prune-cache"]).contains("views whose"));
    assert!(place.join("bin/su").exists());
    cairn.ok(&["unmount", at]);
}
