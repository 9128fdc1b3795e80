//! `cairn logs`: what is kept of a container's output, and which of it is shown.

mod common;

use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell};
use serde_json::Value;

fn ended(cairn: &Cairn, name: &str) {
    eventually("it has ended", || {
        cairn.json(&["inspect", name])["status"] == "exited"
    });
}

fn size_of_logs(cairn: &Cairn, name: &str) -> u64 {
    let id = cairn.json(&["inspect", name])["id"].clone();
    let directory = cairn.root().join("containers").join(id.as_str().unwrap());
    let files = std::fs::read_dir(directory).unwrap().flatten();
    files
        .filter(|f| f.file_name().to_string_lossy().starts_with("output.log"))
        .map(|f| f.metadata().map_or(0, |m| m.len()))
        .sum()
}

#[test]
fn standard_output_and_error_are_kept_apart_with_times() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "echo one; sleep 0.3; echo bad >&2; sleep 0.3; printf two; sleep 0.2; printf ' is whole\\n'; printf '\\377 end'";
    let run = ["run", "-d", "--name", "c", "shell", "/bin/sh", "-c", script];
    cairn.ok(&run);
    ended(&cairn, "c");
    let output = cairn.output(&["logs", "c"]);
    assert_eq!(output.stdout, b"one\ntwo is whole\n\xff end");
    assert_eq!(output.stderr, b"bad\n");
    let tail = |n: &str| {
        let output = cairn.output(&["logs", "--tail", n, "c"]);
        (output.stdout.len(), output.stderr.len())
    };
    assert_eq!((tail("0"), tail("1")), ((0, 0), (5, 0)));
    assert_eq!((tail("2"), tail("3")), ((18, 0), (18, 4)));
    assert_eq!((tail("4"), tail("all")), ((22, 4), (22, 4)));
    let timed = cairn.output(&["logs", "-t", "c"]).stdout;
    let timed = String::from_utf8_lossy(&timed).into_owned();
    let lines: Vec<(&str, &str)> = timed.lines().map(|l| l.split_once(' ').unwrap()).collect();
    assert_eq!((lines[0].1, lines[1].1), ("one", "two is whole"));
    let (first, second) = (lines[0].0, lines[1].0);
    assert!(first < second && first.ends_with('Z'), "{timed}");
    let until = cairn.output(&["logs", "--until", first, "c"]);
    assert_eq!(until.stdout, b"one\n");
    let since = cairn.output(&["logs", "--since", second, "c"]);
    assert_eq!(since.stdout, b"two is whole\n\xff end");
    assert_eq!(cairn.output(&["logs", "--since", "0s", "c"]).stdout, b"");
    assert_eq!(
        cairn.output(&["logs", "--since", "1h", "c"]).stdout.len(),
        22
    );
    let records: Vec<Value> = cairn
        .ok(&["--json", "logs", "c"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&records[1]["stream"], &records[1]["text"]),
        (&"stderr".into(), &"bad".into())
    );
    assert_eq!(records.last().unwrap()["text"][0], 255);
    cairn.fails(&["logs", "--since", "yesterday", "c"], 2, "expected a time");
    cairn.fails(&["logs", "--tail", "few", "c"], 2, "number of lines");
}

#[test]
fn a_flood_never_fills_the_disk_and_the_end_is_there() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "i=0; while [ $i -lt 60000 ]; do echo line number $i; i=$((i+1)); done; echo last";
    let limits = ["--log-max-size", "100K", "--log-max-files", "2"];
    let run = ["run", "-d", "--name", "c"];
    let program = ["shell", "/bin/sh", "-c", script];
    cairn.ok(&[&run[..], &limits, &program].concat());
    // Followed while it floods: complete lines, in order, to the end.
    let followed = cairn.ok(&["logs", "-f", "c"]);
    assert!(followed.ends_with("\nlast\n"), "{}", followed.len());
    let numbers: Vec<u32> = followed
        .lines()
        .filter_map(|line| line.strip_prefix("line number ")?.parse().ok())
        .collect();
    assert_eq!(numbers.len() + 1, followed.lines().count());
    assert!(numbers.is_sorted());
    let size = size_of_logs(&cairn, "c");
    assert!((100_000..=200_000).contains(&size), "{size}");
    assert!(
        cairn
            .ok(&["logs", "c"])
            .ends_with("line number 59999\nlast\n")
    );
    let few = ["run", "--log-max-size", "10", "shell", "true"];
    cairn.fails(&few, 2, "--log-max-size");
}

#[test]
fn containers_in_the_foreground_have_a_log_unless_they_are_removed() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let said = cairn.ok(&["run", "--name", "c", "shell", "/bin/sh", "-c", "echo hello"]);
    assert_eq!(
        (said.as_str(), cairn.ok(&["logs", "c"])),
        ("hello\n", "hello\n".into())
    );
    let mut run = cairn.command(&["run", "--rm", "--name", "d", "shell", "/bin/sleep", "1000"]);
    let mut child = run.stdout(Stdio::null()).spawn().unwrap();
    eventually("it runs", || {
        cairn.output(&["inspect", "d"]).status.success()
    });
    eventually("it runs", || {
        cairn.json(&["inspect", "d"])["status"] == "running"
    });
    cairn.fails(&["logs", "d"], 1, "no log");
    cairn.ok(&["rm", "-f", "d"]);
    child.wait().unwrap();
}

#[test]
fn a_log_of_an_earlier_version_is_read() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&["run", "-d", "--name", "c", "shell", "/bin/true"]);
    ended(&cairn, "c");
    let id = cairn.json(&["inspect", "c"])["id"].clone();
    let directory = cairn.root().join("containers").join(id.as_str().unwrap());
    std::fs::remove_file(directory.join("output.log")).unwrap();
    std::fs::write(directory.join("log"), "a\nb\nc").unwrap();
    assert_eq!(cairn.ok(&["logs", "c"]), "a\nb\nc");
    assert_eq!(cairn.ok(&["logs", "-n", "2", "c"]), "b\nc");
    cairn.fails(&["logs", "-t", "c"], 1, "has no times");
}

#[test]
fn what_was_written_before_the_monitor_was_killed_is_kept() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "echo begun; printf part; sleep 1000";
    cairn.ok(&["run", "-d", "--name", "c", "shell", "/bin/sh", "-c", script]);
    eventually("it has written", || {
        cairn.ok(&["logs", "c"]) == "begun\npart"
    });
    let monitor = cairn.json(&["inspect", "c"])["monitor"].as_i64().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor as i32).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    eventually("it is gone", || {
        cairn.json(&["inspect", "c"])["status"] == "lost"
    });
    assert_eq!(cairn.ok(&["logs", "-f", "c"]), "begun\npart");
}
