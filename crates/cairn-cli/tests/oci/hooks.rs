//! Hooks: when they run, where, and what they are told.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::common::{eventually, is_root};

/// A hook that appends its name, its PID namespace and its standard input to a file.
fn hook(bundle: &Bundle, moment: &str, inside: bool) -> Value {
    let file = match inside {
        true => "/hooks".to_owned(),
        false => bundle.path("rootfs/hooks").display().to_string(),
    };
    let script = format!(
        "read -r state; echo \"{moment} $(readlink /proc/self/ns/pid) $VAR $state\" >> {file}"
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "VAR=value"], "timeout": 60})
}

#[test]
fn all_six_kinds_run_at_their_moments_and_know_the_state() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("echo process >> /hooks; exec sleep 1000");
    let moments = [
        ("prestart", false, "creating"),
        ("createRuntime", false, "creating"),
        ("createContainer", false, "creating"),
        ("startContainer", true, "created"),
        ("poststart", false, "running"),
        ("poststop", false, "stopped"),
    ];
    bundle.config["annotations"] = json!({"org.example": "note"});
    for (moment, inside, _) in moments {
        bundle.config["hooks"][moment] = json!([hook(&bundle, moment, inside)]);
    }
    let lines = || {
        let text = std::fs::read_to_string(bundle.path("rootfs/hooks")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    bundle.create(&[]);
    assert_eq!(lines().len(), 3, "{:?}", lines());
    let pid = bundle.state()["pid"].clone();
    bundle.ok(&["start", "ID"]);
    eventually("the process writes", || lines().len() == 6);
    bundle.ok(&["delete", "--force", "ID"]);
    let lines = lines();
    // The process and poststart begin at the same time.
    let of = |name: &str| {
        let found = lines
            .iter()
            .find(|line| line.split(' ').next() == Some(name));
        found.unwrap_or_else(|| panic!("{name} did not run: {lines:?}"))
    };
    let order: Vec<&str> = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        order[..4],
        [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer"
        ]
    );
    assert_eq!(order[6], "poststop");
    let own = std::fs::read_link("/proc/self/ns/pid")
        .unwrap()
        .display()
        .to_string();
    for (moment, _, status) in moments {
        let parts: Vec<&str> = of(moment).splitn(4, ' ').collect();
        let in_container = moment == "createContainer" || moment == "startContainer";
        assert_eq!(parts[1] != own, in_container, "{moment}");
        assert_eq!(parts[2], "value");
        let state: Value = serde_json::from_str(parts[3]).unwrap();
        assert_eq!(state["status"], status, "{moment}");
        assert_eq!(state["id"], bundle.id());
        assert_eq!(state["annotations"]["org.example"], "note");
        match moment {
            "poststop" => assert!(state.get("pid").is_none()),
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1),
            _ => assert_eq!(state["pid"], pid, "{moment}"),
        }
    }
}

#[test]
fn a_hook_that_fails_or_takes_too_long_stops_the_container() {
    if !is_root() {
        skip!("needs root");
    }
    let failing = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 1}]);
    for moment in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("echo begun");
        bundle.config["hooks"][moment] = failing("echo because >&2; exit 3");
        bundle.fails(&["create", "ID"], "because");
        assert!(bundle.groups().is_empty());
        bundle.config["hooks"][moment] = failing("sleep 100");
        bundle.fails(&["create", "ID"], "timed out");
        bundle.fails(&["state", "ID"], "does not exist");
    }
    for moment in ["startContainer", "poststart"] {
        let mut bundle = Bundle::new("exec sleep 1000");
        bundle.config["hooks"][moment] = failing("exit 3");
        bundle.create(&[]);
        bundle.fails(&["start", "ID"], moment);
        bundle.becomes("stopped");
    }
    // After the end nothing is left that could be stopped.
    let mut bundle = Bundle::new("exit 4");
    bundle.config["hooks"]["poststop"] = failing("exit 3");
    assert_eq!(bundle.run().1, 4);
}

#[test]
fn a_hook_may_leave_its_input_and_write_as_much_as_it_likes() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("exit 4");
    bundle.config["annotations"] = json!({"long": "x".repeat(200_000)});
    let flood = json!([{"path": "/bin/sh", "args": ["sh", "-c", "head -c 300000 /dev/zero >&2"],
        "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.config["hooks"]["createRuntime"] = flood.clone();
    bundle.config["hooks"]["createContainer"] = flood;
    bundle.config["hooks"]["startContainer"] = json!([{"path": "/bin/true"}]);
    let (said, code) = bundle.run();
    assert_eq!(code, 4, "{said}");
}
