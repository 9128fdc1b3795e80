//! Images between Cairn and the others, through a registry: what one pushed the other pulls, and it is the same.

mod common;
#[path = "common/containerd.rs"]
mod daemon;
#[path = "common/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Cairn, has, is_root, survey};
use daemon::{Daemon, PLAIN};
use serde_json::Value;

macro_rules! able {
    ($($program:literal),*) => {
        if !is_root() $(|| !has($program))* {
            skip!("needs root and {:?}", [$($program),*]);
        }
    };
}

fn ok(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image of two layers with files of many sorts, links, devices and extended attributes.
fn source() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    for name in ["lower", "upper"] {
        common::odd_tree(&tree.join(name));
        // What others make of a time before 1970 is their business.
        let old = tree.join(name).join("dir/none");
        ok(
            "touch",
            &["-d", "2001-02-03 04:05:06.5", old.to_str().unwrap()],
        );
    }
    cairn.import_dir(&tree, "app:1");
    cairn
}

/// An image of plain files, directories and links. Of odd ones podman's store makes another tar than it was given, and
/// then refuses to push it.
fn plain() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir_all(tree.join("dir/sub")).unwrap();
    std::fs::write(tree.join("dir/large"), common::noise(1, 6_000_000)).unwrap();
    std::fs::write(tree.join("dir/text"), "text\n".repeat(1_000_000)).unwrap();
    std::fs::write(tree.join("dir/sub/none"), "").unwrap();
    std::fs::hard_link(tree.join("dir/text"), tree.join("dir/sub/link")).unwrap();
    std::os::unix::fs::symlink("../dir/text", tree.join("dir/sym")).unwrap();
    let paths = [
        "dir/large",
        "dir/text",
        "dir/sub/none",
        "dir/sym",
        "dir/sub",
        "dir",
    ];
    for path in paths {
        let path = tree.join(path);
        ok(
            "touch",
            &["-h", "-d", "2001-02-03 04:05:06", path.to_str().unwrap()],
        );
    }
    cairn.import_dir(&tree, "app:1");
    cairn
}

/// Diff ids as the image's configuration has them.
fn diff_ids(cairn: &Cairn, name: &str) -> Value {
    cairn.json(&["inspect", name])["config"]["rootfs"]["diff_ids"].clone()
}

/// The tree of an image, as Cairn writes it out.
fn tree(cairn: &Cairn, name: &str) -> BTreeMap<PathBuf, String> {
    let out = cairn.path("out");
    let _ = std::fs::remove_dir_all(&out);
    cairn.ok(&[
        "export",
        name,
        "-o",
        out.to_str().unwrap(),
        "--format",
        "dir",
        "--devices",
    ]);
    below_root(&out)
}

/// What is below a directory; the root itself is every program's own.
fn below_root(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = survey(directory);
    found.remove(Path::new(""));
    found
}

fn assert_same(name: &str, theirs: &BTreeMap<PathBuf, String>, ours: &BTreeMap<PathBuf, String>) {
    assert!(!ours.is_empty());
    for (path, expected) in ours {
        assert_eq!(
            theirs.get(path),
            Some(expected),
            "{name}: {}",
            path.display()
        );
    }
    assert_eq!(theirs.len(), ours.len(), "{name}");
}

/// Podman with a store of its own.
struct Podman(tempfile::TempDir);

impl Podman {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn ok(&self, args: &[&str]) -> String {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        let (root, runroot) = (at("root"), at("runroot"));
        let store = [
            "--root",
            &root,
            "--runroot",
            &runroot,
            "--storage-driver",
            "vfs",
        ];
        ok("podman", &[&store[..], args].concat())
    }
}

#[test]
fn podman_pulls_what_cairn_pushed_and_it_is_the_same() {
    able!("podman");
    let registry = registry!();
    let cairn = source();
    for compression in ["gzip", "zstd"] {
        let reference = format!("{}/{compression}:1", registry.host());
        cairn.ok(&["push", "app:1", &reference, "--compression", compression]);
        let podman = Podman::new();
        podman.ok(&["pull", "-q", "--tls-verify=false", &reference]);
        let inspected = podman.ok(&["image", "inspect", &reference]);
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(inspected[0]["RootFS"]["Layers"], diff_ids(&cairn, "app:1"));
        let mounted = podman.ok(&["image", "mount", &reference]);
        let theirs = below_root(Path::new(mounted.trim()));
        podman.ok(&["image", "unmount", &reference]);
        assert_same(compression, &theirs, &tree(&cairn, "app:1"));
    }
}

#[test]
fn cairn_pulls_what_podman_pushed_plain_and_in_chunks() {
    able!("podman");
    let registry = registry!();
    let cairn = plain();
    let archive = cairn.path("app.tar");
    cairn.ok(&["export", "app:1", "-o", archive.to_str().unwrap()]);
    let podman = Podman::new();
    let loaded = podman.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
    let loaded = loaded.split_whitespace().last().unwrap();
    for compression in ["gzip", "zstd", "zstd:chunked"] {
        let name = compression.replace(':', "-");
        let reference = format!("{}/{name}:1", registry.host());
        let form = format!("--compression-format={compression}");
        // In the store podman may have made the image anew: what counts is what it pushes.
        podman.ok(&[
            "push",
            "-q",
            "--tls-verify=false",
            &form,
            loaded,
            &reference,
        ]);
        let other = Cairn::new();
        other.ok(&["pull", &reference]);
        assert_eq!(
            diff_ids(&other, &reference),
            diff_ids(&cairn, "app:1"),
            "{compression}"
        );
        assert_same(
            compression,
            &tree(&other, &reference),
            &tree(&cairn, "app:1"),
        );
        other.ok(&["check"]);
    }
}

#[test]
fn skopeo_copies_what_cairn_pushed_and_umoci_unpacks_the_same_tree() {
    able!("skopeo", "umoci");
    let registry = registry!();
    let cairn = source();
    let reference = format!("{}/a:1", registry.host());
    cairn.ok(&["push", "app:1", &reference]);
    let (layout, bundle) = (cairn.path("layout"), cairn.path("bundle"));
    let (from, to) = (
        format!("docker://{reference}"),
        format!("oci:{}:a", layout.display()),
    );
    ok(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            "--src-tls-verify=false",
            &from,
            &to,
        ],
    );
    let config = ok("skopeo", &["inspect", "--config", &to]);
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], diff_ids(&cairn, "app:1"));
    let image = format!("{}:a", layout.display());
    ok(
        "umoci",
        &["unpack", "--image", &image, bundle.to_str().unwrap()],
    );
    assert_same(
        "umoci",
        &below_root(&bundle.join("rootfs")),
        &tree(&cairn, "app:1"),
    );
}

#[test]
fn containerd_pulls_what_cairn_pushed_and_it_is_the_same() {
    able!("containerd", "ctr");
    let registry = registry!();
    let cairn = source();
    let place = tempfile::tempdir().unwrap();
    let containerd = Daemon::start(place.path(), PLAIN, "");
    for compression in ["gzip", "zstd"] {
        let reference = format!("{}/{compression}:1", registry.host());
        cairn.ok(&["push", "app:1", &reference, "--compression", compression]);
        let native = ["--snapshotter", "native"];
        containerd.ok(&[
            &["images", "pull", "--plain-http"],
            &native[..],
            &[&reference],
        ]
        .concat());
        let mounted = cairn.path("mounted");
        std::fs::create_dir_all(&mounted).unwrap();
        let at = mounted.to_str().unwrap();
        containerd.ok(&[&["images", "mount"], &native[..], &[&reference, at]].concat());
        let theirs = below_root(&mounted);
        containerd.ok(&[&["images", "unmount"], &native[..], &["--rm", at]].concat());
        assert_same(compression, &theirs, &tree(&cairn, "app:1"));
        // It unpacks a layer only where its diff id is the one that the configuration states.
        let digest = cairn.json(&["inspect", "app:1"])["digest"].clone();
        let config = containerd.ok(&["content", "get", digest.as_str().unwrap()]);
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], diff_ids(&cairn, "app:1"));
    }
}
