//! Ids and digests of images that were made here: what nobody asked for is not computed, and changes nothing when it is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{Cairn, shell, tar_of};
use serde_json::{Value, json};

/// A repository with an image of a directory, and the directory.
fn made() -> (Cairn, std::path::PathBuf) {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/name"), "a name\n").unwrap();
    std::fs::write(tree.join("data"), common::noise(1, 300_000)).unwrap();
    cairn.import_dir(&tree, "app:1");
    (cairn, tree)
}

fn inspect(cairn: &Cairn, name: &str) -> Value {
    cairn.json(&["inspect", name])
}

/// Exports an image as an archive of docker's; its document, and that document's name.
fn exported(cairn: &Cairn, name: &str) -> (Value, String) {
    let archive = cairn.path("out.tar");
    let _ = std::fs::remove_file(&archive);
    cairn.ok(&["export", name, "-o", archive.to_str().unwrap()]);
    let mut found = None;
    let mut tar = tar::Archive::new(std::fs::File::open(&archive).unwrap());
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if path.ends_with(".json") && path.len() > 64 {
            let bytes = std::io::Read::bytes(entry)
                .map(Result::unwrap)
                .collect::<Vec<u8>>();
            assert_eq!(
                format!("sha256:{}", path.trim_end_matches(".json")),
                common::sha256(&bytes)
            );
            found = Some((
                serde_json::from_slice(&bytes).unwrap(),
                common::sha256(&bytes),
            ));
        }
    }
    found.expect("the archive has a document")
}

#[test]
fn an_image_keeps_its_id_and_gets_a_digest_when_it_leaves() {
    let (cairn, tree) = made();
    let before = inspect(&cairn, "app:1");
    assert_eq!(
        (&before["digest"], &before["layers"][0]["diff_id"]),
        (&Value::Null, &Value::Null)
    );
    let name = before["config"]["rootfs"]["diff_ids"][0].as_str().unwrap();
    assert_eq!(
        name,
        format!("blake3:{}", before["layers"][0]["id"].as_str().unwrap())
    );

    // What leaves has the digest of the layer's tar, and nothing of how it is called here.
    let (document, digest) = exported(&cairn, "app:1");
    let after = inspect(&cairn, "app:1");
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["digest"], json!(digest));
    assert_eq!(after["config"], document);
    let diff_id = document["rootfs"]["diff_ids"][0].as_str().unwrap();
    assert_eq!(after["layers"][0]["diff_id"], json!(diff_id));
    assert!(!document.to_string().contains("blake3"), "{document}");
    for field in ["created", "config", "history", "architecture"] {
        assert_eq!(document[field], before["config"][field]);
    }

    // Both lead to it, and the directory that did not change is the image that it was.
    for reference in [&digest, &digest[7..19], before["id"].as_str().unwrap()] {
        assert_eq!(inspect(&cairn, reference)["id"], before["id"]);
    }
    let again = cairn.json(&[
        "import",
        tree.to_str().unwrap(),
        "--name",
        "again:1",
        "--read-all",
    ]);
    assert_eq!(again[0]["id"], before["id"]);
    assert_eq!(exported(&cairn, "again:1").1, digest);

    // Somewhere else it is the image of that digest; back here both are there, and share all layers.
    let archive = cairn.path("out.tar");
    let other = Cairn::new();
    other.ok(&["import", archive.to_str().unwrap()]);
    assert_eq!(inspect(&other, "again:1")["id"], json!(digest));
    cairn.ok(&["import", archive.to_str().unwrap()]);
    assert_eq!(inspect(&cairn, "again:1")["id"], json!(digest));
    assert_eq!(inspect(&cairn, "again:1")["layers"], after["layers"]);
    cairn.ok(&["rmi", "app:1"]);
    cairn.ok(&["gc"]);
    assert_eq!(exported(&cairn, "again:1").1, digest);
    cairn.ok(&["check"]);
}

#[test]
fn the_diff_id_is_that_of_the_tar_whichever_comes_first() {
    let (cairn, tree) = made();
    let tar = cairn.path("layer.tar");
    cairn.ok(&[
        "export",
        "app:1",
        "--format",
        "tar",
        "-o",
        tar.to_str().unwrap(),
    ]);
    // A root file system asks for no digest.
    assert_eq!(inspect(&cairn, "app:1")["digest"], Value::Null);
    let (document, digest) = exported(&cairn, "app:1");
    assert_eq!(
        document["rootfs"]["diff_ids"][0],
        json!(common::sha256(&std::fs::read(&tar).unwrap()))
    );

    // Where the tar is known before the directory comes, the image is the same, and its digest known at once.
    let other = Cairn::new();
    other.ok(&["import", tar.to_str().unwrap(), "--name", "tar:1"]);
    other.import_dir(&tree, "dir:1");
    let (of_tar, of_dir) = (inspect(&other, "tar:1"), inspect(&other, "dir:1"));
    assert_eq!(of_tar["digest"], of_tar["id"]);
    assert_eq!(of_tar["layers"][0]["id"], of_dir["layers"][0]["id"]);
    let (dir_document, _) = exported(&other, "dir:1");
    assert_eq!(dir_document["rootfs"], document["rootfs"]);
    assert_ne!(digest, "");
    // One goes, the other has all that it needs.
    other.ok(&["rmi", "tar:1"]);
    other.ok(&["gc"]);
    assert_eq!(exported(&other, "dir:1").0, dir_document);
    other.ok(&["check"]);
}

#[test]
fn commits_over_what_came_from_elsewhere_are_named_by_both() {
    if !common::is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&[
        "run",
        "--name",
        "c",
        "shell",
        "/bin/sh",
        "-c",
        "echo new > /new",
    ]);
    cairn.ok(&["commit", "c", "child:1"]);
    let archive = cairn.path("child.tar");
    cairn.ok(&["export", "child:1", "-o", archive.to_str().unwrap()]);
    let child = inspect(&cairn, "child:1");
    let other = Cairn::new();
    other.ok(&["import", archive.to_str().unwrap()]);
    let there = inspect(&other, "child:1");
    assert_eq!(
        (&there["id"], &there["config"]),
        (&child["digest"], &child["config"])
    );
    // A commit over it: its document names the lower layers as they came, and its own by its entries.
    other.ok(&[
        "run",
        "--name",
        "d",
        "child:1",
        "/bin/sh",
        "-c",
        "echo more > /more",
    ]);
    other.ok(&["commit", "d", "grandchild:1"]);
    let names = inspect(&other, "grandchild:1")["config"]["rootfs"]["diff_ids"].clone();
    let names: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let kinds: Vec<&str> = names
        .iter()
        .map(|name| name.split_once(':').unwrap().0)
        .collect();
    assert_eq!(kinds, ["sha256", "sha256", "blake3"]);
    // And it is rebased onto the other name of its base.
    other.ok(&["tag", "child:1", "base:1"]);
    other.ok(&["run", "--rm", "grandchild:1", "/bin/cat", "/new", "/more"]);
    let (document, _) = exported(&other, "grandchild:1");
    assert_eq!(document["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    other.ok(&["rm", "d"]);
    other.ok(&["check"]);
}

#[test]
fn a_document_from_elsewhere_cannot_name_layers_by_what_is_here() {
    let (cairn, tree) = made();
    let id = inspect(&cairn, "app:1")["layers"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let layer = tar_of(&tree);
    let lie = |config: &mut Value| config["rootfs"]["diff_ids"] = json!([format!("blake3:{id}")]);
    let archive = cairn.path("lie.tar");
    std::fs::write(&archive, common::docker_archive("lie", &[layer], lie)).unwrap();
    let said = cairn.fails(&["import", archive.to_str().unwrap()], 1, "is no diff id");
    assert!(said.contains("blake3:"), "{said}");
}

#[test]
fn an_older_program_is_kept_away_also_after_a_repair() {
    let (cairn, _) = made();
    let format = || std::fs::read_to_string(cairn.root().join("format")).unwrap();
    assert!(format().contains("requires: own-names\n"), "{}", format());
    std::fs::remove_file(cairn.root().join("format")).unwrap();
    cairn.ok(&["check", "--repair"]);
    assert!(format().contains("requires: own-names\n"), "{}", format());
    assert_eq!(inspect(&cairn, "app:1")["digest"], Value::Null);

    // What only holds images from elsewhere stays as it was.
    let plain = Cairn::new();
    let tar = plain.path("layer.tar");
    std::fs::write(&tar, tar_of(Path::new(&cairn.path("tree")))).unwrap();
    plain.ok(&["import", tar.to_str().unwrap(), "--name", "tar:1"]);
    let text = std::fs::read_to_string(plain.root().join("format")).unwrap();
    assert!(!text.contains("own-names"), "{text}");
}
