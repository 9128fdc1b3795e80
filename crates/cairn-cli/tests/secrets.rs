//! Secrets: seen by the container as a file, and found nowhere else.

mod common;

use std::path::Path;

use common::{Cairn, eventually, is_root, shell};
use serde_json::json;

const WORDS: &[u8] = b"correct-horse-battery-staple";

/// A container with a secret from a file; the path of that file.
fn begin(cairn: &Cairn, options: &[&str]) -> std::path::PathBuf {
    let file = cairn.path("secret");
    std::fs::write(&file, WORDS).unwrap();
    let option = format!("--secret=id=key,src={}", file.display());
    let run = ["run", "-d", "--name", "c", &option];
    cairn.ok(&[&run[..], options, &["shell", "sleep", "1000"]].concat());
    file
}

/// Files below a directory that have these bytes.
fn holders(root: &Path, words: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(holders(&entry.path(), words));
        } else if let Ok(bytes) = std::fs::read(entry.path())
            && bytes.windows(words.len()).any(|w| w == words)
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_is_a_file_in_memory_and_nowhere_else() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, &["-e", "OTHER=x"]);
    let script = "cat /run/secrets/key; stat -c ' %a %u:%g' /run/secrets/key; (echo x > /run/secrets/key) 2>/dev/null || echo refused; rm /run/secrets/key 2>/dev/null || echo stays; cat /proc/self/mountinfo";
    let seen = cairn.ok(&["exec", "c", "/bin/sh", "-c", script]);
    let words = String::from_utf8_lossy(WORDS);
    assert!(
        seen.starts_with(&format!("{words} 400 0:0\nrefused\nstays\n")),
        "{seen}"
    );
    let mount = seen
        .lines()
        .find(|line| line.contains("/run/secrets/key"))
        .unwrap();
    assert!(
        mount.contains(" ro,nosuid,nodev,noexec") && mount.contains("tmpfs"),
        "{mount}"
    );
    cairn.ok(&["commit", "c", "made:1"]);
    let out = cairn.path("out.tar");
    cairn.ok(&["export", "made:1", "-o", out.to_str().unwrap()]);
    assert_eq!(cairn.ok(&["diff", "c"]), "");
    let told = [
        cairn.ok(&["inspect", "--show-env", "c"]),
        cairn.ok(&["ps", "--json"]),
        cairn.ok(&["history", "made:1"]),
        cairn.ok(&["logs", "c"]),
    ];
    assert!(told.iter().all(|text| !text.contains(&*words)));
    // A byte list would not be found as text.
    let list = json!(WORDS).to_string();
    assert_eq!(holders(&cairn.root(), WORDS), [""; 0]);
    assert_eq!(holders(&cairn.root(), list.as_bytes()), [""; 0]);
    assert!(
        !std::fs::read(&out)
            .unwrap()
            .windows(WORDS.len())
            .any(|w| w == WORDS)
    );
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_start_gets_the_secret_again_or_says_why_not() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let file = begin(&cairn, &[]);
    let seen = || cairn.ok(&["exec", "c", "cat", "/run/secrets/key"]);
    std::fs::write(&file, "rotated").unwrap();
    assert_eq!(seen().as_bytes(), WORDS, "what it began with");
    cairn.ok(&["restart", "-t", "0", "c"]);
    assert_eq!(seen(), "rotated");
    std::fs::remove_file(&file).unwrap();
    cairn.fails(&["restart", "-t", "0", "c"], 1, "read secret key from");
    assert_eq!(seen(), "rotated", "it was not stopped");
    cairn.ok(&["stop", "-t", "0", "c"]);
    cairn.fails(&["start", "c"], 1, "read secret key from");
    cairn.ok(&["rm", "c"]);
    // From a variable of whoever starts it.
    let run = [
        "run",
        "--name",
        "d",
        "--secret=id=t,env=TOKEN,target=/etc/token",
        "shell",
        "cat",
        "/etc/token",
    ];
    let output = cairn.command(&run).env("TOKEN", "abc").output().unwrap();
    assert_eq!(output.stdout, b"abc");
    cairn.fails(&["start", "-a", "d"], 1, "variable TOKEN is not set");
    let output = cairn
        .command(&["start", "-a", "d"])
        .env("TOKEN", "def")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"def");
}

#[test]
fn owners_modes_and_targets_are_as_asked_for() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let file = cairn.path("secret");
    std::fs::write(&file, "x").unwrap();
    let src = file.display();
    let of_www = format!("--secret=id=a,src={src},uid=33,gid=44,mode=0440");
    let away = format!("--secret=id=b,src={src},target=/opt/deep/token,mode=0444");
    let script = "stat -c '%n %a %u:%g' /run/secrets/a /opt/deep/token; cat /run/secrets/a; id -u";
    for users in [&[][..], &["--userns", "auto"]] {
        let run = ["run", "--rm", "-u", "33", &of_www, &away];
        let told = cairn.ok(&[&run[..], users, &["shell", "/bin/sh", "-c", script]].concat());
        assert_eq!(
            told, "/run/secrets/a 440 33:44\n/opt/deep/token 444 0:0\nx33\n",
            "{users:?}"
        );
    }
    // Its owner is not one that the container has.
    let far = format!("--secret=id=a,src={src},uid=70000");
    let run = ["run", "--rm", "--userns", "auto", &far, "shell", "true"];
    cairn.fails(&run, 125, "no user 70000");
    // A file system in memory of the user's own may be around it.
    let inside = format!("--secret=id=a,src={src}");
    let run = [
        "run",
        "--rm",
        "--tmpfs",
        "/run",
        &inside,
        "shell",
        "cat",
        "/run/secrets/a",
    ];
    assert_eq!(cairn.ok(&run), "x");
}

#[test]
fn bad_sources_leave_no_container() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let large = cairn.path("large");
    std::fs::write(&large, vec![b'x'; 600 << 10]).unwrap();
    let large = format!("--secret=id=a,src={}", large.display());
    for (option, words) in [
        (&large[..], "500 KiB"),
        ("--secret=id=a,src=/dev/zero", "500 KiB"),
        ("--secret=id=a,src=/nonexistent", "read secret a"),
        ("--secret=id=a,src=/tmp", "read secret a"),
        ("--secret=id=a,env=NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("--secret=id=a/b,env=PATH", "letters"),
        ("--secret=id=a,env=PATH,target=/proc/x", "/proc"),
    ] {
        let output = cairn.output(&["run", option, "shell", "true"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && err.contains(words),
            "{option}: {err}"
        );
    }
    eventually("none is left but the one that began", || {
        cairn.json(&["ps", "-a"]).as_array().unwrap().len() <= 1
    });
}
