//! Snapshots that go when their time has come, exit codes of `gc` for schedulers, and what a clock that jumps does.

mod common;

use common::{Cairn, noise};
use serde_json::Value;

/// A repository with an image that has one file.
fn repository() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(1, 200_000)).unwrap();
    cairn.import_dir(&tree, "img:1");
    cairn
}

fn keys(cairn: &Cairn) -> Vec<String> {
    let all = cairn.json(&["snapshot", "ls"]);
    let all = all.as_array().unwrap().iter();
    let mine = all.filter(|snapshot| snapshot["labels"].get("cairn.imported").is_none());
    let mut names: Vec<String> = mine
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn decision<'a>(job: &'a Value, name: &str) -> &'a Value {
    let all = job["snapshots"].as_array().unwrap();
    all.iter()
        .find(|one| one["name"] == name)
        .unwrap_or(&Value::Null)
}

#[test]
fn snapshots_go_when_their_time_has_come_and_the_plan_says_so_before() {
    let cairn = repository();
    cairn.ok(&["snapshot", "prepare", "over", "img:1", "--expire", "0s"]);
    cairn.ok(&["snapshot", "prepare", "later", "img:1", "--expire", "1d"]);
    cairn.ok(&["snapshot", "view", "look", "img:1", "--expire", "0s"]);
    cairn.ok(&["snapshot", "prepare", "work", "img:1"]);
    let upper = cairn.json(&["snapshot", "mounts", "work"])["head"]["upper"].clone();
    let new = std::path::Path::new(upper.as_str().unwrap()).join("new");
    std::fs::write(new, noise(2, 700_000)).unwrap();
    cairn.ok(&["snapshot", "save", "saved", "work", "--expire", "0s"]);
    cairn.ok(&["snapshot", "commit", "done", "work"]);
    cairn.ok(&["snapshot", "prepare", "above", "saved"]);
    let plan = cairn.json(&["gc", "-n"]);
    let all = ["above", "done", "later", "look", "over", "saved"];
    assert_eq!(keys(&cairn), all, "a plan removes nothing");
    for (name, goes) in [
        ("over", true),
        ("look", true),
        ("later", false),
        ("saved", false),
    ] {
        assert_eq!(decision(&plan, name)["remove"], goes, "{name}: {plan}");
    }
    let why = decision(&plan, "saved")["why"].as_str().unwrap();
    assert!(why.contains("above"), "{why}");
    assert_eq!(
        decision(&plan, "done"),
        &Value::Null,
        "nothing is said of it"
    );
    let text = cairn.ok(&["gc", "-n"]);
    assert!(
        text.contains("snapshot over") && text.contains("expired"),
        "{text}"
    );
    let done = cairn.json(&["gc"]);
    assert_eq!(done["snapshots"], plan["snapshots"]);
    assert_eq!(keys(&cairn), ["above", "done", "later", "saved"]);
    // A date is a label, and can be taken away or set later.
    cairn.ok(&["snapshot", "rm", "above", "done"]);
    cairn.ok(&["snapshot", "label", "saved", "cairn.expires="]);
    cairn.ok(&[
        "snapshot",
        "label",
        "later",
        "cairn.expires=2001-01-01T00:00:00Z",
    ]);
    cairn.ok(&["gc"]);
    assert_eq!(keys(&cairn), ["saved"]);
    cairn.fails(
        &["snapshot", "prepare", "x", "img:1", "--expire", "soon"],
        2,
        "duration",
    );
    cairn.ok(&["check", "--full"]);
}

#[test]
fn what_an_expired_snapshot_had_is_freed_as_the_plan_said() {
    let cairn = repository();
    cairn.ok(&["snapshot", "prepare", "work", "img:1"]);
    let upper = cairn.json(&["snapshot", "mounts", "work"])["head"]["upper"].clone();
    let new = std::path::Path::new(upper.as_str().unwrap()).join("new");
    std::fs::write(new, noise(2, 700_000)).unwrap();
    cairn.ok(&["snapshot", "commit", "done", "work", "--expire", "0s"]);
    let plan = cairn.json(&["gc", "-n"]);
    let done = cairn.json(&["gc"]);
    assert_eq!(plan["freed_bytes"], done["freed_bytes"]);
    assert!(done["freed_bytes"].as_u64().unwrap() > 600_000, "{done}");
}

#[test]
fn rules_name_snapshots_and_leave_what_is_used() {
    let cairn = repository();
    for key in ["ci/1", "ci/2", "mine"] {
        cairn.ok(&["snapshot", "prepare", key, "img:1"]);
    }
    let rule = "snapshots,match=ci/*,remove";
    // Images are not theirs, whatever they match.
    let done = cairn.json(&["gc", "--rule", rule, "--rule", "snapshots,keep"]);
    assert_eq!(decision(&done, "ci/1")["rule"], 1);
    assert_eq!(keys(&cairn), ["mine"]);
    assert_eq!(cairn.image_names(), ["img:1"]);
    // What an image is made of stays, whatever a rule says.
    let done = cairn.json(&["gc", "--rule", "snapshots,remove"]);
    let kept = done["snapshots"].as_array().unwrap().iter();
    let kept: Vec<&Value> = kept.filter(|one| one["remove"] == false).collect();
    assert!(kept[0]["why"].as_str().unwrap().contains("image"), "{done}");
    assert_eq!(cairn.image_names(), ["img:1"]);
    cairn.fails(&["gc", "--rule", "snapshots,keep-last=2"], 2, "snapshots");
}

#[test]
fn the_exit_code_of_gc_tells_a_scheduler_what_to_do() {
    let cairn = repository();
    assert_eq!(cairn.json(&["gc"])["complete"], true);
    // A job that was cut short is told until one came to its end.
    let record = cairn.root().join("gc.json");
    let mut last: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    last["complete"] = false.into();
    std::fs::write(&record, last.to_string()).unwrap();
    let warned = cairn.output(&["--json", "stats"]);
    let said = String::from_utf8_lossy(&warned.stderr);
    assert_eq!(warned.status.code(), Some(0));
    assert!(
        said.contains("falls behind") && said.contains("ran out of time"),
        "{said}"
    );
    cairn.ok(&["gc"]);
    let fine = cairn.output(&["stats"]);
    assert!(
        fine.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&fine.stderr)
    );
    cairn.ok(&["config", "set", "gc.max-used", "1G"]);
    std::fs::remove_file(&record).unwrap();
    let warned = cairn.output(&["stats"]);
    assert!(String::from_utf8_lossy(&warned.stderr).contains("never run"));
    // A repository that is not there.
    cairn.fails(
        &["gc", "--root", "/nonexistent/repository"],
        1,
        "/nonexistent",
    );
    // One that is damaged: a blob that an image needs is gone. Nothing is removed.
    for pack in std::fs::read_dir(cairn.root().join("packs")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    cairn.fails(&["gc"], 3, "");
    let last: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert!(
        last["error"].is_string() && last["complete"] == false,
        "{last}"
    );
}

#[test]
fn a_clock_that_jumped_keeps_nothing_from_being_told_and_removes_nothing_early() {
    let cairn = repository();
    cairn.ok(&["gc"]);
    // Rows and a record from a day when the clock was far ahead.
    let history = cairn.root().join("history");
    let rows = std::fs::read_to_string(&history).unwrap();
    let year =
        |text: &str, year: &str| text.replacen("\"time\":\"20", &format!("\"time\":\"{year}"), 1);
    let first = rows.lines().find(|line| !line.is_empty()).unwrap();
    let jumped = format!("{}\n{rows}\n{}\n", year(first, "21"), year(first, "19"));
    std::fs::write(&history, jumped).unwrap();
    let told = cairn.json(&["stats", "--show", "growth"]);
    let times: Vec<&str> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["time"].as_str().unwrap())
        .collect();
    assert!(
        times[0].starts_with("21") && times.last().unwrap().starts_with("19"),
        "{times:?}"
    );
    let page = cairn.path("page.html");
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    let record = cairn.root().join("gc.json");
    let mut last: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    last["ended_secs"] = 32_503_680_000_i64.into();
    std::fs::write(&record, last.to_string()).unwrap();
    cairn.ok(&["config", "set", "gc.rules", "keep-within=1d"]);
    let stats = cairn.output(&["stats"]);
    let said = String::from_utf8_lossy(&stats.stdout);
    assert!(
        said.contains("gc ran 0 s ago") && stats.stderr.is_empty(),
        "{said}"
    );
    // What is to go in the future stays, however far that is.
    cairn.ok(&["snapshot", "prepare", "far", "img:1"]);
    cairn.ok(&[
        "snapshot",
        "label",
        "far",
        "cairn.expires=9999-12-31T23:59:59Z",
    ]);
    cairn.ok(&["gc"]);
    assert_eq!(keys(&cairn), ["far"]);
    assert_eq!(cairn.image_names(), ["img:1"]);
    cairn.fails(
        &["snapshot", "prepare", "x", "--expire", "99999999d"],
        2,
        "too far",
    );
}
