//! `cairn doctor`: what it finds, what it says to do, and how it exits.

mod common;

use common::{Cairn, Tar, docker_archive, is_root, noise};
use serde_json::Value;

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["findings"].as_array().unwrap();
    all.iter()
        .find(|finding| finding["name"] == name)
        .unwrap_or_else(|| panic!("{name}: {report:#}"))
}

fn diagnosis(cairn: &Cairn, code: i32) -> Value {
    let output = cairn.output(&["--json", "doctor"]);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_machine_without_a_repository_is_looked_at_and_nothing_is_made() {
    let cairn = Cairn::new();
    let report = diagnosis(&cairn, 0);
    assert_eq!(report["healthy"], true);
    for name in [
        "cairn",
        "kernel",
        "seccomp",
        "control groups",
        "user namespaces",
        "subordinate ids",
        "network helper",
        "space",
        "inodes",
    ] {
        assert!(
            !finding(&report, name)["says"].as_str().unwrap().is_empty(),
            "{name}"
        );
    }
    assert!(
        finding(&report, "format")["says"]
            .as_str()
            .unwrap()
            .contains("yet")
    );
    assert!(!cairn.root().exists(), "doctor makes no repository");
}

#[test]
fn every_finding_that_is_not_ok_says_what_to_do() {
    let cairn = common::shell();
    let report = diagnosis(&cairn, 0);
    for finding in report["findings"].as_array().unwrap() {
        let ok = finding["state"] == "ok";
        assert_eq!(ok, finding["advice"].is_null(), "{finding}");
    }
    if is_root() {
        let driver = finding(&report, "driver")["says"].as_str().unwrap();
        let used = cairn.json(&["driver"])["driver"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(driver.starts_with(&used), "{driver} {used}");
    }
    let text = cairn.ok(&["doctor"]);
    assert!(
        text.contains("problems, ") && !text.contains('\x1b'),
        "{text}"
    );
}

#[test]
fn what_was_found_by_the_last_check_and_gc_is_told() {
    let cairn = common::shell();
    let report = diagnosis(&cairn, 0);
    assert_eq!(finding(&report, "last gc")["says"], "has not run here yet");
    assert_eq!(
        finding(&report, "last check")["says"],
        "has not run here yet"
    );
    cairn.ok(&["gc"]);
    cairn.ok(&["check", "--fast"]);
    let report = diagnosis(&cairn, 0);
    assert!(
        finding(&report, "last gc")["says"]
            .as_str()
            .unwrap()
            .contains("freed")
    );
    assert!(
        finding(&report, "last check")["says"]
            .as_str()
            .unwrap()
            .contains("structure")
    );
    let packs = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    let pack = packs.map(|e| e.unwrap().path()).next().unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&pack, bytes).unwrap();
    assert_eq!(cairn.output(&["check"]).status.code(), Some(3));
    let report = diagnosis(&cairn, 1);
    assert_eq!(report["healthy"], false);
    let check = finding(&report, "last check");
    assert_eq!(check["state"], "problem");
    assert!(check["advice"].as_str().unwrap().contains("--repair"));
}

#[test]
fn a_settings_file_that_cannot_be_followed_is_a_problem_with_its_line() {
    let cairn = common::shell();
    std::fs::write(cairn.root().join("cairn.toml"), "verify = 3\n").unwrap();
    let report = diagnosis(&cairn, 1);
    let settings = finding(&report, "settings");
    assert!(
        settings["says"].as_str().unwrap().contains("line 1"),
        "{settings}"
    );
}

#[test]
fn rules_without_effect_and_a_clock_that_was_set_back_are_warnings() {
    let cairn = common::shell();
    cairn.ok(&["config", "set", "gc.rules", "remove; match=a/*,keep"]);
    let record = r#"{"ended":"2100-01-01T00:00:00Z","ended_secs":4102444800,"milliseconds":1,"freed_bytes":0,"removed_images":0,"complete":true,"error":null}"#;
    std::fs::write(cairn.root().join("gc.json"), record).unwrap();
    let report = diagnosis(&cairn, 0);
    assert_eq!(finding(&report, "rules")["state"], "warning");
    assert!(
        finding(&report, "rules")["advice"]
            .as_str()
            .unwrap()
            .contains("rule 2")
    );
    assert_eq!(finding(&report, "clock")["state"], "warning");
}

#[test]
fn a_collection_that_falls_behind_is_a_warning() {
    let cairn = Cairn::new();
    let layer = Tar::new().file("own", &noise(1, 3_000_000)).done();
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive("big:1", &[layer], |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
    cairn.ok(&["pin", "big:1"]);
    cairn.ok(&["config", "set", "gc.max-used", "1M"]);
    let report = diagnosis(&cairn, 0);
    let gc = finding(&report, "last gc");
    assert!(
        gc["advice"].as_str().unwrap().contains("over its limits"),
        "{gc}"
    );
}
