//! What statistics remember of layers is what the layers say, whatever was done; and what they promise of the
//! removal of several images is what comes of it.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

/// A layer with these files of 20 kB each.
fn layer(seeds: &[u64]) -> Vec<u8> {
    let tar = seeds.iter().fold(Tar::new(), |tar, seed| {
        tar.file(&format!("f{seed}"), &noise(*seed, 20_000))
    });
    tar.done()
}

fn import(cairn: &Cairn, name: &str, layers: &[&[u64]]) {
    let layers: Vec<Vec<u8>> = layers.iter().map(|seeds| layer(seeds)).collect();
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive(name, &layers, |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
}

/// Images that share layers and files with each other in all ways.
fn family() -> Cairn {
    let cairn = Cairn::new();
    import(&cairn, "base:1", &[&[1, 2, 3, 4]]);
    import(&cairn, "a:1", &[&[1, 2, 3, 4], &[10, 11, 1]]);
    import(&cairn, "b:1", &[&[1, 2, 3, 4], &[10, 12]]);
    import(&cairn, "c:1", &[&[20, 21, 11], &[22]]);
    import(&cairn, "d:1", &[&[20, 21, 11], &[22], &[23, 2]]);
    cairn
}

fn assert_right(cairn: &Cairn) -> Value {
    cairn.json(&["stats"]);
    let (kept, mut counted) = (cairn.json(&["stats"]), cairn.json(&["stats", "--recount"]));
    // The file system may write out a file between the two, and need a block more for that.
    for field in ["rounding_bytes", "disk_bytes"] {
        counted[field] = kept[field].clone();
    }
    assert_eq!(kept, counted);
    kept
}

#[test]
fn what_is_remembered_is_what_a_recount_says() {
    let cairn = family();
    let first = assert_right(&cairn);
    // Removed, collected, and brought back.
    for name in ["a:1", "d:1"] {
        cairn.ok(&["rmi", name]);
        assert_right(&cairn);
    }
    cairn.ok(&["gc", "--all"]);
    assert_right(&cairn);
    import(&cairn, "d:1", &[&[20, 21, 11], &[22], &[23, 2]]);
    import(&cairn, "a:1", &[&[1, 2, 3, 4], &[10, 11, 1]]);
    let again = assert_right(&cairn);
    for field in [
        "unique_bytes",
        "shared_between_bytes",
        "shared_within_bytes",
        "blobs",
        "layers",
    ] {
        assert_eq!(again[field], first[field], "{field}");
    }
    // Enough removals that the table is made shorter.
    for round in 0..40 {
        import(&cairn, "passing:1", &[&[1, 100 + round], &[200 + round]]);
        assert_right(&cairn);
        cairn.ok(&["rmi", "passing:1"]);
    }
    let last = assert_right(&cairn);
    assert_eq!(last["unique_bytes"], first["unique_bytes"]);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn a_set_of_images_frees_what_was_promised() {
    let sets = [
        &["a:1"][..],
        &["a:1", "b:1"],
        &["c:1", "d:1"],
        &["base:1", "a:1", "b:1"],
        &["a:1", "c:1", "d:1"],
        &["base:1", "a:1", "b:1", "c:1", "d:1"],
    ];
    for set in sets {
        let cairn = family();
        let answer = cairn.json(&["stats", "--what-if-removed", &set.join(",")]);
        assert_eq!(answer["refused"], serde_json::json!([]));
        for name in set {
            cairn.ok(&["rmi", name]);
        }
        let dry = cairn.json(&["gc", "--all", "-n"])["freed_bytes"].clone();
        assert_eq!(answer["freed_by_all_bytes"], dry, "{set:?}");
        let freed = cairn.json(&["gc"])["freed_bytes"].clone();
        assert_eq!(answer["freed_bytes"], freed, "{set:?}");
        assert_right(&cairn);
    }
}

#[test]
fn what_cannot_be_removed_is_said_and_taken_to_stay() {
    let cairn = family();
    cairn.ok(&["snapshot", "prepare", "mine", "b:1"]);
    let text = cairn.output(&["stats", "--what-if-removed", "a:1,b:1"]);
    let errors = String::from_utf8(text.stderr).unwrap();
    assert!(
        errors.contains("b:1 cannot be removed: snapshot mine"),
        "{errors}"
    );
    let answer = cairn.json(&["stats", "--what-if-removed", "a:1,b:1"]);
    let alone = cairn.json(&["stats", "--what-if-removed", "a:1"]);
    assert_eq!(answer["freed_bytes"], alone["freed_bytes"]);
    assert_eq!(answer["refused"][0]["image"], "b:1");
    // A pin keeps an image from rmi, so nothing is promised of it.
    cairn.ok(&["pin", "d:1"]);
    let pinned = cairn.json(&["stats", "--what-if-removed", "d:1"]);
    assert_eq!(pinned["refused"][0]["why"], "it is pinned");
    assert_eq!(pinned["layers"], 0);
    let stats = cairn.json(&["stats"]);
    let of_pinned = |image: &&Value| image["name"].as_str().unwrap().starts_with("d:1");
    let found = stats["images"].as_array().unwrap().iter().find(of_pinned);
    assert_eq!(found.unwrap()["freed_if_removed_bytes"], 0);
    // The same image twice is once.
    let twice = cairn.json(&["stats", "--what-if-removed", "a:1,a:1"]);
    assert_eq!(twice, alone);
    cairn.fails(&["stats", "--what-if-removed", "nosuch"], 1, "nosuch");
    cairn.fails(&["stats", "--what-if-removed", "a:1", "--recount"], 2, "");
}
