//! Verification that takes its time: samples, ages, rates, what is in use, what the cache gives back.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::{Cairn, is_root, noise};
use serde_json::{Value, json};

/// Images of one pack each, of about 200 KB.
fn repository(images: u64) -> Cairn {
    let cairn = Cairn::new();
    for i in 0..images {
        let tree = cairn.path(&format!("tree{i}"));
        std::fs::create_dir_all(&tree).unwrap();
        for f in 0..4 {
            std::fs::write(tree.join(format!("f{f}")), noise(i * 10 + f, 50_000)).unwrap();
        }
        cairn.import_dir(&tree, &format!("app:{i}"));
    }
    cairn
}

fn packs(cairn: &Cairn) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn flip(pack: &PathBuf, at: usize) {
    let mut bytes = std::fs::read(pack).unwrap();
    bytes[at] ^= 4;
    std::fs::write(pack, bytes).unwrap();
}

fn report(cairn: &Cairn, args: &[&str]) -> Value {
    let output = cairn.output(&[&["--json", "check"], args].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn samples_come_to_every_pack_in_turn() {
    let cairn = repository(4);
    for seen in 0..4 {
        let part = report(&cairn, &["--sample", "20%"]);
        assert_eq!(
            (&part["packs"], &part["packs_skipped"]),
            (&json!(1), &json!(3))
        );
        let new = report(&cairn, &["--max-age", "1h"]);
        // What that read, it wrote down too; each pack comes once.
        assert_eq!(new["packs"], if seen == 0 { json!(3) } else { json!(0) });
    }
    assert_eq!(report(&cairn, &["--full"])["packs"], 4);
    assert_eq!(
        report(&cairn, &["--fast"])["bytes"],
        report(&cairn, &[])["bytes"]
    );
}

#[test]
fn a_scrub_that_was_killed_goes_on_where_it_was() {
    let cairn = repository(4);
    // 200 KB each, at 400 KB a second: about two seconds for all.
    let args = ["check", "--max-age", "1h", "--rate", "400K"];
    let journal = || {
        std::fs::metadata(cairn.root().join("journal"))
            .unwrap()
            .len()
    };
    let before = journal();
    let mut child = cairn.command(&args).spawn().unwrap();
    // The first pack that was read is written down.
    while journal() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = report(&cairn, &["--max-age", "1h"]);
    let read = rest["packs"].as_u64().unwrap();
    assert!((1..4).contains(&read), "{rest}");
    assert_eq!(rest["packs_skipped"], 4 - read);
    assert_eq!(report(&cairn, &["--max-age", "1h"])["packs"], 0);
}

#[test]
fn a_rate_is_kept() {
    let cairn = repository(2);
    let start = Instant::now();
    cairn.ok(&["check", "--rate", "300K"]);
    // 400 KB of noise cannot have been read in less than a second at that rate.
    assert!(start.elapsed().as_secs_f64() > 1.0);
}

#[test]
fn damage_is_not_remembered_as_sound() {
    let cairn = repository(2);
    let pack = packs(&cairn).remove(0);
    report(&cairn, &[]);
    flip(&pack, 60_000);
    assert_eq!(
        report(&cairn, &["--max-age", "1h"])["sound"],
        true,
        "not read again yet"
    );
    assert_eq!(
        report(&cairn, &["--fast"])["sound"],
        true,
        "content is not read"
    );
    for _ in 0..2 {
        let output = cairn.output(&["check", "--max-age", "0s"]);
        assert_eq!(output.status.code(), Some(3));
    }
    // It stays the first to be read.
    assert_eq!(report(&cairn, &["--sample", "1%"])["sound"], false);
}

#[test]
fn what_is_in_use_is_named_and_the_cache_gives_files_back() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    common::shell_tree(&tree);
    std::fs::write(tree.join("data"), noise(1, 200_000)).unwrap();
    cairn.import_dir(&tree, "shell");
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "shell",
        "/bin/sh",
        "-c",
        "sleep 1000",
    ];
    cairn.ok(&run);
    let place = cairn.path("mounted");
    std::fs::create_dir(&place).unwrap();
    cairn.ok(&["mount", "shell", place.to_str().unwrap()]);
    // Every blob of the largest file that is not compressed: find it by its bytes.
    let wanted = &noise(1, 200_000)[..32];
    let hit = packs(&cairn).into_iter().find_map(|pack| {
        let bytes = std::fs::read(&pack).unwrap();
        let at = bytes.windows(32).position(|window| window == wanted)?;
        Some((pack, at))
    });
    let (pack, at) = hit.expect("noise is stored as it is");
    flip(&pack, at + 5);
    let found = report(&cairn, &[]);
    assert_eq!(found["hits"][0]["files"][0]["path"], "data");
    let heads = found["heads"].as_array().unwrap();
    assert!(
        heads
            .iter()
            .any(|h| h["container"] == "c" && h["running"] == true),
        "{found}"
    );
    assert!(
        heads
            .iter()
            .any(|h| h["mountpoint"] == place.to_str().unwrap()),
        "{found}"
    );
    // The mounted file was assembled before the damage, so it is still to be had.
    let said = cairn.ok(&["check", "--repair"]);
    assert!(
        said.contains("restored 1 files from the object cache"),
        "{said}"
    );
    assert_eq!(report(&cairn, &[])["sound"], true);
    assert!(std::fs::read(place.join("data")).unwrap() == noise(1, 200_000));
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn nonsense_is_a_usage_error() {
    let cairn = repository(1);
    for args in [
        &["check", "--sample", "0"][..],
        &["check", "--sample", "200%"],
        &["check", "--max-age", "5"],
        &["check", "--rate", "fast"],
        &["check", "--fast", "--full"],
        &["check", "--repair", "--fast"],
    ] {
        assert_eq!(cairn.output(args).status.code(), Some(2), "{args:?}");
    }
}
