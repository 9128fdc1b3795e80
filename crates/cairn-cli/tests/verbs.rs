//! Everyday verbs: wait, pause, top, rename, diff, port, create, start, restart.

mod common;

use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell};
use serde_json::json;

fn begin(cairn: &Cairn, name: &str, script: &str) {
    let run = [
        "run", "-d", "--name", name, "shell", "/bin/sh", "-c", script,
    ];
    cairn.ok(&run);
}

fn status(cairn: &Cairn, name: &str) -> String {
    let status = cairn.json(&["inspect", name])["status"].clone();
    status.as_str().unwrap().to_owned()
}

#[test]
fn wait_prints_the_codes_of_containers_that_end() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "a", "exit 3");
    begin(&cairn, "b", "sleep 0.5; exit 4");
    begin(&cairn, "c", "sleep 1000");
    let mut killed = cairn.command(&["wait", "c"]);
    let killed = killed.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(cairn.ok(&["wait", "b", "a"]), "4\n3\n");
    let told = cairn.json(&["wait", "a", "b"]);
    assert_eq!(
        told,
        json!([{"name": "a", "exit_code": 3}, {"name": "b", "exit_code": 4}])
    );
    let output = cairn.output(&["wait", "nosuch", "a"]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b"3\n"[..])
    );
    cairn.ok(&["kill", "c"]);
    assert_eq!(killed.wait_with_output().unwrap().stdout, b"137\n");
}

#[test]
fn a_paused_container_stands_still_until_it_is_told_otherwise() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "c", "while :; do echo x; sleep 0.01; done");
    eventually("it writes", || !cairn.ok(&["logs", "c"]).is_empty());
    let output = cairn.output(&["pause", "c"]);
    if String::from_utf8_lossy(&output.stderr).contains("no version 2 control group") {
        skip!("needs control groups of version 2");
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(status(&cairn, "c"), "paused");
    assert!(cairn.ok(&["ps"]).contains("paused"));
    let before = cairn.ok(&["logs", "c"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(cairn.ok(&["logs", "c"]), before);
    cairn.fails(&["pause", "c"], 1, "paused already");
    cairn.fails(&["exec", "c", "true"], 1, "cairn unpause c");
    // A commit neither needs another freezer nor lets it go on.
    cairn.ok(&["commit", "c", "made:1"]);
    assert_eq!(status(&cairn, "c"), "paused");
    cairn.ok(&["unpause", "c"]);
    assert_eq!(status(&cairn, "c"), "running");
    eventually("it goes on", || {
        cairn.ok(&["logs", "c"]).len() > before.len()
    });
    cairn.fails(&["unpause", "c"], 1, "not paused");
    // However it ends, it ends.
    begin(
        &cairn,
        "d",
        "trap 'exit 7' TERM; while :; do sleep 0.01; done",
    );
    cairn.ok(&["pause", "c", "d"]);
    cairn.ok(&["stop", "-t", "20", "d"]);
    assert_eq!(cairn.ok(&["wait", "d"]), "7\n");
    cairn.ok(&["rm", "-f", "c"]);
    cairn.fails(&["pause", "d"], 1, "not running");
}

#[test]
fn top_shows_the_processes_of_a_container_and_no_other() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let run = [
        "run", "-d", "--name", "c", "-u", "www", "shell", "/bin/sh", "-c",
    ];
    cairn.ok(&[&run[..], &["sleep 1001 & sleep 1002 & wait"]].concat());
    eventually("all have begun", || {
        let all = cairn.json(&["top", "c"]);
        let all = all.as_array().unwrap();
        let words: Vec<&str> = all.iter().map(|p| p["command"].as_str().unwrap()).collect();
        words.len() == 3 && words[1..].iter().all(|w| w.starts_with("sleep 100"))
    });
    let all = cairn.json(&["top", "c"]);
    assert_eq!(
        (&all[0]["pid"], &all[0]["parent"], &all[0]["user"]),
        (&json!(1), &json!(0), &json!("www"))
    );
    assert_eq!((&all[1]["parent"], &all[1]["uid"]), (&json!(1), &json!(33)));
    assert_eq!(all[0]["host_pid"], cairn.json(&["inspect", "c"])["pid"]);
    assert!(cairn.ok(&["top", "c"]).contains("sleep 1002"));
    cairn.ok(&["rm", "-f", "c"]);
    begin(&cairn, "d", "true");
    cairn.ok(&["wait", "d"]);
    cairn.fails(&["top", "d"], 1, "not running");
}

#[test]
fn a_renamed_container_is_found_by_its_new_name_only() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "a", "echo changed > /file");
    begin(&cairn, "b", "true");
    cairn.ok(&["wait", "a", "b"]);
    cairn.fails(&["rename", "a", "b"], 1, "b");
    cairn.fails(&["rename", "a", "-x"], 2, "-x");
    cairn.ok(&["rename", "a", "c"]);
    cairn.fails(&["inspect", "a"], 1, "a");
    // The old name is free again.
    begin(&cairn, "a", "true");
    cairn.ok(&["wait", "a"]);
    assert_eq!(cairn.ok(&["diff", "c"]), "A /file\n");
    assert_eq!(cairn.ok(&["diff", "a"]), "");
    cairn.ok(&["rm", "a", "b", "c"]);
    assert_eq!(
        cairn.json(&["snapshot", "ls"]),
        cairn.json(&["snapshot", "ls", "kind==committed"])
    );
}

#[test]
fn diff_and_port_say_what_there_is() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(
        &cairn,
        "c",
        "rm /etc/group; echo x >> /etc/passwd; mkdir /new; echo y > /new/file; echo done; sleep 1000",
    );
    eventually("it is done", || cairn.ok(&["logs", "c"]).contains("done"));
    let diff = cairn.ok(&["diff", "c"]);
    let lines: Vec<&str> = diff.lines().collect();
    assert_eq!(
        lines,
        [
            "C /etc",
            "D /etc/group",
            "C /etc/passwd",
            "A /new",
            "A /new/file"
        ]
    );
    assert_eq!(cairn.json(&["diff", "c"])[1]["change"], "deleted");
    assert!(cairn.ok(&["port", "c"]).contains("host's network"));
    assert_eq!(cairn.json(&["port", "c"])["network"], "host");
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_container_is_started_again_with_what_it_was_told_and_what_it_wrote() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "echo again >> /count; echo $(cat /count) $WORD $(pwd) $(id -u); sleep 1000";
    let create = [
        "create",
        "--name",
        "c",
        "-e",
        "WORD=kept",
        "-w",
        "/tmp",
        "-u",
        "0:33",
    ];
    assert_eq!(
        cairn.ok(&[&create[..], &["shell", "/bin/sh", "-c", script]].concat()),
        "c\n"
    );
    assert_eq!(status(&cairn, "c"), "created");
    cairn.fails(&["wait", "c"], 1, "cairn start c");
    let line = |times: usize| format!("{} kept /tmp 0\n", vec!["again"; times].join(" "));
    cairn.ok(&["start", "c"]);
    eventually("it has written", || cairn.ok(&["logs", "c"]) == line(1));
    // It runs already.
    cairn.ok(&["start", "c"]);
    cairn.ok(&["restart", "-t", "0", "c"]);
    eventually("it has written", || {
        cairn.ok(&["logs", "c"]) == line(1) + &line(2)
    });
    assert_eq!(status(&cairn, "c"), "running");
    // After its monitor was killed, and its views are gone.
    let monitor = cairn.json(&["inspect", "c"])["monitor"].as_i64().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor as i32).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    eventually("it is gone", || status(&cairn, "c") == "lost");
    cairn.ok(&["gc", "--prune-cache"]);
    let output = cairn.output(&["--json", "start", "nosuch", "c"]);
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, json!({"started": ["c"]}));
    eventually("it has written", || {
        cairn.ok(&["logs", "--tail", "1", "c"]) == line(3)
    });
    cairn.ok(&["rm", "-f", "c"]);
    // In the foreground: its output and its code.
    cairn.ok(&[
        "create",
        "--name",
        "d",
        "shell",
        "/bin/sh",
        "-c",
        "echo here; exit 5",
    ]);
    for _ in 0..2 {
        let output = cairn.output(&["start", "-a", "d"]);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(5), &b"here\n"[..])
        );
    }
}

#[test]
fn a_container_can_be_in_the_network_of_another() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let network = |name: &str| {
        let pid = cairn.json(&["inspect", name])["pid"].as_i64().unwrap();
        std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
    };
    let begin_in = |name: &str, network: &str| {
        let run = ["run", "-d", "--name", name, "--network", network];
        cairn.ok(&[&run[..], &["shell", "sleep", "1000"]].concat())
    };
    begin_in("a", "none");
    begin_in("b", "container:a");
    assert_eq!(network("a"), network("b"));
    assert_eq!(cairn.json(&["port", "b"])["network"], "container");
    // The host's is the host's, by whatever name.
    begin_in("h", "host");
    begin_in("g", "container:h");
    assert_eq!(
        network("g"),
        std::fs::read_link("/proc/self/ns/net").unwrap()
    );
    // A start finds the network that the other has by then, or says that there is none.
    cairn.ok(&["rename", "a", "z"]);
    cairn.ok(&["restart", "-t", "0", "z", "b"]);
    assert_eq!(network("z"), network("b"));
    cairn.ok(&["stop", "-t", "0", "z", "b"]);
    cairn.fails(&["start", "b"], 1, "not running");
    cairn.ok(&["rm", "z"]);
    cairn.fails(&["start", "b"], 1, "does not exist");
    for (network, words) in [
        ("container:nosuch", "nosuch"),
        ("container:", "does not exist"),
    ] {
        let output = cairn.output(&["run", "--rm", "--network", network, "shell", "true"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && err.contains(words),
            "{network}: {err}"
        );
    }
    cairn.ok(&["rm", "-f", "b", "h", "g"]);
}
