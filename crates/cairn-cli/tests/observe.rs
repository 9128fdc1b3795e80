//! What one sees and changes of containers from outside: figures, limits, events, lists and templates.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell};
use serde_json::{Value, json};

fn begin(cairn: &Cairn, name: &str, options: &[&str], script: &str) {
    let run = ["run", "-d", "--name", name];
    let end = ["shell", "/bin/sh", "-c", script];
    cairn.ok(&[&run[..], options, &end].concat());
}

/// True where containers here can have a limit of processes: the least that is asked for.
fn has_limits(cairn: &Cairn) -> bool {
    let run = [
        "run",
        "--rm",
        "--pids-limit",
        "100",
        "--memory",
        "64m",
        "shell",
        "true",
    ];
    cairn.output(&run).status.success()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn stats_of_containers_are_what_they_use() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    if !has_limits(&cairn) {
        skip!("needs control groups");
    }
    begin(
        &cairn,
        "busy",
        &["--memory", "64m", "--pids-limit", "50"],
        "while :; do :; done",
    );
    begin(&cairn, "idle", &["--network", "none"], "sleep 1000");
    let both = cairn.json(&["stats", "--no-stream", "busy", "idle"]);
    let (busy, idle) = (&both[0], &both[1]);
    assert_eq!(
        (&busy["name"], &idle["name"]),
        (&json!("busy"), &json!("idle"))
    );
    assert!(busy["cpu_percent"].as_f64().unwrap() > 2.0 * idle["cpu_percent"].as_f64().unwrap());
    assert_eq!(
        (&busy["memory_limit_bytes"], &busy["pids_limit"]),
        (&json!(64 << 20), &json!(50))
    );
    assert!(idle["memory_limit_bytes"].is_null() && idle["memory_bytes"].as_u64() > Some(0));
    assert_eq!(
        (&idle["pids"], &idle["network_sent_bytes"]),
        (&json!(2), &json!(0))
    );
    assert!(
        busy["network_sent_bytes"].is_null(),
        "it is the host's network"
    );
    let table = cairn.ok(&["stats", "--no-stream", "busy"]);
    assert!(table.contains("CPU") && table.contains("busy") && table.contains('%'));
    // Without containers it is still about the repository.
    assert!(cairn.json(&["stats"])["disk_bytes"].as_u64() > Some(0));
    cairn.fails(&["stats", "--no-stream"], 2, "--no-stream");
    cairn.fails(&["stats", "nosuch"], 1, "nosuch");
    // A stream ends with the last of its containers.
    let mut stream = cairn.command(&["--json", "stats", "busy", "idle"]);
    let mut stream = stream.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(stream.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert_eq!(lines(&first)[0]["name"], "busy");
    cairn.ok(&["rm", "-f", "busy", "idle"]);
    eventually("it ends", || stream.try_wait().unwrap().is_some());
    cairn.fails(&["stats", "busy"], 1, "busy");
}

#[test]
fn limits_change_while_a_container_runs_and_for_its_next_start() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    if !has_limits(&cairn) {
        skip!("needs control groups");
    }
    begin(&cairn, "c", &["--memory", "64m"], "sleep 1000");
    let figures = || cairn.json(&["stats", "--no-stream", "c"])[0].clone();
    let limits = || {
        let figures = figures();
        (
            figures["memory_limit_bytes"].clone(),
            figures["pids_limit"].clone(),
        )
    };
    assert_eq!(limits(), (json!(64 << 20), json!(4096)));
    cairn.ok(&["update", "--memory", "128m", "--pids-limit", "77", "c"]);
    assert_eq!(limits(), (json!(128 << 20), json!(77)));
    cairn.ok(&["update", "--memory", "32m", "c"]);
    assert_eq!(limits(), (json!(32 << 20), json!(77)));
    // What is refused changes nothing.
    cairn.fails(&["update", "c"], 2, "at least one limit");
    cairn.fails(&["update", "--memory", "1m", "c"], 2, "minimum");
    cairn.fails(&["update", "--memory", "99999999999t", "c"], 2, "too large");
    cairn.fails(
        &["update", "--pids-limit", "99999999999", "c"],
        2,
        "must be",
    );
    cairn.fails(&["update", "--cpus", "4000", "c"], 2, "processors");
    cairn.fails(&["update", "--memory", "64m", "nosuch"], 1, "nosuch");
    assert_eq!(limits(), (json!(32 << 20), json!(77)));
    let told = cairn.json(&["update", "--memory", "0", "--pids-limit", "-1", "c"]);
    assert_eq!(told, json!({"updated": ["c"]}));
    assert_eq!(limits(), (Value::Null, Value::Null));
    // The next start has them, too.
    cairn.ok(&["stop", "-t", "0", "c"]);
    cairn.ok(&["update", "--memory", "96m", "c"]);
    cairn.ok(&["start", "c"]);
    assert_eq!(limits(), (json!(96 << 20), Value::Null));
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn events_tell_what_happened_and_hold_no_secrets() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let mut follow = cairn.command(&["--json", "events", "--filter", "container=c"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    // It has begun to follow once it sleeps between two looks.
    let call = format!("/proc/{}/syscall", follow.id());
    eventually("it follows", || {
        let call = std::fs::read_to_string(&call).unwrap_or_default();
        call.starts_with("230 ") || call.starts_with("35 ") || call.starts_with("115 ")
    });
    begin(
        &cairn,
        "c",
        &["-e", "PASSWORD=hunter2", "--label", "x=hunter2"],
        "echo hunter2; exit 3",
    );
    cairn.ok(&["wait", "c"]);
    cairn.ok(&["rename", "c", "d"]);
    cairn.ok(&["commit", "d", "made:1"]);
    cairn.ok(&["rm", "d"]);
    cairn.ok(&["rmi", "made:1"]);
    cairn.ok(&["volume", "create", "v"]);
    cairn.ok(&["volume", "rm", "v"]);
    cairn.ok(&["gc"]);
    let all = lines(&cairn.ok(&["--json", "events", "--since", "1h", "--until", "0s"]));
    let told: Vec<String> = all
        .iter()
        .map(|e| {
            format!(
                "{} {}",
                e["type"].as_str().unwrap(),
                e["action"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "image import",
            "container create",
            "container start",
            "container die",
            "container rename",
            "container commit",
            "container remove",
            "image remove",
            "volume create",
            "volume remove",
            "repository gc"
        ]
    );
    assert_eq!(all[3]["attributes"]["exit_code"], "3");
    assert_eq!(
        (&all[3]["name"], &all[6]["name"]),
        (&json!("c"), &json!("d"))
    );
    let file = std::fs::read_to_string(cairn.root().join("events")).unwrap();
    assert!(!file.contains("hunter2"));
    let of_type = [
        "--json",
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "type=volume",
        "--filter",
        "event=remove",
    ];
    assert_eq!(lines(&cairn.ok(&of_type)).len(), 1);
    assert!(
        cairn
            .ok(&["events", "--since", "1h", "--until", "0s"])
            .contains("container die")
    );
    cairn.fails(&["events", "--filter", "bogus=1"], 2, "type=");
    // The follower saw those of its container, under the name it had then.
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&follow),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut follow.stdout.take().unwrap(), &mut seen).unwrap();
    follow.wait().unwrap();
    let seen: Vec<Value> = lines(&seen);
    let seen: Vec<&str> = seen.iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(seen, ["create", "start", "die"]);
    // A line that was cut off is nobody's harm, nor is a log that cannot be written.
    std::fs::write(cairn.root().join("events"), "{\"time\":\"2026-").unwrap();
    cairn.ok(&["volume", "create", "w"]);
    assert_eq!(
        lines(&cairn.ok(&["--json", "events", "--since", "1h", "--until", "0s"])).len(),
        1
    );
    std::fs::remove_file(cairn.root().join("events")).unwrap();
    std::fs::create_dir(cairn.root().join("events")).unwrap();
    cairn.ok(&["volume", "create", "x"]);
}

#[test]
fn lists_are_filtered_and_written_by_templates() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(
        &cairn,
        "web-1",
        &["-l", "app=web", "-l", "tier=front", "-v", "data:/data"],
        "sleep 1000",
    );
    begin(&cairn, "web-2", &["-l", "app=web"], "exit 3");
    begin(&cairn, "db", &["-l", "app=db"], "exit 0");
    cairn.ok(&["wait", "web-2", "db"]);
    let names = |args: &[&str]| {
        let ps = ["ps", "--format", "{{.name}}"];
        let mut names: Vec<String> = cairn
            .ok(&[&ps[..], args].concat())
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "web-1");
    assert_eq!(names(&["-a"]), "db web-1 web-2");
    for (filters, expected) in [
        (&["label=app=web"][..], "web-1 web-2"),
        (&["label=app=web", "label=tier=front"], "web-1"),
        (&["label=tier"], "web-1"),
        (&["name=web", "name=db"], "db web-1 web-2"),
        (&["name=web", "status=exited"], "web-2"),
        (&["exited=3"], "web-2"),
        (&["exited=0", "exited=3"], "db web-2"),
        (&["volume=data"], "web-1"),
        (&["volume=/data"], "web-1"),
        (&["ancestor=shell:latest"], "db web-1 web-2"),
        (&["ancestor=nosuch"], ""),
    ] {
        let args: Vec<&str> = filters
            .iter()
            .flat_map(|filter| ["--filter", filter])
            .collect();
        assert_eq!(
            names(&[&["-a"], &args[..]].concat()),
            expected,
            "{filters:?}"
        );
    }
    assert_eq!(
        names(&["--filter", "exited=3"]),
        "web-2",
        "running ones cannot be meant"
    );
    assert_eq!(names(&["-l"]).split(' ').count(), 1);
    assert_eq!(names(&["-n", "2"]).split(' ').count(), 2);
    let whole = cairn.json(&["inspect", "web-1"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(cairn.ok(&["ps", "-q", "--no-trunc"]), format!("{whole}\n"));
    assert_eq!(cairn.ok(&["ps", "-q"]).trim().len(), 12);
    assert!(cairn.ok(&["ps", "--no-trunc"]).contains(&whole));
    assert_eq!(
        cairn.json(&["ps"])[0]["labels"],
        json!({"app": "web", "tier": "front"})
    );
    for (filter, words) in [
        ("bogus=1", "known are"),
        ("status=bogus", "created"),
        ("exited=256", "0 to 255"),
        ("x", "NAME=VALUE"),
    ] {
        cairn.fails(&["ps", "--filter", filter], 2, words);
    }
    let inspect = |template: &str| cairn.ok(&["inspect", "--format", template, "web-1"]);
    assert_eq!(
        inspect("{{.status}} {{json .labels.app}} {{index .labels \"tier\"}}"),
        "running \"web\" front\n"
    );
    cairn.fails(
        &["inspect", "--format", "{{.nosuch}}", "web-1"],
        2,
        "no field nosuch",
    );
    cairn.fails(&["ps", "--format", "{{range .}}"], 2, "not understood");
    // What hides the environment does so in a template, too.
    begin(&cairn, "secretive", &["-e", "A=hunter2"], "sleep 1000");
    let env = cairn.ok(&["inspect", "--format", "{{json .launch.env}}", "secretive"]);
    assert!(env.contains("A=") && !env.contains("hunter2"), "{env}");
    cairn.ok(&["rm", "-f", "web-1", "secretive"]);
}
