//! Documents that make no sense or mean harm: each is refused with a line, and nothing of it takes effect.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::common::is_root;

/// Where in the document, what is put there, and what is said.
fn cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/ociVersion", json!(null), "invalid type"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!(1.0), "invalid type"),
        ("/root", json!(null), "root is missing"),
        ("/root/path", json!("/"), "host's own root"),
        (
            "/root/path",
            json!("../../../../../../.."),
            "host's own root",
        ),
        ("/root/path", json!("nosuch"), "root.path"),
        ("/root/path", json!("config.json"), "not a directory"),
        ("/root/path", json!("root\u{0}fs"), "NUL"),
        ("/process", json!(null), "process is missing"),
        ("/process/args", json!([]), "args must not be empty"),
        ("/process/args", json!(["sh\u{0}"]), "NUL"),
        ("/process/args", json!("sh"), "invalid type"),
        ("/process/cwd", json!("tmp"), "not an absolute path"),
        ("/process/cwd", json!(""), "not an absolute path"),
        ("/process/cwd", json!("/proc/self/fd/7"), "magic link"),
        ("/process/cwd", json!("/etc/passwd"), "Not a directory"),
        ("/process/env", json!(["NOVALUE"]), "has no value"),
        ("/process/user/uid", json!(4294967295u32), "not an id"),
        ("/process/user/uid", json!(-1), "invalid value"),
        ("/process/user/gid", json!(1e20), "invalid type"),
        ("/process/oomScoreAdj", json!(5000), "oomScoreAdj"),
        ("/process/oomScoreAdj", json!(i64::MIN), "oomScoreAdj"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]),
            "unknown",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "above",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": -1, "hard": 1}]),
            "invalid value",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_NONE"}),
            "unknown",
        ),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 9}),
            "ioPriority",
        ),
        ("/mounts/0/destination", json!(""), "destination"),
        ("/mounts/1/destination", json!("/"), "root itself"),
        ("/mounts/0/destination", json!("/.."), "directory only"),
        (
            "/mounts/1",
            json!({"destination": "/proc", "type": "bind", "source": "/tmp"}),
            "only proc can be mounted on /proc",
        ),
        (
            "/mounts/1",
            json!({"destination": "/proc/sys/kernel", "type": "tmpfs"}),
            "not allowed",
        ),
        (
            "/mounts/1",
            json!({"destination": "/proc/1/root", "type": "tmpfs"}),
            "magic link",
        ),
        (
            "/mounts/1",
            json!({"destination": "/x", "type": "bind", "source": ""}),
            "source",
        ),
        (
            "/mounts/1",
            json!({"destination": "/x", "type": "bind", "source": "/nosuch/x"}),
            "nosuch",
        ),
        (
            "/mounts/1",
            json!({"destination": "/x", "type": "nosuchfs"}),
            "nosuchfs",
        ),
        (
            "/mounts/1",
            json!({"destination": "/x", "type": "tmpfs", "options": ["nonsense=1"]}),
            "nonsense",
        ),
        ("/hostname", json!("x".repeat(100)), "hostname"),
        (
            "/hooks",
            json!({"prestart": [{"path": "bin/sh"}]}),
            "not an absolute path",
        ),
        (
            "/hooks",
            json!({"poststop": [{"path": "/bin/sh", "timeout": -5}]}),
            "timeout",
        ),
        (
            "/hooks",
            json!({"createContainer": [{"path": "/nosuch"}]}),
            "createContainer",
        ),
        ("/linux/namespaces", json!([]), "mount namespace"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "mount"}]),
            "twice",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount", "path": "/proc/1/ns/mnt"}]),
            "mount namespace",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "planet"}]),
            "unknown",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "network", "path": "ns"}]),
            "absolute",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/nosuch"}]),
            "nosuch",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "user"}]),
            "uidMappings",
        ),
        ("/linux/namespaces", json!([{"type": "mount"}]), "hostname"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "user namespace",
        ),
        ("/linux/cgroupsPath", json!("/"), "cgroupsPath"),
        ("/linux/cgroupsPath", json!("/../.."), "cgroupsPath"),
        ("/linux/cgroupsPath", json!("/x/../../y"), "cgroupsPath"),
        ("/linux/cgroupsPath", json!("a.slice:b:c"), "systemd"),
        (
            "/linux/sysctl",
            json!({"kernel.core_pattern": "|/x"}),
            "container's own",
        ),
        (
            "/linux/sysctl",
            json!({"net/../kernel/core_pattern": "|/x"}),
            "valid kernel parameter",
        ),
        (
            "/linux/devices",
            json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 3}]),
            "absolute",
        ),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": -4, "minor": 3}]),
            "device number",
        ),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "p"}]),
            "not supported",
        ),
        ("/linux/maskedPaths", json!(["proc"]), "absolute"),
        ("/linux/maskedPaths", json!(["/"]), "cannot be covered"),
        (
            "/linux/readonlyPaths",
            json!(["/proc/self/root/etc"]),
            "magic link",
        ),
        ("/linux/rootfsPropagation", json!("loud"), "unknown"),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_NONE"}),
            "seccomp",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}),
            "not supported",
        ),
        ("/linux/personality", json!({"domain": "MARS"}), "unknown"),
        ("/linux/intelRdt", json!({"closID": "x"}), "intelRdt"),
        (
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 1}}),
            "time namespace",
        ),
        (
            "/linux/resources",
            json!({"memory": {"limit": -5}}),
            "number of bytes",
        ),
        (
            "/linux/resources",
            json!({"memory": {"limit": 1e300}}),
            "invalid type",
        ),
        (
            "/linux/resources",
            json!({"unified": {"cgroup.procs": "1"}}),
            "cannot be set",
        ),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true}, {"allow": false, "type": "c", "major": 1, "minor": 1}]}),
            "denied",
        ),
        ("/vm", json!({}), "virtual machines"),
    ]
}

/// Puts a value at a place of the document, and makes what is missing above it.
fn put(config: &mut Value, place: &str, value: Value) {
    let mut at = config;
    for key in place.split('/').skip(1) {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
}

#[test]
fn documents_that_make_no_sense_are_refused_with_a_line() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("echo begun");
    let usual = bundle.config.clone();
    let mut wrong = Vec::new();
    for (place, value, words) in cases() {
        bundle.config = usual.clone();
        put(&mut bundle.config, place, value.clone());
        let output = bundle.output(&["run", "ID"]);
        let err = String::from_utf8_lossy(&output.stderr);
        let lines = err.trim_end().lines().count();
        let refused = output.status.code() == Some(1) && output.stdout.is_empty();
        if !refused || !err.contains(words) || lines != 1 || err.contains("panicked") {
            let out = String::from_utf8_lossy(&output.stdout);
            wrong.push(format!(
                "{place} = {value}: {:?} {out}{err}",
                output.status.code()
            ));
        }
        if !bundle.groups().is_empty() || bundle.path("state").join(bundle.id()).exists() {
            wrong.push(format!("{place} = {value} left something"));
            let _ = bundle.output(&["delete", "--force", "ID"]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_that_are_no_documents_are_refused_with_a_line() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("");
    let deep = format!(
        "{{\"annotations\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let long = format!("{{\"hostname\": \"{}\"}}", "x".repeat(17 << 20));
    let huge =
        bundle
            .config
            .to_string()
            .replacen("\"uid\":0", "\"uid\":99999999999999999999999", 1);
    for text in ["", "{", "[]", "null", "\u{0}", &deep, &long, &huge] {
        let mut command = bundle.oci(&["run", "ID"]);
        std::fs::write(bundle.path("config.json"), text).unwrap();
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        let shown: String = text.chars().take(40).collect();
        assert_eq!(output.status.code(), Some(1), "{shown}: {err}");
        assert!(
            err.contains("config.json") && !err.contains("panicked"),
            "{shown}: {err}"
        );
    }
    std::fs::remove_file(bundle.path("config.json")).unwrap();
    for id in ["../x", ".", "a/b", ""] {
        bundle.fails(&["run", id], "not a container id");
        bundle.fails(&["delete", "--force", id], "not a container id");
    }
}

#[test]
fn unknown_fields_and_nulls_are_nothing() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("echo begun");
    for place in [
        "/hooks",
        "/annotations",
        "/linux/devices",
        "/linux/seccomp",
        "/process/rlimits",
        "/process/user/additionalGids",
        "/linux/resources/memory",
        "/linux/sysctl",
        "/domainname",
    ] {
        put(&mut bundle.config, place, Value::Null);
    }
    put(&mut bundle.config, "/future", json!({"deep": [1, 2]}));
    put(&mut bundle.config, "/linux/future", json!(7));
    put(
        &mut bundle.config,
        "/process/capabilities/bounding",
        json!(["CAP_FUTURE", "CAP_KILL"]),
    );
    assert_eq!(bundle.run(), ("begun\n".into(), 0));
}

#[test]
fn links_of_the_root_lead_nowhere_else() {
    if !is_root() {
        skip!("needs root");
    }
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    let link = |bundle: &Bundle, name: &str| {
        let path = bundle.path("rootfs").join(name);
        let _ = std::fs::remove_dir_all(&path);
        symlink(outside.path(), path).unwrap();
    };
    // A volume, a device, and the working directory through links that lead out.
    let mut bundle = Bundle::new("pwd");
    for name in ["volume", "devices", "work"] {
        link(&bundle, name);
    }
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/volume/deep", "type": "tmpfs", "source": "x"}));
    bundle.config["linux"]["devices"] =
        json!([{"path": "/devices/null", "type": "c", "major": 1, "minor": 3}]);
    bundle.config["process"]["cwd"] = json!("/work/here");
    let (said, code) = bundle.run();
    assert_eq!(code, 0, "{said}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    for name in ["proc", "sys"] {
        let bundle = Bundle::new("echo begun");
        link(&bundle, name);
        let (said, code) = bundle.run();
        assert!(
            code == 1 && !said.contains("begun"),
            "{name}: {code} {said}"
        );
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn groups_of_others_are_left_alone() {
    if !is_root() {
        skip!("needs root");
    }
    let mut first = Bundle::new("exec sleep 1000");
    let place = format!("/cairn-oci-{}", first.id());
    first.config["linux"]["cgroupsPath"] = json!(place);
    first.create(&[]);
    first.ok(&["start", "ID"]);
    let mut second = Bundle::new("echo begun");
    second.config["linux"]["cgroupsPath"] = json!(place);
    second.fails(&["run", "ID"], "processes already");
    second.ok(&["delete", "--force", "ID"]);
    assert_eq!(first.state()["status"], "running");
}
