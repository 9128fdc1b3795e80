//! `cairn run --runtime`: containers that another OCI runtime makes, with all of Cairn's verbs.

mod common;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{Cairn, eventually, has, is_root, shell};

/// Cairn's own program, as a runtime by the other road.
fn own(cairn: &Cairn) -> String {
    let path = cairn.path("own-runtime");
    let text = format!(
        "#!/bin/sh\nexec {} oci \"$@\"\n",
        env!("CARGO_BIN_EXE_cairn")
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// With each runtime that there is.
fn with_each(act: impl Fn(&Cairn, &str)) {
    let cairn = shell();
    act(&cairn, &own(&cairn));
    if has("runc") {
        act(&cairn, "runc");
    }
}

fn run(cairn: &Cairn, runtime: &str, script: &str) -> std::process::Output {
    cairn.output(&[
        "run",
        "--rm",
        "--runtime",
        runtime,
        "shell",
        "/bin/sh",
        "-c",
        script,
    ])
}

fn groups_of(id: &str) -> bool {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let mut places: Vec<_> = hierarchies.map(|entry| entry.path()).collect();
    places.push("/sys/fs/cgroup".into());
    let names =
        |place: &std::path::PathBuf| std::fs::read_dir(place).into_iter().flatten().flatten();
    places
        .iter()
        .flat_map(names)
        .any(|entry| entry.file_name().to_string_lossy().contains(id))
}

#[test]
fn streams_and_exit_codes_are_the_processes() {
    if !is_root() {
        skip!("needs root");
    }
    with_each(|cairn, runtime| {
        let output = run(cairn, runtime, "echo out; echo err >&2; id -u; exit 7");
        assert_eq!(
            (output.status.code(), &output.stdout[..], &output.stderr[..]),
            (Some(7), &b"out\n0\n"[..], &b"err\n"[..]),
            "{runtime}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let output = run(cairn, runtime, "kill -9 $$; true");
        // Process 1 of a namespace ignores what comes from inside.
        assert_eq!(output.status.code(), Some(0), "{runtime}");
        let missing = [
            "run",
            "--rm",
            "--runtime",
            runtime,
            "shell",
            "no-such-program",
        ];
        let output = cairn.output(&missing);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(127), "{runtime}: {words}");
        assert!(words.contains("no-such-program"), "{runtime}: {words}");
        let mut command = cairn.command(&[
            "run",
            "--rm",
            "-i",
            "--runtime",
            runtime,
            "shell",
            "/bin/cat",
        ]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"words").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"words");
        assert_eq!(cairn.json(&["ps", "-a"]), serde_json::json!([]));
    });
}

#[test]
fn everyday_verbs_work_on_it() {
    if !is_root() {
        skip!("needs root");
    }
    with_each(|cairn, runtime| {
        let script = "trap 'echo bye; exit 4' TERM; echo begun; while :; do sleep 0.05; done";
        cairn.ok(&[
            "run",
            "-d",
            "--name",
            "c",
            "--runtime",
            runtime,
            "--memory",
            "64m",
            "-v",
            "data:/data",
            "shell",
            "/bin/sh",
            "-c",
            script,
        ]);
        eventually("it writes", || cairn.ok(&["logs", "c"]) == "begun\n");
        assert_eq!(cairn.json(&["ps"])[0]["status"], "running");
        assert_eq!(
            cairn.ok(&[
                "exec",
                "c",
                "/bin/sh",
                "-c",
                "echo in > /data/x; cat /proc/1/comm"
            ]),
            "sh\n"
        );
        assert!(cairn.ok(&["top", "c"]).contains("trap"));
        cairn.ok(&["stop", "c"]);
        let told = cairn.json(&["ps", "-a"]);
        assert_eq!(
            (&told[0]["status"], &told[0]["exit_code"]),
            (&"exited".into(), &4.into())
        );
        cairn.ok(&["start", "c"]);
        eventually("it writes again", || {
            cairn.ok(&["logs", "c"]) == "begun\nbye\nbegun\n"
        });
        let id = cairn.json(&["inspect", "c"])["id"]
            .as_str()
            .unwrap()
            .to_owned();
        cairn.ok(&["rm", "-f", "c"]);
        assert!(!groups_of(&id), "{runtime}");
        cairn.ok(&["volume", "rm", "data"]);
    });
}

#[test]
fn it_ends_with_its_monitor_and_can_be_removed() {
    if !is_root() {
        skip!("needs root");
    }
    with_each(|cairn, runtime| {
        cairn.ok(&[
            "run",
            "-d",
            "--name",
            "c",
            "--runtime",
            runtime,
            "shell",
            "/bin/sleep",
            "1000",
        ]);
        let told = cairn.json(&["inspect", "c"]);
        let number = |name: &str| i32::try_from(told[name].as_i64().unwrap()).unwrap();
        let monitor = rustix::process::Pid::from_raw(number("monitor")).unwrap();
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
        let process = format!("/proc/{}", number("pid"));
        eventually("the process is gone", || {
            !std::path::Path::new(&process).exists()
        });
        assert_eq!(cairn.json(&["ps", "-a"])[0]["status"], "lost");
        cairn.ok(&["start", "c"]);
        cairn.ok(&["rm", "-f", "c"]);
        assert!(!groups_of(told["id"].as_str().unwrap()), "{runtime}");
    });
}

#[test]
fn what_it_cannot_do_is_said() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let own = own(&cairn);
    for (options, words) in [
        (&["--runtime", "no-such-runtime"][..], "no such program"),
        (&["--runtime", "/etc/passwd"], "no such program"),
        (
            &["--runtime", &own, "--pid", "host"],
            "--pid does not go with --runtime",
        ),
        (&["--runtime", &own, "--init"], "--init"),
        (&["--runtime", "/bin/false"], "/bin/false: it ended with"),
    ] {
        let run = [&["run", "--rm"], options, &["shell", "/bin/true"]].concat();
        let output = cairn.output(&run);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(words),
            "{options:?}: {said}"
        );
    }
    assert_eq!(cairn.json(&["ps", "-a"]), serde_json::json!([]));
}
