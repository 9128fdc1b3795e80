//! What `stats` promises of an image is what `rmi` and `gc` then free.

mod common;

use common::{Cairn, is_root, noise, shell_tree};

/// Imports an image of these contents.
fn image(cairn: &Cairn, name: &str, seeds: std::ops::Range<u64>) {
    let tree = cairn.path(&name.replace(':', "-"));
    std::fs::create_dir_all(&tree).unwrap();
    for seed in seeds {
        std::fs::write(tree.join(format!("f{seed}")), noise(seed, 50_000)).unwrap();
    }
    cairn.import_dir(&tree, name);
}

fn promised(cairn: &Cairn, name: &str) -> u64 {
    let stats = cairn.json(&["stats"]);
    let names = |image: &&serde_json::Value| image["name"].as_str().unwrap().contains(name);
    let image = stats["images"].as_array().unwrap().iter().find(names);
    image.unwrap()["freed_if_removed_bytes"].as_u64().unwrap()
}

fn packs(cairn: &Cairn) -> u64 {
    let entries = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    entries.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

/// Removes the image and collects; what the promise was, what gc said, what the files say.
fn kept(cairn: &Cairn, name: &str) -> (u64, u64, u64) {
    let (promised, before) = (promised(cairn, name), packs(cairn));
    cairn.ok(&["rmi", name]);
    let said = cairn.json(&["gc"])["freed_bytes"].as_u64().unwrap();
    (promised, said, before - packs(cairn))
}

#[test]
fn an_image_frees_what_stats_promised() {
    let cairn = Cairn::new();
    image(&cairn, "base:1", 0..30);
    // Needs most of the first one's pack, and one file of its own.
    image(&cairn, "most:1", 1..31);
    image(&cairn, "own:1", 100..110);
    image(&cairn, "same:1", 100..110);
    // All of it is in the other image too: only a document goes, if that.
    for name in ["same:1", "own:1", "base:1", "most:1"] {
        let (promised, said, found) = kept(&cairn, name);
        assert_eq!((promised, promised), (said, found), "{name}");
    }
}

#[test]
fn what_lies_in_a_pack_under_the_share_is_not_promised_and_all_takes_it() {
    let cairn = Cairn::new();
    image(&cairn, "little:1", 0..2);
    cairn.ok(&["gc"]);
    image(&cairn, "big:1", 2..40);
    // Both in one pack: seventeen small ones are put together.
    for n in 0..17_u64 {
        image(&cairn, &format!("more:{n}"), 200 + n..201 + n);
    }
    cairn.ok(&["gc"]);
    let entries = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    assert_eq!(entries.count(), 1);
    assert_eq!(promised(&cairn, "little:1"), 0);
    assert_eq!(kept(&cairn, "little:1"), (0, 0, 0));
    assert!(cairn.json(&["stats"])["dead_bytes"].as_u64().unwrap() > 100_000);
    let dry = cairn.json(&["gc", "--all", "-n"])["freed_bytes"].clone();
    let (before, freed) = (packs(&cairn), cairn.json(&["gc", "--all"]));
    assert_eq!(freed["freed_bytes"], dry);
    assert_eq!(
        freed["freed_bytes"].as_u64().unwrap(),
        before - packs(&cairn)
    );
    assert!(freed["freed_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(cairn.json(&["stats"])["dead_bytes"], 0);
    assert!(cairn.ok(&["check"]).contains("all sound"));
}

#[test]
fn a_second_name_a_snapshot_or_a_container_keeps_everything() {
    let cairn = Cairn::new();
    image(&cairn, "app:1", 0..10);
    let alone = promised(&cairn, "app:1");
    assert!(alone > 400_000, "{alone}");
    cairn.ok(&["tag", "app:1", "app:2"]);
    assert_eq!(promised(&cairn, "app:1"), 0);
    assert_eq!(kept(&cairn, "app:1"), (0, 0, 0));
    cairn.ok(&["snapshot", "prepare", "s", "app:2"]);
    assert_eq!(promised(&cairn, "app:2"), 0);
    cairn.fails(&["rmi", "app:2"], 1, "snapshot");
    cairn.ok(&["snapshot", "rm", "s"]);
    assert_eq!(promised(&cairn, "app:2"), alone);
    if is_root() {
        shell_tree(&cairn.path("shell"));
        cairn.import_dir(&cairn.path("shell"), "sh:1");
        cairn.ok(&["run", "--name", "c", "sh:1", "true"]);
        assert_eq!(promised(&cairn, "sh:1"), 0);
        cairn.fails(&["rmi", "sh:1"], 1, "container");
        cairn.ok(&["rm", "c"]);
        let (promised, said, found) = kept(&cairn, "sh:1");
        assert_eq!((promised, promised), (said, found));
    }
}
