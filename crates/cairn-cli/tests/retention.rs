//! `cairn gc` as a job: rules, pins, dates and limits decide which images go, and a plan says so before.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::{Value, json};

/// An image with one file of 200 kB of its own.
fn import(cairn: &Cairn, name: &str, seed: u64) {
    let layer = Tar::new().file("own", &noise(seed, 200_000)).done();
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive(name, &[layer], |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
}

fn names(cairn: &Cairn) -> Vec<String> {
    let images = cairn.json(&["images"]);
    let names = images.as_array().unwrap().iter().flat_map(|image| {
        let names = image["names"].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Three builds of one image, and two others.
fn builds() -> Cairn {
    let cairn = Cairn::new();
    for (name, seed) in [
        ("ci/app:1", 1),
        ("ci/app:2", 2),
        ("ci/app:3", 3),
        ("base:1", 4),
        ("web:1", 5),
    ] {
        import(&cairn, name, seed);
    }
    cairn
}

#[test]
fn rules_decide_and_the_plan_says_the_same_before() {
    let cairn = builds();
    let rule = [
        "--rule",
        "match=ci/*,keep-last=1",
        "--rule",
        "match=web:*,keep",
    ];
    let plan = cairn.json(&[&["gc", "-n"], &rule[..]].concat());
    assert_eq!(names(&cairn).len(), 5, "a plan removes nothing");
    let done = cairn.json(&[&["gc"], &rule[..]].concat());
    assert_eq!(names(&cairn), ["base:1", "ci/app:3", "web:1"]);
    assert_eq!(plan["decisions"], done["decisions"]);
    assert_eq!(plan["freed_bytes"], done["freed_bytes"]);
    assert!(done["freed_bytes"].as_u64().unwrap() > 400_000);
    let of = |name: &str| {
        let all = done["decisions"].as_array().unwrap().iter();
        let mut found = all.filter(|decision| decision["name"] == name);
        found.next().unwrap().clone()
    };
    assert_eq!(
        (&of("ci/app:1")["remove"], &of("ci/app:1")["rule"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        (&of("web:1")["remove"], &of("web:1")["rule"]),
        (&json!(false), &json!(2))
    );
    assert_eq!(
        (&of("base:1")["remove"], &of("base:1")["rule"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(done["complete"], true);
    // The second time there is nothing to do, and it says why.
    let again = cairn.json(&[&["gc"], &rule[..]].concat());
    assert_eq!(again["freed_bytes"], 0);
    assert!(!again["nothing_because"].as_array().unwrap().is_empty());
    cairn.ok(&["check", "--full"]);
}

#[test]
fn without_rules_no_image_goes() {
    let cairn = builds();
    cairn.ok(&["gc"]);
    assert_eq!(names(&cairn).len(), 5);
    let text = cairn.ok(&["gc"]);
    assert!(text.contains("nothing to free: no rule says"), "{text}");
}

#[test]
fn rules_of_the_settings_hold_until_the_command_has_others() {
    let cairn = builds();
    cairn.ok(&[
        "config",
        "set",
        "gc.rules",
        "match=ci/app:*,keep-last=2; match=web:*,remove",
    ]);
    cairn.fails(
        &["config", "set", "gc.rules", "match=x"],
        2,
        "not what to do",
    );
    cairn.ok(&["gc", "--no-rules"]);
    assert_eq!(names(&cairn).len(), 5);
    cairn.ok(&["gc", "--rule", "match=base:*,remove"]);
    assert_eq!(names(&cairn), ["ci/app:1", "ci/app:2", "ci/app:3", "web:1"]);
    let text = cairn.ok(&["gc"]);
    assert!(text.contains("removed web:1 (rule 2:"), "{text}");
    assert_eq!(names(&cairn), ["ci/app:2", "ci/app:3"]);
    for bad in ["keep-last=0", "unused-for=x", "match=a", "nonsense", ""] {
        cairn.fails(&["gc", "--rule", bad], 2, "");
    }
}

#[test]
fn what_is_pinned_or_used_stays_whatever_the_rules() {
    let cairn = builds();
    cairn.ok(&["pin", "ci/app:1"]);
    cairn.ok(&["snapshot", "prepare", "mine", "web:1"]);
    let err = cairn.fails(&["rmi", "ci/app:1"], 1, "pin");
    assert!(err.contains("cairn unpin ci/app:1"), "{err}");
    let image = cairn.json(&["inspect", "ci/app:1"]);
    assert_eq!(image["pinned"], true);
    cairn.ok(&["gc", "--rule", "remove"]);
    assert_eq!(names(&cairn), ["ci/app:1", "web:1"]);
    // Another name of a pinned image is no matter of the pin; the last one is.
    cairn.ok(&["tag", "ci/app:1", "other:1"]);
    cairn.ok(&["rmi", "other:1"]);
    cairn.ok(&["unpin", "ci/app:1"]);
    cairn.ok(&["snapshot", "rm", "mine"]);
    cairn.ok(&["gc", "--rule", "remove"]);
    assert_eq!(names(&cairn), [""; 0]);
    // An image that comes back is not pinned any more.
    import(&cairn, "ci/app:1", 1);
    assert_eq!(cairn.json(&["inspect", "ci/app:1"])["pinned"], false);
    cairn.fails(&["pin", "nosuch"], 1, "nosuch");
    cairn.ok(&["check", "--full"]);
}

#[test]
fn an_image_goes_when_its_time_has_come() {
    let cairn = builds();
    cairn.ok(&["expire", "0s", "ci/app:1", "ci/app:2"]);
    cairn.ok(&["expire", "1d", "ci/app:3"]);
    cairn.ok(&["expire", "never", "ci/app:2"]);
    assert_eq!(cairn.json(&["inspect", "ci/app:2"])["expires"], Value::Null);
    let expires = cairn.json(&["inspect", "ci/app:3"])["expires"].clone();
    assert!(expires.as_str().unwrap().ends_with('Z'), "{expires}");
    cairn.ok(&["gc"]);
    assert_eq!(names(&cairn), ["base:1", "ci/app:2", "ci/app:3", "web:1"]);
    cairn.fails(&["expire", "soon", "ci/app:2"], 2, "");
}

#[test]
fn what_was_used_lately_stays() {
    let cairn = builds();
    cairn.ok(&["snapshot", "prepare", "mine", "ci/app:1"]);
    cairn.ok(&["snapshot", "rm", "mine"]);
    let used = cairn.root().join("cache/used");
    let notes: Vec<_> = std::fs::read_dir(&used)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(notes.len(), 1, "one view was prepared");
    // All others were imported longer ago than this, however fast the test is.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let note = std::fs::File::options()
        .write(true)
        .open(&notes[0])
        .unwrap();
    note.set_modified(later).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // Also where its view has left the cache since.
    cairn.ok(&["gc", "--prune-cache"]);
    cairn.ok(&["gc", "--rule", "unused-for=1s"]);
    assert_eq!(names(&cairn), ["ci/app:1"]);
    cairn.ok(&["rmi", "ci/app:1"]);
    cairn.ok(&["gc"]);
    assert_eq!(
        std::fs::read_dir(&used).unwrap().count(),
        0,
        "uses of what is gone are forgotten"
    );
}

fn disk(cairn: &Cairn) -> u64 {
    cairn.json(&["stats"])["disk_bytes"].as_u64().unwrap()
}

#[test]
fn a_limit_takes_what_was_used_least_lately_and_not_more() {
    let cairn = Cairn::new();
    for n in 0..10 {
        // 600 kB each.
        let layer = Tar::new().file("own", &noise(100 + n, 600_000)).done();
        let archive = cairn.path("archive.tar");
        std::fs::write(
            &archive,
            docker_archive(&format!("i:{n}"), &[layer], |_| ()),
        )
        .unwrap();
        cairn.ok(&["import", archive.to_str().unwrap()]);
    }
    cairn.ok(&["gc"]);
    let (full, limit) = (disk(&cairn), disk(&cairn) - 2_000_000);
    cairn.ok(&["pin", "i:0"]);
    cairn.ok(&["config", "set", "gc.max-used", &limit.to_string()]);
    let plan = cairn.json(&["gc", "-n"]);
    assert_eq!(names(&cairn).len(), 10);
    let done = cairn.json(&["gc"]);
    assert_eq!(done["still_over_bytes"], 0);
    assert_eq!(plan["for_room"], done["for_room"]);
    assert!(disk(&cairn) <= limit, "{} of {full}", disk(&cairn));
    let left = names(&cairn);
    assert!(left.contains(&"i:0".to_owned()), "pinned");
    // Four of 600 kB are what it takes.
    assert_eq!(left.len(), 6, "{left:?}");
    // What a rule keeps stays, and the job says that it could not do more.
    let tight = ["--rule", "match=i:*,keep"];
    cairn.ok(&["config", "set", "gc.max-used", "1000000"]);
    let output = cairn.output(&[&["gc"], &tight[..]].concat());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && words.contains("over its limits"),
        "{words}"
    );
    assert_eq!(names(&cairn).len(), 6);
    cairn.ok(&["config", "set", "gc.reserved", "100G"]);
    cairn.ok(&["gc"]);
    assert_eq!(
        names(&cairn).len(),
        6,
        "nothing goes below what is reserved"
    );
    cairn.ok(&["check", "--full"]);
}

#[test]
fn the_last_job_is_remembered_and_told() {
    let cairn = builds();
    assert!(cairn.ok(&["stats"]).contains("gc has not run here yet"));
    cairn.ok(&["gc", "-n"]);
    assert!(cairn.ok(&["stats"]).contains("gc has not run here yet"));
    let metrics = cairn.path("cairn.prom");
    cairn.ok(&[
        "gc",
        "--rule",
        "match=web:*,remove",
        "--metrics",
        metrics.to_str().unwrap(),
    ]);
    assert!(
        cairn.ok(&["stats"]).contains("gc ran 0 s ago and freed"),
        "{}",
        cairn.ok(&["stats"])
    );
    let text = std::fs::read_to_string(&metrics).unwrap();
    let figure = |name: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(figure("cairn_gc_last_removed_images"), 1);
    assert_eq!(figure("cairn_gc_last_complete"), 1);
    assert_eq!(figure("cairn_images"), 4);
    // The parts add up to what du says.
    let parts = text
        .lines()
        .filter(|line| line.starts_with("cairn_disk_bytes{"));
    let sum: u64 = parts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, disk(&cairn));
    // A record that does not read is none.
    std::fs::write(cairn.root().join("gc.json"), "{").unwrap();
    assert!(cairn.ok(&["stats"]).contains("gc has not run here yet"));
    cairn.fails(
        &["gc", "--metrics", "/nosuch/directory/file"],
        1,
        "/nosuch/directory/file",
    );
}

#[test]
fn a_job_whose_time_is_up_stops_after_a_round_and_the_next_goes_on() {
    let cairn = Cairn::new();
    for n in 0..6 {
        let layer = Tar::new()
            .file("keep", &noise(300 + n, 900_000))
            .file("own", &noise(200 + n, 900_000))
            .done();
        let keep = Tar::new().file("keep", &noise(300 + n, 900_000)).done();
        for (name, layer) in [(format!("both:{n}"), layer), (format!("half:{n}"), keep)] {
            let archive = cairn.path("archive.tar");
            std::fs::write(&archive, docker_archive(&name, &[layer], |_| ())).unwrap();
            cairn.ok(&["import", archive.to_str().unwrap()]);
        }
    }
    // Rounds of one pack each.
    cairn.ok(&["config", "set", "gc.round-size", "1M"]);
    let first = cairn.json(&["gc", "--rule", "match=both:*,remove", "--for", "0s"]);
    assert_eq!(first["complete"], false, "{first}");
    let freed = first["freed_bytes"].as_u64().unwrap();
    assert!(freed > 0, "one round is always done");
    let second = cairn.json(&["gc"]);
    assert_eq!(second["complete"], true);
    assert!(second["freed_bytes"].as_u64().unwrap() > freed);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn metrics_are_as_prometheus_wants_them() {
    // In Debian's package prometheus, which starts a server when it is installed: the gate does without.
    if !common::has("promtool") {
        eprintln!("skipped: promtool is not installed");
        return;
    }
    let cairn = builds();
    let file = cairn.path("cairn.prom");
    cairn.ok(&["gc", "--metrics", file.to_str().unwrap()]);
    let checked = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
}

#[test]
fn rules_that_contradict_each_other_are_refused_or_told() {
    let cairn = builds();
    cairn.fails(&["gc", "--rule", "keep,remove"], 2, "contradicts itself");
    let without = cairn.output(&["gc", "-n", "--rule", "keep", "--rule", "match=ci/*,remove"]);
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(
        without.status.success() && said.contains("rule 2"),
        "{said}"
    );
}

#[test]
fn reports_of_an_empty_and_a_read_only_repository_and_to_a_full_disk() {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    for report in [
        &["stats"][..],
        &["images"],
        &["gc", "-n"],
        &["orphans"],
        &["snapshot", "ls"],
        &["doctor"],
    ] {
        cairn.ok(report);
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = cairn.command(&[&["--json"], report].concat());
        let output = command.stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{report:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
    let dry = cairn.json(&["gc", "-n"]);
    assert!(
        !dry["nothing_because"].as_array().unwrap().is_empty(),
        "{dry}"
    );
}
