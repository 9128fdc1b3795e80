//! Repositories above a base: what it holds is read from it and not stored again, and it is never written to.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, is_root, noise, shell_tree, survey};

/// Every byte, mode and time below a directory.
fn everything(root: &Path) -> (BTreeMap<PathBuf, String>, BTreeMap<PathBuf, Vec<u8>>) {
    let told = survey(root);
    let files = told.keys().filter(|path| root.join(path).is_file());
    let bytes = files
        .map(|path| (path.clone(), std::fs::read(root.join(path)).unwrap()))
        .collect();
    (told, bytes)
}

/// A read-only bind mount, unmounted when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn of(directory: &Path, at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let script = "mount --bind \"$1\" \"$2\" && mount -o remount,ro,bind \"$2\"";
        let done = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([directory, &at])
            .status();
        assert!(done.unwrap().success());
        Self(at)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn tree(cairn: &Cairn, name: &str, files: &[(&str, u64)]) -> PathBuf {
    let tree = cairn.path(name);
    std::fs::create_dir_all(&tree).unwrap();
    for (name, seed) in files {
        std::fs::write(tree.join(name), noise(*seed, 300_000)).unwrap();
    }
    tree
}

/// A repository with one image, `lower`, of two files.
fn base() -> Cairn {
    let base = Cairn::new();
    let tree = tree(&base, "tree", &[("shared", 1), ("only-below", 2)]);
    base.import_dir(&tree, "lower");
    base
}

/// A repository above one, with the image `app`: a file of the base and one of its own.
fn above(base: &Path, seed: u64) -> Cairn {
    let cairn = Cairn::new();
    cairn.ok(&["--base-root", base.to_str().unwrap(), "init"]);
    let tree = tree(&cairn, "app", &[("shared", 1), ("own", seed)]);
    cairn.import_dir(&tree, "app");
    cairn
}

fn pack_bytes(cairn: &Cairn) -> u64 {
    let packs = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    packs
        .map(|pack| pack.unwrap().metadata().unwrap().len())
        .sum()
}

fn exported(cairn: &Cairn, image: &str) -> PathBuf {
    let out = cairn.path("out");
    let _ = std::fs::remove_dir_all(&out);
    let to = out.to_str().unwrap();
    cairn.ok(&["export", image, "--format", "dir", "-o", to]);
    out
}

#[test]
fn two_repositories_share_a_base_on_a_read_only_mount() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let base = base();
    let shell = base.path("shell");
    shell_tree(&shell);
    base.import_dir(&shell, "shell");
    let before = everything(&base.root());
    let mount = ReadOnly::of(&base.root(), base.path("mount"));
    for seed in [10, 11] {
        let cairn = above(&mount.0, seed);
        let format = std::fs::read_to_string(cairn.root().join("format")).unwrap();
        assert!(format.contains("requires: base\n"), "{format}");
        // Its own file and a few records: the shared one is not stored again.
        let own = pack_bytes(&cairn);
        assert!((300_000..330_000).contains(&own), "{own}");
        let out = exported(&cairn, "app");
        assert!(std::fs::read(out.join("shared")).unwrap() == noise(1, 300_000));
        assert!(std::fs::read(out.join("own")).unwrap() == noise(seed, 300_000));
        // An image that the base holds as a whole.
        cairn.import_dir(&shell, "shell");
        assert!(pack_bytes(&cairn) - own < 20_000);
        let said = cairn.ok(&["run", "--rm", "shell", "/bin/sh", "-c", "echo from below"]);
        assert_eq!(said, "from below\n");
        let stats = cairn.json(&["stats"]);
        assert_eq!(stats["base_root"], mount.0.to_str().unwrap());
        assert!(stats["base_content_bytes"].as_u64().unwrap() >= 300_000);
        assert!((300_000..310_000).contains(&stats["stored_content_bytes"].as_u64().unwrap()));
        let sum: u64 = [
            "stored_content",
            "stored_metadata",
            "dead",
            "pack_overhead",
            "index",
            "database",
            "cache",
            "heads",
            "other",
            "rounding",
        ]
        .iter()
        .map(|line| stats[format!("{line}_bytes")].as_u64().unwrap())
        .sum();
        assert_eq!(stats["disk_bytes"], sum);
        cairn.ok(&["check"]);
        cairn.ok(&["check", "--repair"]);
        cairn.ok(&["gc"]);
        assert!(
            std::fs::read(exported(&cairn, "app").join("shared")).unwrap() == noise(1, 300_000)
        );
        cairn.ok(&["rmi", "app"]);
        cairn.ok(&["gc"]);
        assert!(pack_bytes(&cairn) < 50_000, "{}", pack_bytes(&cairn));
        assert_eq!(cairn.image_names(), ["shell:latest"]);
        cairn.ok(&["check"]);
    }
    assert!(
        everything(&base.root()) == before,
        "the base was written to"
    );
}

#[test]
fn a_base_that_could_be_written_to_is_left_alone_too() {
    let base = base();
    let before = everything(&base.root());
    let cairn = above(&base.root(), 10);
    cairn.ok(&["check"]);
    cairn.ok(&["check", "--repair"]);
    cairn.ok(&["rmi", "app"]);
    cairn.ok(&["gc", "--all"]);
    cairn.ok(&["stats"]);
    cairn.ok(&["images"]);
    assert!(
        everything(&base.root()) == before,
        "the base was written to"
    );
}

#[test]
fn a_base_that_is_missing_is_named_and_one_that_moved_is_found_again() {
    let base = base();
    let cairn = above(&base.root(), 10);
    let moved = base.path("elsewhere");
    std::fs::rename(base.root(), &moved).unwrap();
    let words = cairn.fails(&["images"], 1, base.root().to_str().unwrap());
    assert!(words.contains("--base-root"), "{words}");
    cairn.fails(&["check", "--repair"], 1, "needs its base");
    let place = moved.to_str().unwrap();
    assert!(cairn.ok(&["--base-root", place, "images"]).contains("app"));
    cairn.fails(&["images"], 1, "needs its base");
    cairn.ok(&["--base-root", place, "init"]);
    cairn.ok(&["check"]);
    // Another one than the one that is needed.
    let other = self::base();
    let place = other.root();
    let args = ["--base-root", place.to_str().unwrap(), "init"];
    cairn.fails(&args, 1, "stands above");
    let inside = cairn.root().join("packs");
    cairn.fails(
        &["--base-root", inside.to_str().unwrap(), "init"],
        1,
        "inside",
    );
    let chained = Cairn::new();
    let place = cairn.root();
    let args = ["--base-root", place.to_str().unwrap(), "init"];
    chained.fails(&args, 1, "it has a base itself");
    assert!(!chained.root().join("format").exists());
}

#[test]
fn damage_of_the_base_is_called_that_and_is_not_repaired_from_above() {
    let base = base();
    let cairn = above(&base.root(), 10);
    for pack in std::fs::read_dir(base.root().join("packs")).unwrap() {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // Noise is stored as it is.
        let content = noise(1, 300_000);
        let at = bytes
            .windows(64)
            .position(|part| part == &content[1000..1064]);
        if let Some(at) = at {
            bytes[at] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let before = everything(&base.root());
    let here = format!("base repository {}", base.root().display());
    for args in [&["check"][..], &["check", "--repair"]] {
        let output = cairn.output(args);
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{words}");
        assert!(words.contains(&here), "{words}");
        assert!(words.contains("needed by /shared"), "{words}");
        assert!(!words.contains("needed by /own"), "{words}");
    }
    assert!(!cairn.root().join("quarantine").exists());
    assert!(
        everything(&base.root()) == before,
        "the base was written to"
    );
    // Its owner repairs it, which drops what is lost; above, an import stores it again.
    base.output(&["check", "--repair"]);
    cairn.ok(&[
        "import",
        "--read-all",
        cairn.path("app").to_str().unwrap(),
        "--name",
        "app",
    ]);
    cairn.ok(&["check"]);
    assert!(std::fs::read(exported(&cairn, "app").join("shared")).unwrap() == noise(1, 300_000));
}

#[test]
fn what_the_base_deletes_is_missing_and_comes_back_with_an_import() {
    let base = base();
    let cairn = above(&base.root(), 10);
    base.ok(&["rmi", "lower"]);
    base.ok(&["gc"]);
    let output = cairn.output(&["check"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("needed by /shared"), "{words}");
    cairn.fails(&["gc"], 3, "is missing");
    cairn.ok(&[
        "import",
        "--read-all",
        cairn.path("app").to_str().unwrap(),
        "--name",
        "app",
    ]);
    cairn.ok(&["check"]);
    cairn.ok(&["gc"]);
}

#[test]
fn a_backup_stands_above_the_same_base() {
    let base = base();
    let cairn = above(&base.root(), 10);
    let to = cairn.path("backup");
    cairn.ok(&["backup", to.to_str().unwrap()]);
    let backup = Cairn::new();
    std::os::unix::fs::symlink(&to, backup.root()).unwrap();
    backup.ok(&["check"]);
    assert!(std::fs::read(exported(&backup, "app").join("shared")).unwrap() == noise(1, 300_000));
}
