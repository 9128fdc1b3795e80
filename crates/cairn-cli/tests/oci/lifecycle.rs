//! From creation to deletion.

use crate::bundle::Bundle;
use crate::common::{eventually, is_root};

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("echo begun; exec sleep 1000");
    bundle.create(&["--pid-file", "pid"]);
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(state["bundle"], bundle.dir.path().to_str().unwrap());
    let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
    assert_eq!(state["pid"].to_string(), pid, "{state}");
    // It is there, and is not the program yet.
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(bundle.out(), "");
    bundle.fails(&["create", "ID"], "exists already");
    bundle.ok(&["start", "ID"]);
    assert_eq!(bundle.state()["status"], "running");
    eventually("it writes", || bundle.out() == "begun\n");
    bundle.fails(&["start", "ID"], "already running");
    bundle.fails(&["delete", "ID"], "that is not stopped");
    let pids: Vec<i32> =
        serde_json::from_str(&bundle.ok(&["ps", "--format", "json", "ID"])).unwrap();
    assert_eq!(pids, [pid.parse::<i32>().unwrap()]);
    assert!(bundle.ok(&["ps", "ID"]).contains("sleep 1000"));
    assert!(bundle.ok(&["list", "-q"]).contains(&bundle.id()));
    // A user of another container has no way into the state, which holds the environment.
    let mode = |path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap());
    assert_eq!(mode(bundle.path("state").join(bundle.id())) & 0o777, 0o700);
    bundle.ok(&["kill", "ID", "KILL"]);
    bundle.becomes("stopped");
    assert_eq!(bundle.state()["pid"], 0);
    bundle.fails(&["kill", "ID"], "container not running");
    bundle.fails(&["exec", "ID", "true"], "stopped container");
    bundle.ok(&["delete", "ID"]);
    bundle.fails(&["state", "ID"], "does not exist");
    bundle.fails(&["delete", "ID"], "does not exist");
    bundle.ok(&["delete", "--force", "ID"]);
    assert!(bundle.groups().is_empty());
}

#[test]
fn run_gives_the_exit_code_and_leaves_nothing() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("cat; echo out; echo err >&2; exit 7");
    let mut command = bundle.oci(&["run", "ID"]);
    let input = bundle.path("input");
    std::fs::write(&input, "input\n").unwrap();
    let output = command
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "input\nout\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    bundle.fails(&["state", "ID"], "does not exist");
    assert!(bundle.groups().is_empty());
}

#[test]
fn a_signal_to_run_reaches_the_process() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle =
        Bundle::new("trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    let out = std::fs::File::create(bundle.path("out")).unwrap();
    let mut child = bundle.oci(&["run", "ID"]).stdout(out).spawn().unwrap();
    eventually("it is ready", || bundle.out().contains("ready"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(bundle.out(), "ready\ntold\n");
    // An end by a signal is told as shells tell it.
    let bundle = bundle.script("echo again; exec sleep 1000");
    let out = std::fs::File::create(bundle.path("out")).unwrap();
    let mut child = bundle.oci(&["run", "ID"]).stdout(out).spawn().unwrap();
    eventually("it runs", || bundle.out().contains("again"));
    bundle.ok(&["kill", "ID", "KILL"]);
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn what_cannot_run_is_told_at_creation_as_callers_look_for_it() {
    if !is_root() {
        skip!("needs root");
    }
    for (program, words) in [
        ("nosuch", "executable file not found"),
        ("/bin/nosuch", "no such file or directory"),
        ("/etc/passwd", "ermission denied"),
    ] {
        let mut bundle = Bundle::new("");
        bundle.config["process"]["args"] = serde_json::json!([program]);
        let log = bundle.path("log");
        let log = log.to_str().unwrap();
        let args = ["--log", log, "--log-format", "json", "create", "ID"];
        bundle.fails(&args, words);
        let line = std::fs::read_to_string(log).unwrap();
        let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!(line["level"], "error");
        assert!(line["msg"].as_str().unwrap().contains(words), "{line}");
        // Nothing of it is left, and the name is free.
        assert!(bundle.groups().is_empty());
        bundle.fails(&["state", "ID"], "does not exist");
    }
}

#[test]
fn a_created_container_ends_with_its_deletion_and_a_stopped_one_cannot_start() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("echo begun");
    bundle.create(&[]);
    bundle.ok(&["delete", "ID"]);
    assert_eq!(bundle.out(), "", "it never began");
    bundle.create(&[]);
    bundle.ok(&["kill", "ID", "9"]);
    bundle.becomes("stopped");
    bundle.fails(&["start", "ID"], "has stopped");
    bundle.ok(&["delete", "ID"]);
}

#[test]
fn limits_pauses_and_figures() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("exec sleep 1000");
    bundle.config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 64 << 20});
    bundle.config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 50});
    bundle.create(&[]);
    bundle.ok(&["start", "ID"]);
    let figures = || -> serde_json::Value {
        serde_json::from_str(&bundle.ok(&["events", "--stats", "ID"])).unwrap()
    };
    let first = figures();
    assert_eq!(first["type"], "stats");
    assert_eq!(first["data"]["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(first["data"]["pids"]["limit"], 50);
    assert_eq!(first["data"]["pids"]["current"], 1);
    // More, then less, by options and by a document.
    bundle.ok(&[
        "update",
        "--memory",
        "100663296",
        "--pids-limit",
        "60",
        "ID",
    ]);
    assert_eq!(figures()["data"]["memory"]["usage"]["limit"], 96 << 20);
    std::fs::write(
        bundle.path("r.json"),
        r#"{"memory":{"limit":33554432},"cpu":null}"#,
    )
    .unwrap();
    bundle.ok(&["update", "--resources", "r.json", "ID"]);
    let now = figures();
    assert_eq!(now["data"]["memory"]["usage"]["limit"], 32 << 20);
    assert_eq!(now["data"]["pids"]["limit"], 60);
    bundle.fails(&["update", "--cpuset-cpus", "0\n", "ID"], "not a list");
    bundle.fails(&["resume", "ID"], "not paused");
    bundle.ok(&["pause", "ID"]);
    assert_eq!(bundle.state()["status"], "paused");
    bundle.fails(&["exec", "ID", "true"], "paused container");
    bundle.ok(&["resume", "ID"]);
    assert_eq!(bundle.state()["status"], "running");
    bundle.ok(&["exec", "ID", "true"]);
    // A container that is paused can be killed.
    bundle.ok(&["pause", "ID"]);
    bundle.ok(&["kill", "ID", "KILL"]);
    bundle.becomes("stopped");
}

#[test]
fn features_and_version_are_told() {
    let bundle = Bundle::new("");
    let features: serde_json::Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["ociVersionMax"], "1.2.0");
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    let options = features["mountOptions"].as_array().unwrap();
    assert!(
        ["ro", "rro", "rbind", "idmap"]
            .iter()
            .all(|o| options.contains(&(*o).into()))
    );
    assert!(bundle.ok(&["--version"]).contains("spec: 1.2.0"));
    bundle.fails(&["--systemd-cgroup", "list"], "cgroupfs");
}
