//! `cairn optimize` from the command line: versions cost their difference, and whoever reads, counts, removes, checks,
//! exports or copies notices nothing of it.

mod common;

use std::path::{Path, PathBuf};

use common::{Cairn, framed, noise, survey};

const FILES: u64 = 12;

/// A tree whose files differ a little from version to version, and one that is new with each.
fn tree(cairn: &Cairn, version: u64) -> PathBuf {
    let root = cairn.path(&format!("tree-{version}"));
    let library = root.join(format!("lib/tool-1.{version}.dist"));
    std::fs::create_dir_all(&library).unwrap();
    for n in 0..FILES {
        let mut content = noise(n, 20_000 + 30_000 * (n as usize % 4));
        let at = 1000 * version as usize;
        content[at..at + 30].copy_from_slice(&noise(900 + version, 30));
        std::fs::write(library.join(format!("file{n}")), content).unwrap();
    }
    // Nothing but its place says what it is similar to.
    let small = [&noise(77, 400)[..], &noise(800 + version, 40)].concat();
    std::fs::write(library.join("small"), small).unwrap();
    std::fs::write(root.join("new"), noise(100 + version, 30_000)).unwrap();
    root
}

fn version(cairn: &Cairn, number: u64) {
    cairn.import_dir(&tree(cairn, number), &format!("tool:{number}"));
}

fn packs_bytes(root: &Path) -> u64 {
    let entries = std::fs::read_dir(root.join("packs")).unwrap();
    entries.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

fn number(value: &serde_json::Value, name: &str) -> u64 {
    let found = value[name].as_u64();
    found.unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The tar of each image.
fn exported(cairn: &Cairn, versions: &[u64]) -> Vec<Vec<u8>> {
    let out = cairn.path("out.tar");
    let export = |version: &u64| {
        let name = format!("tool:{version}");
        cairn.ok(&["export", &name, "-o", out.to_str().unwrap()]);
        std::fs::read(&out).unwrap()
    };
    versions.iter().map(export).collect()
}

fn assert_sound(cairn: &Cairn) {
    assert!(cairn.ok(&["check"]).contains("all sound"));
    cairn.ok(&["stats", "--recount"]);
}

#[test]
fn a_version_costs_its_difference() {
    let cairn = Cairn::new();
    version(&cairn, 0);
    let one = packs_bytes(&cairn.root());
    for number in 1..4 {
        version(&cairn, number);
    }
    let before = packs_bytes(&cairn.root());
    let tars = exported(&cairn, &[0, 1, 2, 3]);
    assert!(number(&cairn.json(&["optimize", "-n"]), "due_bytes") > before * 9 / 10);
    assert!(
        cairn
            .ok(&["optimize", "--dry-run"])
            .starts_with("would look at ")
    );
    let report = cairn.json(&["optimize"]);
    assert_eq!(report["complete"], true, "{report}");
    assert!(
        number(&report, "differences") >= 3 * (FILES + 1),
        "{report}"
    );
    assert_eq!(
        before - packs_bytes(&cairn.root()),
        number(&report, "freed_bytes")
    );
    let after = packs_bytes(&cairn.root());
    // What is new with each is all there is to store.
    assert!(after < one + 3 * 45_000, "{one} {before} {after}");
    assert!(exported(&cairn, &[0, 1, 2, 3]) == tars);
    assert_sound(&cairn);
    assert_eq!(cairn.ok(&["optimize"]), "nothing to recompress\n");
    // The same again is known, and the next version is measured against those before.
    cairn.import_dir(&tree(&cairn, 2), "again:2");
    version(&cairn, 4);
    let report = cairn.json(&["optimize"]);
    assert!(number(&report, "differences") > FILES, "{report}");
    assert!(packs_bytes(&cairn.root()) < after + 50_000);
    assert_sound(&cairn);
}

/// What is promised of removals takes into account what differences need.
#[test]
fn removals_free_what_was_promised_and_keep_what_differences_need() {
    let cairn = Cairn::new();
    for number in 0..4 {
        version(&cairn, number);
    }
    // As it was before: it must not be taken for what is now.
    cairn.json(&["stats"]);
    cairn.ok(&["optimize"]);
    for number in [0, 2, 3, 1] {
        let name = format!("tool:{number}");
        let what_if = cairn.json(&["stats", "--what-if-removed", &name]);
        let promised = self::number(&what_if, "freed_bytes");
        let before = packs_bytes(&cairn.root());
        cairn.ok(&["rmi", &name]);
        let said = self::number(&cairn.json(&["gc"]), "freed_bytes");
        assert_eq!(
            (promised, said),
            (said, before - packs_bytes(&cairn.root())),
            "{name}"
        );
        assert_sound(&cairn);
        let left: Vec<u64> = (0..4)
            .filter(|n| cairn.image_names().contains(&format!("tool:{n}")))
            .collect();
        exported(&cairn, &left);
    }
    assert_eq!(packs_bytes(&cairn.root()), 0);
}

#[test]
fn why_says_what_needs_the_content_that_others_differ_from() {
    let cairn = Cairn::new();
    version(&cairn, 0);
    version(&cairn, 1);
    cairn.ok(&["optimize"]);
    cairn.ok(&["rmi", "tool:0"]);
    cairn.ok(&["gc", "--all"]);
    assert_sound(&cairn);
    let content = std::fs::read(cairn.path("tree-0/lib/tool-1.0.dist/small")).unwrap();
    let id = cairn_model::BlobId::of(&content).hex();
    let why = cairn.ok(&["why", &id[..16]]);
    assert!(
        why.contains("tool:1") && why.contains("tool-1.1.dist/small"),
        "{why}"
    );
}

#[test]
fn copies_of_the_repository_have_all_of_it() {
    let cairn = Cairn::new();
    for number in 0..3 {
        version(&cairn, number);
    }
    cairn.ok(&["optimize"]);
    let tars = exported(&cairn, &[0, 1, 2]);
    let backup = cairn.path("backup");
    cairn.ok(&["backup", backup.to_str().unwrap()]);
    let copy = Cairn::new();
    copy.ok(&["restore", backup.to_str().unwrap()]);
    assert!(exported(&copy, &[0, 1, 2]) == tars);
    assert_sound(&copy);
    // Images as files of blobs are for programs that know no differences.
    let all = cairn.path("all.cairn");
    cairn.ok(&[
        "export",
        "--format",
        "cairn",
        "tool:2",
        "-o",
        all.to_str().unwrap(),
    ]);
    let other = Cairn::new();
    other.ok(&["import", all.to_str().unwrap()]);
    assert!(exported(&other, &[2]) == tars[2..]);
    // A database that is lost, and the file of the format.
    for name in ["db", "index"] {
        let _ = std::fs::remove_dir_all(cairn.root().join(name));
    }
    std::fs::write(cairn.root().join("format"), "garbage").unwrap();
    cairn.ok(&["check", "--repair"]);
    let format = std::fs::read_to_string(cairn.root().join("format")).unwrap();
    assert!(format.contains("requires: deltas"), "{format}");
    assert!(exported(&cairn, &[0, 1, 2]) == tars);
    assert_sound(&cairn);
}

#[test]
fn time_and_limits_are_kept() {
    let cairn = Cairn::new();
    for number in 0..3 {
        version(&cairn, number);
    }
    let report = cairn.json(&["optimize", "--for", "0s"]);
    assert_eq!(report["complete"], false, "{report}");
    assert_eq!(report["blobs"], 0, "{report}");
    // Below a limit that leaves no room for new packs nothing is done, and it says what that takes.
    let used = 1_000_000;
    cairn.ok(&["config", "set", "gc.max-used", &used.to_string()]);
    let refused = cairn.json(&["optimize"]);
    assert!(number(&refused, "needs_bytes") > 0, "{refused}");
    cairn.ok(&["config", "unset", "gc.max-used"]);
    // As a part of a collection.
    let report = cairn.json(&["gc", "--optimize"]);
    assert!(number(&report["optimized"], "differences") > 0, "{report}");
    assert_sound(&cairn);
}

/// What views of the driver packs read in place stays; the rest of their files are objects.
#[test]
fn views_over_packs_keep_what_they_read() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    version(&cairn, 0);
    version(&cairn, 1);
    let place = cairn.path("place");
    std::fs::create_dir(&place).unwrap();
    let mounted = |name: &str| {
        cairn.ok(&["mount", name, place.to_str().unwrap()]);
        let seen = survey(&place);
        cairn.ok(&["unmount", place.to_str().unwrap()]);
        seen
    };
    let before = mounted("tool:0");
    let report = cairn.json(&["optimize"]);
    assert!(number(&report, "differences") > 0, "{report}");
    assert!(mounted("tool:0") == before);
    // Nothing of it had to be written out.
    assert!(
        !cairn.root().join("cache/objects").exists()
            || std::fs::read_dir(cairn.root().join("cache/objects"))
                .unwrap()
                .count()
                == 0
    );
    // The other image is stored as differences from it, so that its files are objects.
    mounted("tool:1");
    let objects = std::fs::read_dir(cairn.root().join("cache/objects"))
        .unwrap()
        .count();
    assert!(objects > 0);
    assert_sound(&cairn);
}
