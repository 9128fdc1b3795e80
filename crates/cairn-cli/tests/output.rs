//! Standard output that takes nothing, readers that go away, and texts that would steer a terminal.

mod common;

use std::process::{Output, Stdio};

use common::{Cairn, Tar, docker_archive, is_root, noise};

/// A repository with an image of many layers' worth of content, a snapshot of it, and a committed one.
fn prepared() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir_all(tree.join("d")).unwrap();
    std::fs::write(tree.join("d/big"), noise(1, 400_000)).unwrap();
    std::fs::write(tree.join("d/text"), "text").unwrap();
    cairn.import_dir(&tree, "img");
    cairn.import_dir(&tree.join("d"), "other");
    cairn.ok(&["snapshot", "prepare", "s", "img"]);
    cairn.ok(&["snapshot", "prepare", "t", "img"]);
    cairn.ok(&["snapshot", "prepare", "empty"]);
    cairn.ok(&["snapshot", "commit", "u", "t"]);
    cairn
}

/// Commands that print something, those that change nothing first.
const PRINTING: [&[&str]; 31] = [
    &["images"],
    &["inspect", "img"],
    &["history", "img"],
    &["ps", "-a"],
    &["snapshot", "ls"],
    &["snapshot", "tree"],
    &["snapshot", "stat", "s"],
    &["snapshot", "usage", "s"],
    &["snapshot", "mounts", "s"],
    &["snapshot", "diff", "empty", "s"],
    &["stats"],
    &["stats", "--by", "path"],
    &["stats", "--show", "growth"],
    &["stats", "--what-if-removed", "other"],
    &["orphans"],
    &["why", "img"],
    &["check"],
    &["check", "--fast"],
    &["check", "--cache"],
    &["gc", "--dry-run"],
    &["export", "img", "-o", "-"],
    &["export", "img", "-o", "-", "--format", "oci-archive"],
    &["export", "img", "-o", "-", "--format", "tar"],
    &["completions", "bash"],
    &["--help"],
    &["--version"],
    &["gc"],
    &["import", "TREE"],
    &["snapshot", "prepare", "KEY", "img"],
    &["snapshot", "view", "KEY", "img"],
    &["check", "--repair"],
];

/// Runs each of them, once as it is and once with --json, with the standard output that `out` gives.
fn each(out: &dyn Fn() -> Stdio, judge: &dyn Fn(&str, &Output)) {
    let cairn = prepared();
    let tree = cairn.path("tree");
    for (n, words) in PRINTING.iter().enumerate() {
        for json in [&[][..], &["--json"]] {
            let key = format!("key{n}{}", json.len());
            let words = words.iter().map(|word| match *word {
                "TREE" => tree.to_str().unwrap(),
                "KEY" => &key,
                word => word,
            });
            let args: Vec<&str> = json.iter().copied().chain(words).collect();
            let mut command = cairn.command(&args);
            let child = command.stdout(out()).stderr(Stdio::piped()).spawn();
            // The descriptor of ours goes with the command.
            drop(command);
            let output = child.unwrap().wait_with_output().unwrap();
            judge(&args.join(" "), &output);
        }
    }
    assert!(cairn.ok(&["check"]).contains("all sound"));
    let left = std::fs::read_dir(cairn.root().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files");
}

#[test]
fn every_command_says_in_one_line_that_standard_output_is_full() {
    let full = || Stdio::from(std::fs::File::create("/dev/full").unwrap());
    each(&full, &|args, output| {
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {err}");
        let said = ["standard output: ", "No space left on device"];
        assert!(
            said.iter().all(|words| err.contains(words)),
            "{args}: {err}"
        );
        assert_eq!(err.lines().count(), 1, "{args}: {err}");
    });
}

#[test]
fn every_command_ends_quietly_when_its_reader_went_away() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    each(&closed, &|args, output| {
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{args}: {err}");
        assert_eq!(err, "", "{args}");
    });
}

#[test]
fn an_error_is_told_by_its_code_although_nobody_can_be_told() {
    let cairn = prepared();
    let full = || Stdio::from(std::fs::File::create("/dev/full").unwrap());
    for (args, code) in [
        (&["inspect", "nosuch"][..], 1),
        (&["history"], 2),
        (&["images"], 1),
    ] {
        let mut command = cairn.command(args);
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn an_export_to_a_full_disk_is_one_line_and_leaves_nothing() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared();
    let small = cairn.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"])
        .arg(&small)
        .status();
    assert!(mounted.unwrap().success());
    let out = small.join("out");
    let mut results = Vec::new();
    for format in ["docker", "oci-archive", "tar"] {
        let args = ["export", "img", "--format", format, "-o"];
        let output = cairn.output(&[&args[..], &[out.to_str().unwrap()]].concat());
        let left: Vec<_> = std::fs::read_dir(&small).unwrap().flatten().collect();
        results.push((format, output, left));
    }
    let gone = std::process::Command::new("umount").arg(&small).status();
    assert!(gone.unwrap().success());
    for (format, output, left) in results {
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{format}: {err}");
        assert!(err.contains("No space left on device"), "{format}: {err}");
        assert_eq!(err.lines().count(), 1, "{format}: {err}");
        assert!(left.is_empty(), "{format}: {left:?}");
    }
}

/// Clears the screen, reverses the writing, hides what follows.
const EVIL: &str = "\u{1b}[2J\u{9b}31m\u{202e}gpj.exe\u{2066}\u{7f}\u{85}";

fn steers(text: &str) -> bool {
    text.chars().any(|c| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn nothing_in_an_image_steers_the_terminal() {
    let cairn = Cairn::new();
    let layer = Tar::new().file("f\u{202e}x", b"content").done();
    let archive = docker_archive("evil:1", &[layer], |config| {
        config["config"]["Cmd"] = serde_json::json!([EVIL]);
        config["config"]["Env"] = serde_json::json!([format!("PATH={EVIL}")]);
        config["config"]["Labels"] = serde_json::json!({ EVIL: EVIL });
        config["author"] = serde_json::json!(EVIL);
        config["history"] = serde_json::json!([{"created_by": EVIL, "comment": EVIL}]);
    });
    let path = cairn.path("evil.tar");
    std::fs::write(&path, archive).unwrap();
    cairn.ok(&["import", path.to_str().unwrap()]);
    cairn.ok(&["snapshot", "prepare", "s", "evil:1"]);
    cairn.ok(&["snapshot", "label", "s", &format!("a={EVIL}")]);
    let top = cairn.json(&["inspect", "evil:1"])["top_snapshot"].clone();
    let top = top.as_str().unwrap();
    for args in [
        &["inspect", "--show-env", "evil:1"][..],
        &["history", "evil:1"],
        &["snapshot", "stat", "s"],
        &["snapshot", "ls"],
        &["snapshot", "diff", top],
        &["images"],
        &["ps", "-a"],
    ] {
        for json in [&[][..], &["--json"]] {
            let text = cairn.ok(&[json, args].concat());
            assert!(!steers(&text), "{args:?} {json:?}: {text:?}");
        }
    }
    // A program reads what was there.
    let inspected = cairn.json(&["inspect", "--show-env", "evil:1"]);
    assert_eq!(inspected["config"]["config"]["Cmd"][0], EVIL);
    assert_eq!(inspected["config"]["config"]["Labels"][EVIL], EVIL);
    assert_eq!(cairn.json(&["snapshot", "stat", "s"])["labels"]["a"], EVIL);
    for args in [
        &["inspect", EVIL][..],
        &["history", EVIL],
        &["snapshot", "stat", "nosuch"],
        &["mount", EVIL, EVIL],
        &["import", EVIL],
        &["run", "--rm", "evil:1"],
        &["run", "--rm", "evil:1", EVIL],
    ] {
        let output = cairn.output(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        assert!(!steers(&err), "{args:?}: {err:?}");
    }
}
