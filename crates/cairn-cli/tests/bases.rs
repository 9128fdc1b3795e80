//! A fix in a base reaches images without a build, and the bytes it replaced are found wherever they are.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

/// Two versions of a base, and an image on the first that has a file of its own and changes one of the base.
fn bases() -> Cairn {
    let cairn = Cairn::new();
    let base = |library: u64| {
        Tar::new()
            .file("etc/conf", format!("base {library}").as_bytes())
            .file("lib/library", &noise(library, 300_000))
            .file("lib/same", b"same")
            .done()
    };
    let patch = Tar::new().file("etc/patched", b"yes").done();
    let own = Tar::new()
        .file("app", b"program")
        .file("etc/conf", b"own")
        .done();
    for (name, layers) in [
        ("base:1", vec![base(1)]),
        ("base:2", vec![base(2), patch]),
        ("app:1", vec![base(1), own]),
    ] {
        let archive = cairn.path("archive.tar");
        std::fs::write(&archive, docker_archive(name, &layers, |_| ())).unwrap();
        cairn.ok(&["import", archive.to_str().unwrap()]);
    }
    cairn
}

fn read(cairn: &Cairn, image: &str, path: &str) -> Vec<u8> {
    let out = cairn.path("out");
    let _ = std::fs::remove_dir_all(&out);
    let format = ["--format", "dir", "-o", out.to_str().unwrap()];
    cairn.ok(&[&["export", image], &format[..]].concat());
    std::fs::read(out.join(path)).unwrap()
}

#[test]
fn upper_layers_are_put_on_a_patched_base() {
    let cairn = bases();
    let before = cairn.json(&["inspect", "app:1"])["id"].clone();
    let bases = ["--old-base", "base:1", "--new-base", "base:2"];
    let done = cairn.json(&[&["rebase", "app:1"], &bases[..]].concat());
    assert_eq!(done["from"], before);
    assert_eq!(
        (&done["layers_replaced"], &done["layers_kept"]),
        (&1.into(), &1.into())
    );
    assert_eq!(done["both_changed"], serde_json::json!(["/etc/conf"]));
    assert_eq!(read(&cairn, "app:1", "lib/library"), noise(2, 300_000));
    assert_eq!(read(&cairn, "app:1", "etc/patched"), b"yes");
    assert_eq!(read(&cairn, "app:1", "app"), b"program");
    assert_eq!(read(&cairn, "app:1", "etc/conf"), b"own");
    // The image as it was is there until it is removed, and gives out what it did.
    let before = before.as_str().unwrap();
    assert_eq!(read(&cairn, before, "lib/library"), noise(1, 300_000));
    // What the new one is made of is what an import of its export has.
    let archive = cairn.path("again.tar");
    cairn.ok(&["export", "app:1", "-o", archive.to_str().unwrap()]);
    let other = Cairn::new();
    other.ok(&["import", archive.to_str().unwrap()]);
    assert_eq!(other.json(&["inspect", "app:1"])["id"], done["id"]);
    cairn.ok(&["rmi", before]);
    cairn.ok(&["gc"]);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn an_image_that_is_not_built_on_the_base_is_refused() {
    let cairn = bases();
    let swapped = [
        "rebase",
        "app:1",
        "--old-base",
        "base:2",
        "--new-base",
        "base:1",
    ];
    cairn.fails(&swapped, 1, "from layer 1 on");
    let id = cairn.json(&["inspect", "app:1"])["id"].clone();
    let bases = ["--old-base", "base:1", "--new-base", "base:2"];
    cairn.fails(
        &[&["rebase", id.as_str().unwrap()], &bases[..]].concat(),
        1,
        "--name",
    );
    let named = ["rebase", id.as_str().unwrap(), "--name", "app:2"];
    cairn.ok(&[&named[..], &bases[..]].concat());
    assert_eq!(cairn.json(&["inspect", "app:1"])["id"], id);
    assert_eq!(read(&cairn, "app:2", "etc/patched"), b"yes");
}

fn tree(cairn: &Cairn, image: &str) -> Vec<u8> {
    let out = cairn.path("tree.tar");
    let to = ["--format", "tar", "-o", out.to_str().unwrap()];
    cairn.ok(&[&["export", image], &to[..]].concat());
    std::fs::read(out).unwrap()
}

/// An image of four layers that change and delete files of each other, and one file with two names.
fn layered() -> Cairn {
    let cairn = bases();
    let layers = [
        Tar::new()
            .file("etc/conf", b"base")
            .file("lib/library", &noise(1, 300_000))
            .file("lib/gone/below", b"x")
            .done(),
        Tar::new()
            .file("etc/conf", b"second")
            .file("own", b"a")
            .done(),
        Tar::new()
            .file("lib/.wh.gone", b"")
            .file("etc/conf", b"third")
            .link("other", "own", tar::EntryType::Link)
            .done(),
        Tar::new().file(".wh.own", b"").file("last", b"last").done(),
    ];
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive("deep:1", &layers, |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
    cairn
}

#[test]
fn upper_layers_become_one_and_the_tree_stays() {
    let cairn = layered();
    let before = tree(&cairn, "deep:1");
    let was = cairn.json(&["inspect", "deep:1"]);
    let packs = || {
        cairn.json(&["stats"])["stored_content_bytes"]
            .as_u64()
            .unwrap()
    };
    let stored = packs();
    for (keep, name) in [("0", "flat:0"), ("1", "flat:1"), ("2", "flat:2")] {
        let done = cairn.json(&["flatten", "deep:1", "--keep-base", keep, "--name", name]);
        let kept: usize = keep.parse().unwrap();
        assert_eq!(done["from"], was["id"]);
        assert_eq!(done["name"], name);
        assert_eq!(done["layers_merged"], 4 - kept);
        let now = cairn.json(&["inspect", name]);
        assert_eq!(now["layers"].as_array().unwrap().len(), kept + 1);
        for n in 0..kept {
            assert_eq!(now["layers"][n], was["layers"][n], "{name}");
        }
        assert_eq!(now["config"]["config"], was["config"]["config"]);
        assert!(tree(&cairn, name) == before, "{name} shows another tree");
        let history = cairn.json(&["history", name]);
        let last = history.as_array().unwrap().last().unwrap();
        assert_eq!(last["created_by"], "cairn flatten");
        // What is exported has the digest that is told from then on.
        let archive = cairn.path("again.tar");
        cairn.ok(&["export", name, "-o", archive.to_str().unwrap()]);
        let other = Cairn::new();
        other.ok(&["import", archive.to_str().unwrap()]);
        let told = cairn.json(&["inspect", done["id"].as_str().unwrap()]);
        assert_eq!(other.json(&["inspect", name])["id"], told["digest"]);
    }
    assert_eq!(packs(), stored, "content was stored once more");
    assert_eq!(cairn.json(&["inspect", "deep:1"])["id"], was["id"]);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn what_cannot_be_flattened_is_refused() {
    let cairn = layered();
    for keep in ["3", "4", "99"] {
        let args = ["flatten", "deep:1", "--keep-base", keep];
        cairn.fails(&args, 1, "not two to merge");
    }
    cairn.fails(&["flatten", "deep:1", "--keep-base", "-1"], 2, "");
    let id = cairn.json(&["inspect", "deep:1"])["id"].clone();
    cairn.fails(&["flatten", id.as_str().unwrap()], 1, "--name");
    cairn.fails(&["flatten", "nosuch"], 1, "nosuch");
}

fn holders(found: &Value) -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |held: &Value| {
        let name = match &held["names"][0] {
            Value::Null => text(&held["name"]),
            name => text(name),
        };
        (
            format!("{} {name}", text(&held["holder"])),
            text(&held["path"]),
            held["visible"] == true,
        )
    };
    let lines = found.as_array().unwrap().iter().map(line);
    lines
        .filter(|(holder, ..)| !holder.starts_with("layer"))
        .collect()
}

#[test]
fn whoever_holds_a_content_is_found() {
    let cairn = bases();
    let old = cairn.path("old");
    std::fs::write(&old, noise(1, 300_000)).unwrap();
    let old = old.to_str().unwrap();
    let line = |holder: &str, path: &str, visible| (holder.to_owned(), path.to_owned(), visible);
    let library = "/lib/library";
    let mut found = holders(&cairn.json(&["which", old]));
    found.sort();
    assert_eq!(
        found,
        [
            line("image app:1", library, true),
            line("image base:1", library, true)
        ]
    );
    // Covered by the image's own, and still in its layers.
    let found = holders(&cairn.json(&["which", "--in", "base:1", "/etc/conf"]));
    assert!(
        found.contains(&line("image app:1", "/etc/conf", false)),
        "{found:?}"
    );
    assert!(
        found.contains(&line("image base:1", "/etc/conf", true)),
        "{found:?}"
    );
    if !common::is_root() {
        skip!("needs root, to write into a head");
    }
    cairn.ok(&["snapshot", "prepare", "work", "base:2"]);
    let mount = cairn.path("mount");
    std::fs::create_dir(&mount).unwrap();
    cairn.ok(&["mount", "work", mount.to_str().unwrap()]);
    std::fs::copy(old, mount.join("kept")).unwrap();
    cairn.ok(&["unmount", mount.to_str().unwrap()]);
    for image in ["base:1", "app:1"] {
        cairn.ok(&["rmi", image]);
    }
    let found = holders(&cairn.json(&["which", old]));
    assert_eq!(found, [line("head work", "/kept", true)]);
    cairn.ok(&["snapshot", "rm", "work"]);
    // The layer itself goes with a collection.
    cairn.ok(&["gc"]);
    assert_eq!(cairn.json(&["which", old]), serde_json::json!([]));
    cairn.fails(&["which", "/nosuch"], 1, "neither a file nor");
}
