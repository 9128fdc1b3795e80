//! How containers end: by signals, by kills of whoever watches them, several at once.

mod common;

use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn begin(cairn: &Cairn, name: &str, script: &str) {
    cairn.ok(&[
        "run", "-d", "--name", name, "shell", "/bin/sh", "-c", script,
    ]);
}

fn pid(cairn: &Cairn, name: &str, field: &str) -> i32 {
    let number = cairn.json(&["inspect", name])[field].as_i64();
    i32::try_from(number.unwrap()).unwrap()
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The state of the container's process as the kernel has it: frozen or not.
fn frozen(pid: i32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(path) = groups.lines().find_map(|l| l.strip_prefix("0::")) else {
        return false;
    };
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .iter()
        .any(|root| {
            std::fs::read_to_string(format!("{root}{path}/cgroup.freeze")).is_ok_and(|t| t == "1\n")
        })
}

/// moby#10932: whoever asks for a commit may be killed at any moment.
#[test]
fn a_container_goes_on_when_its_commit_is_killed() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    // Enough for a commit to take a moment.
    begin(
        &cairn,
        "c",
        "dd if=/dev/urandom of=/big bs=1M count=64 2>/dev/null; echo ready; while :; do sleep 0.05; done",
    );
    eventually("it has begun", || {
        cairn.ok(&["logs", "c"]).contains("ready")
    });
    let process = pid(&cairn, "c", "pid");
    for (round, signal) in [Signal::KILL, Signal::INT, Signal::TERM]
        .into_iter()
        .enumerate()
    {
        let name = format!("never:{round}");
        let mut commit = cairn.command(&["commit", "c", &name]);
        let mut commit = commit.stdout(Stdio::null()).spawn().unwrap();
        eventually("it is frozen", || {
            frozen(process) || commit.try_wait().unwrap().is_some()
        });
        kill_process(Pid::from_child(&commit), signal).unwrap();
        commit.wait().unwrap();
        eventually("it has thawed", || !frozen(process));
    }
    assert_eq!(cairn.json(&["ps"])[0]["status"], "running");
    cairn.ok(&["commit", "c", "whole:1"]);
    let monitor = pid(&cairn, "c", "monitor");
    // A frozen container whose monitor is killed ends, too.
    let mut commit = cairn.command(&["commit", "c", "never:9"]);
    let mut commit = commit
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is frozen", || {
        frozen(process) || commit.try_wait().unwrap().is_some()
    });
    kill(monitor, Signal::KILL);
    commit.wait().unwrap();
    eventually("it is gone", || {
        cairn.json(&["ps", "-a"])[0]["status"] == "lost"
    });
    cairn.ok(&["rm", "-f", "c"]);
}

/// podman#26643, podman#6520.
#[test]
fn a_removal_that_was_promised_happens() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let program = env!("CARGO_BIN_EXE_cairn");
    let root = cairn.root();
    for options in ["", "-t"] {
        let line = format!(
            "{program} --root {} run --rm {options} shell /bin/sh -c 'while echo line; do :; done' | head -n 1",
            root.display()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert!(output.stdout.starts_with(b"line"), "{options}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("panicked"), "{err}");
        eventually("nothing is left", || cairn.json(&["ps", "-a"]) == json!([]));
    }
    // The monitor is killed: the container goes, and its removal is still owed.
    begin(&cairn, "warm", "exit 0");
    cairn.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "c",
        "shell",
        "/bin/sleep",
        "1000",
    ]);
    kill(pid(&cairn, "c", "monitor"), Signal::KILL);
    eventually("it is removed", || {
        cairn.json(&["ps", "-a"]).as_array().unwrap().len() == 1
    });
}

#[test]
fn a_container_that_was_stopped_has_its_exit_code() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    for round in 0..10 {
        let name = format!("c{round}");
        begin(
            &cairn,
            &name,
            "trap 'exit 7' TERM; while :; do sleep 0.01; done",
        );
        cairn.ok(&["stop", &name]);
        let c = cairn.json(&["inspect", &name]);
        assert_eq!(
            (&c["status"], c["exit_code"].is_i64()),
            (&json!("exited"), true),
            "{round}"
        );
        cairn.ok(&["rm", &name]);
    }
}

#[test]
fn what_is_piped_into_a_terminal_is_refused() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let mut run = cairn.command(&["run", "-it", "--rm", "shell", "/bin/sh"]);
    let run = run
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = run.spawn().unwrap();
    // It may have ended before it is written to.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo x\n");
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{err}");
    assert!(err.contains("not a terminal"), "{err}");
    assert_eq!(cairn.json(&["ps", "-a"]), json!([]));
}

#[test]
fn a_container_in_the_background_keeps_nothing_of_its_caller() {
    if !is_root() || !common::has("flock") {
        skip!("needs root and flock(1)");
    }
    let cairn = shell();
    let line = format!(
        "exec 9> {lock}; flock 9; SECRET=x {program} --root {root} run -d --name c shell /bin/sleep 1000",
        lock = cairn.path("lock").display(),
        program = env!("CARGO_BIN_EXE_cairn"),
        root = cairn.root().display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(cairn.path("tree"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lock = std::process::Command::new("flock")
        .arg("-n")
        .arg(cairn.path("lock"))
        .arg("true")
        .status();
    assert!(lock.unwrap().success(), "the caller's lock is free");
    let monitor = pid(&cairn, "c", "monitor");
    let of = |name: &str| std::path::PathBuf::from(format!("/proc/{monitor}/{name}"));
    assert_eq!(
        std::fs::read_link(of("cwd")).unwrap(),
        std::path::Path::new("/")
    );
    assert_eq!(std::fs::read(of("environ")).unwrap(), b"");
    for fd in std::fs::read_dir(of("fd")).unwrap().flatten() {
        let to = std::fs::read_link(fd.path()).unwrap();
        let own = to.starts_with(cairn.root()) || to.starts_with("/dev/null");
        let nameless = !to.starts_with("/");
        assert!(own || nameless, "the monitor holds {}", to.display());
    }
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn one_bad_name_of_several_does_not_stop_the_others() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    for name in ["a", "b", "c"] {
        begin(
            &cairn,
            name,
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        );
        eventually("it has begun", || {
            cairn.ok(&["logs", name]).contains("ready")
        });
    }
    let statuses = || {
        let all = cairn.json(&["ps", "-a"]);
        let mut all: Vec<String> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "{} {}",
                    c["name"].as_str().unwrap(),
                    c["status"].as_str().unwrap()
                )
            })
            .collect();
        all.sort();
        all.join(", ")
    };
    let err = cairn.fails(&["stop", "-t", "1", "a", "nosuch", "b", "c"], 1, "nosuch");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert_eq!(statuses(), "a exited, b exited, c exited");
    let output = cairn.output(&["--json", "rm", "a", "nosuch", "b", "a"]);
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, json!({"removed": ["a", "b"]}));
    assert_eq!(statuses(), "c exited");
    begin(&cairn, "d", "sleep 1000");
    cairn.fails(&["rm", "d", "c"], 1, "cairn stop d");
    assert_eq!(statuses(), "d running");
    cairn.ok(&["rm", "-f", "d"]);
}

#[test]
fn many_runs_at_once_print_what_their_containers_print() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&["run", "--rm", "shell", "/bin/true"]);
    let children: Vec<_> = (0..20)
        .map(|i| {
            let mut run = cairn.command(&[
                "run",
                "--rm",
                "shell",
                "/bin/sh",
                "-c",
                &format!("echo {i}"),
            ]);
            run.stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (i, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{i}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{i}\n"));
    }
    assert_eq!(cairn.json(&["ps", "-a"]), json!([]));
}

#[test]
fn a_start_can_be_interrupted_and_leaves_nothing() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&["run", "--rm", "shell", "/bin/true"]);
    let lock = std::fs::File::open(cairn.root().join("lock")).unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        // It cannot get any further than to the repository's lock.
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let mut run = cairn.command(&["run", "--name", "c", "shell", "/bin/sleep", "1000"]);
        let mut run = run.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        kill_process(Pid::from_child(&run), signal).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(code));
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
    }
    eventually("nothing is left", || cairn.json(&["ps", "-a"]) == json!([]));
    // At any moment of a start, however late.
    for delay in 0..30 {
        let mut run = cairn.command(&["run", "--rm", "shell", "/bin/sleep", "0.2"]);
        let mut run = run.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay * 4));
        let _ = kill_process(Pid::from_child(&run), Signal::TERM);
        run.wait().unwrap();
    }
    eventually("nothing is left", || cairn.json(&["ps", "-a"]) == json!([]));
    // What was cut off in the middle is what a collection finds.
    eventually("no head without a container", || {
        cairn.ok(&["gc"]);
        let heads = std::fs::read_dir(cairn.root().join("heads")).unwrap();
        heads.count() == 0
    });
}

#[test]
fn a_container_that_is_being_started_is_not_removed_from_under_it() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    for delay in 0..12 {
        let mut run = cairn.command(&["run", "-d", "--name", "c", "shell", "/bin/sleep", "1000"]);
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay * 6));
        let removed = cairn.output(&["rm", "-f", "c"]).status.success();
        let started = run.wait().unwrap().success();
        if !removed {
            assert!(started, "{delay}: neither of the two worked");
            cairn.ok(&["rm", "-f", "c"]);
        }
        assert_eq!(cairn.json(&["ps", "-a"]), json!([]), "{delay}");
    }
}
