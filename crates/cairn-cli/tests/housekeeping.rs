//! Collection, statistics, verification and repair.

mod common;

use std::path::PathBuf;

use common::{Cairn, is_root, noise};
use serde_json::Value;

/// Five images whose trees share most of their content.
fn five() -> Cairn {
    let cairn = Cairn::new();
    for i in 0..5 {
        let tree = cairn.path(&format!("tree{i}"));
        std::fs::create_dir_all(tree.join("lib")).unwrap();
        for f in 0..30 {
            std::fs::write(tree.join(format!("lib/common{f}")), noise(f, 20_000)).unwrap();
        }
        for f in 0..10 {
            std::fs::write(
                tree.join(format!("lib/own{f}")),
                noise(1000 * (i + 1) + f, 30_000),
            )
            .unwrap();
        }
        std::fs::write(tree.join("text"), format!("version {i}\n").repeat(5000)).unwrap();
        cairn.import_dir(&tree, &format!("app:{i}"));
    }
    cairn
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Bytes as du(1) counts them.
fn du(cairn: &Cairn) -> u64 {
    let output = std::process::Command::new("du")
        .args(["-s", "-B1"])
        .arg(cairn.root())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn assert_adds_up(cairn: &Cairn) -> Value {
    let stats = cairn.json(&["stats"]);
    let n = |field: &str| number(&stats, field);
    let shared = n("shared_layers_bytes")
        + n("holes_bytes")
        + n("shared_within_bytes")
        + n("shared_between_bytes");
    assert_eq!(n("logical_bytes") - shared, n("unique_bytes"), "{stats}");
    assert_eq!(
        n("unique_bytes") - n("compression_saved_bytes"),
        n("stored_content_bytes"),
        "{stats}"
    );
    let parts = [
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
    ];
    let sum: u64 = parts.iter().map(|part| n(&format!("{part}_bytes"))).sum();
    assert_eq!(sum, n("disk_bytes"), "{stats}");
    // The database is opened for the count itself, so its files may move by a little.
    let off = n("disk_bytes").abs_diff(du(cairn));
    assert!(off <= 64 * 1024, "du says {} more or less", off);
    stats
}

#[test]
fn the_report_adds_up_to_what_du_says() {
    let cairn = five();
    let stats = assert_adds_up(&cairn);
    assert_eq!(number(&stats, "shared_between_bytes"), 4 * 30 * 20_000);
    for image in stats["images"].as_array().unwrap() {
        let own = number(image, "exclusive_bytes");
        assert!((300_000..320_000).contains(&own), "{image}");
        assert!(
            (600_000..610_000).contains(&number(image, "shared_bytes")),
            "{image}"
        );
    }
    let promised = stats["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["name"] == "app:3")
        .map(|i| number(i, "freed_if_removed_bytes"))
        .unwrap();
    let before = assert_adds_up(&cairn);
    cairn.ok(&["rmi", "app:3"]);
    let dead = assert_adds_up(&cairn);
    assert!(number(&dead, "dead_bytes") > 300_000, "{dead}");
    cairn.ok(&["gc"]);
    let after = assert_adds_up(&cairn);
    let parts = [
        "stored_content_bytes",
        "stored_metadata_bytes",
        "pack_overhead_bytes",
        "index_bytes",
        "dead_bytes",
    ];
    let all = |stats: &Value| parts.iter().map(|p| number(stats, p)).sum::<u64>();
    let freed = all(&before) - all(&after);
    assert!(
        freed.abs_diff(promised) < 2000,
        "promised {promised}, freed {freed}"
    );
}

#[test]
fn a_dry_run_tells_what_the_run_then_does() {
    let cairn = five();
    for i in 0..4 {
        cairn.ok(&["rmi", &format!("app:{i}")]);
    }
    let packs = |cairn: &Cairn| {
        std::fs::read_dir(cairn.root().join("packs"))
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum::<u64>()
    };
    let before = packs(&cairn);
    let dry = cairn.json(&["gc", "--dry-run"]);
    assert_eq!(packs(&cairn), before, "a dry run changes nothing");
    let run = cairn.json(&["gc"]);
    assert_eq!(before - packs(&cairn), number(&dry, "freed_bytes"));
    assert_eq!(dry["freed_bytes"], run["freed_bytes"]);
    assert!(number(&dry, "freed_bytes") > 1_000_000);
    cairn.ok(&["check"]);
    let out = cairn.path("out");
    cairn.ok(&[
        "export",
        "app:4",
        "--format",
        "dir",
        "-o",
        out.to_str().unwrap(),
    ]);
    assert!(std::fs::read(out.join("lib/common7")).unwrap() == noise(7, 20_000));
    cairn.ok(&["rmi", "app:4"]);
    cairn.ok(&["gc"]);
    assert!(
        du(&cairn) < 1_000_000,
        "an emptied repository has {} bytes",
        du(&cairn)
    );
    assert_eq!(cairn.json(&["gc"])["freed_bytes"], 0);
}

#[test]
fn unused_views_leave_the_cache_and_used_ones_stay() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = five();
    let place = cairn.path("mnt");
    std::fs::create_dir(&place).unwrap();
    cairn.ok(&["mount", "app:0", place.to_str().unwrap()]);
    cairn.ok(&["snapshot", "view", "v1", "app:1"]);
    cairn.ok(&["snapshot", "rm", "v1"]);
    cairn.ok(&["rmi", "app:1"]);
    let report = cairn.json(&["gc", "--prune-cache"]);
    assert!(number(&report, "evicted_objects") >= 10, "{report}");
    assert!(
        std::fs::read(place.join("lib/own3")).unwrap() == noise(1003, 30_000),
        "what is mounted can be read"
    );
    cairn.fails(&["rmi", "app:0"], 1, "in use");
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    cairn.ok(&["rmi", "app:0"]);
}

/// Flips a bit in the middle of the largest pack.
fn damage(cairn: &Cairn) -> PathBuf {
    let packs = std::fs::read_dir(cairn.root().join("packs"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let pack = packs.max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(&pack, bytes).unwrap();
    pack
}

#[test]
fn damage_is_named_by_what_it_touches_and_healed_by_an_import() {
    let cairn = five();
    assert_eq!(cairn.json(&["check"])["sound"], true);
    damage(&cairn);
    let output = cairn.output(&["--json", "check"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hit = &report["hits"][0];
    assert_eq!(
        report["hits"].as_array().unwrap().len(),
        1,
        "one blob: {report}"
    );
    let paths: Vec<&str> = hit["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| f["path"].as_str())
        .collect();
    assert!(
        !paths.is_empty() && paths.iter().all(|p| p.starts_with("lib/") || *p == "text"),
        "{report}"
    );
    let images = report["images"].as_array().unwrap().len();
    assert_eq!(images, paths.len(), "each image with the file is named");
    // Reading what is hit fails with its name; everything else works.
    let victim = report["images"][0].as_str().unwrap();
    cairn.fails(
        &[
            "export",
            victim,
            "--format",
            "dir",
            "-o",
            cairn.path("bad").to_str().unwrap(),
        ],
        3,
        "damaged",
    );
    assert_eq!(
        cairn.output(&["check", "--repair"]).status.code(),
        Some(3),
        "the blob itself is not to be had"
    );
    assert_eq!(
        std::fs::read_dir(cairn.root().join("quarantine"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(
        cairn.output(&["check", "--fast"]).status.code(),
        Some(3),
        "a fast check sees a missing blob too"
    );
}

#[test]
fn repair_and_a_new_import_make_it_whole() {
    let cairn = five();
    let report =
        || -> Value { serde_json::from_slice(&cairn.output(&["--json", "check"]).stdout).unwrap() };
    damage(&cairn);
    cairn.output(&["check", "--repair"]);
    assert_eq!(report()["sound"], false);
    for i in 0..5 {
        cairn.import_dir(&cairn.path(&format!("tree{i}")), &format!("again:{i}"));
    }
    assert_eq!(report()["sound"], true, "{}", report());
}

#[test]
fn lost_parts_are_made_again_and_lost_packs_are_named() {
    for lost in ["db", "index", "journal", "cache"] {
        let cairn = five();
        cairn.use_database();
        let path = cairn.root().join(lost);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap()
        } else {
            let _ = std::fs::remove_file(&path);
        }
        assert_eq!(cairn.image_names().len(), 5, "without {lost}");
        cairn.ok(&["check"]);
    }
    let cairn = five();
    let pack = damage(&cairn);
    std::fs::remove_file(pack).unwrap();
    let output = cairn.output(&["--json", "check"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!report["images"].as_array().unwrap().is_empty(), "{report}");
    let said = cairn.output(&["gc"]);
    assert_ne!(
        said.status.code(),
        Some(0),
        "a sweep does not run over missing blobs"
    );
}

#[test]
fn output_is_quiet_in_a_pipe_and_json_where_asked() {
    let cairn = five();
    let output = cairn.output(&[
        "import",
        cairn.path("tree0").to_str().unwrap(),
        "--name",
        "x",
    ]);
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for table in [
        &["images"][..],
        &["stats"],
        &["snapshot", "ls"],
        &["history", "x"],
        &["ps", "-a"],
    ] {
        let text = cairn.ok(table);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{table:?} is wider than 80 columns:\n{text}"
        );
        assert!(cairn.json(table).is_array() || cairn.json(table).is_object());
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(cairn.ok(&["completions", shell]).contains("import"));
    }
    cairn.ok(&["man", cairn.path("man").to_str().unwrap()]);
    assert!(cairn.path("man/cairn-import.1").exists());
    assert_eq!(cairn.image_names().len(), 6);
}

/// The journal is the truth; when it is the damaged one, nothing is cut and the database fills in.
#[test]
fn a_damaged_journal_is_never_taken_for_an_empty_one() {
    let cairn = five();
    let journal = cairn.root().join("journal");
    cairn.ok(&["gc"]);
    let db = cairn.root().join("db");
    if db.exists() {
        std::fs::remove_dir_all(db).unwrap();
    }
    let good = std::fs::read(&journal).unwrap();
    let damaged = |good: &[u8]| {
        let mut bad = good.to_vec();
        bad[good.len() / 2] ^= 1;
        bad
    };
    let bad = damaged(&good);
    std::fs::write(&journal, &bad).unwrap();
    cairn.fails(&["images"], 3, "damaged");
    cairn.fails(&["gc"], 3, "damaged");
    assert_eq!(std::fs::read(&journal).unwrap(), bad, "nothing was cut off");
    std::fs::write(&journal, &good).unwrap();
    assert_eq!(cairn.image_names().len(), 5);
    // Where the journal is long, a change fills the database, which then knows what the journal lost.
    cairn.use_database();
    cairn.ok(&["tag", "app:0", "app:again"]);
    let good = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, damaged(&good)).unwrap();
    assert_eq!(cairn.image_names().len(), 6);
    cairn.fails(&["check"], 3, "");
    cairn.ok(&["check", "--repair"]);
    assert_eq!(cairn.image_names().len(), 6);
    cairn.ok(&["check"]);
}

#[test]
fn an_archive_heals_what_its_layers_lost() {
    let cairn = five();
    let tar = cairn.path("app2.tar");
    cairn.ok(&["export", "app:2", "-o", tar.to_str().unwrap()]);
    for entry in std::fs::read_dir(cairn.root().join("packs")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    cairn.output(&["check", "--repair"]);
    cairn.ok(&["import", tar.to_str().unwrap()]);
    cairn.ok(&[
        "export",
        "app:2",
        "--format",
        "dir",
        "-o",
        cairn.path("out").to_str().unwrap(),
    ]);
    assert!(std::fs::read(cairn.path("out/lib/own4")).unwrap() == noise(3004, 30_000));
}
