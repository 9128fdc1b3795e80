//! What init hands to a process, and nothing else: signals, limits, user, words.

mod common;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use common::{Cairn, Tar, docker_archive, eventually, is_root, shell_tree};
use serde_json::json;

/// The image `shell`, whose configuration is given.
fn image(config: serde_json::Value) -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    let base = common::tar_of(&tree);
    let more = Tar::new().file("made", b"");
    let archive = docker_archive("shell", &[base, more.done()], |document| {
        document["config"] = config;
    });
    std::fs::write(cairn.path("shell.tar"), archive).unwrap();
    cairn.ok(&["import", cairn.path("shell.tar").to_str().unwrap()]);
    cairn
}

fn sh(cairn: &Cairn, options: &[&str], script: &str) -> String {
    let run = [
        &["run", "--rm"],
        options,
        &["shell", "/bin/sh", "-c", script],
    ]
    .concat();
    cairn.ok(&run).trim_end().to_owned()
}

/// Process 1 started with nearly all signals blocked: Ctrl-C, `kill %1` and redis at `stop` did nothing.
#[test]
fn a_process_starts_with_no_signal_blocked_or_ignored() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = image(json!({"Env": ["PATH=/bin"]}));
    let script = "while read -r line; do case $line in SigBlk*|SigIgn*) echo ${line#*:};; esac; done < /proc/self/status";
    let clean = "0000000000000000\n0000000000000000";
    for options in [&[][..], &["--init"], &["-i"]] {
        assert_eq!(sh(&cairn, options, script), clean, "{options:?}");
        // A caller that ignores and blocks signals passes none of it on.
        let mut run = cairn.command(
            &[
                &["run", "--rm"],
                options,
                &["shell", "/bin/sh", "-c", script],
            ]
            .concat(),
        );
        let mut odd = std::process::Command::new("sh");
        odd.args([
            "-c",
            "trap '' INT HUP TERM USR1 PIPE; umask 077; exec \"$@\"",
            "sh",
        ])
        .arg(run.get_program())
        .args(run.get_args())
        .stdin(Stdio::null());
        let output = odd.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), clean);
        run.stdin(Stdio::null());
    }
    cairn.ok(&[
        "run", "-d", "--name", "bg", "shell", "/bin/sh", "-c", script,
    ]);
    eventually("the log is written", || {
        cairn.ok(&["logs", "bg"]).trim_end() == clean
    });
    // A child that was started by process 1 can be ended by it.
    assert_eq!(
        sh(
            &cairn,
            &[],
            "sleep 1000 & kill -INT $!; kill $!; wait $!; echo $?"
        ),
        "143"
    );
}

#[test]
fn the_mask_for_new_files_and_the_limits_are_not_the_callers() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = image(json!({"Env": ["PATH=/bin"]}));
    let script = "umask; ulimit -n; ulimit -c; ulimit -t; ulimit -f";
    let run = cairn.command(&["run", "--rm", "shell", "/bin/sh", "-c", script]);
    let mut odd = std::process::Command::new("sh");
    odd.args([
        "-c",
        "umask 077; ulimit -S -n 77; ulimit -S -t 50; ulimit -S -f 1000000; exec \"$@\"",
        "sh",
    ])
    .arg(run.get_program())
    .args(run.get_args());
    let output = odd.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0022\n1024\n0\nunlimited\nunlimited\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_container_is_stopped_by_the_signal_it_wants() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = image(json!({"Env": ["PATH=/bin"], "StopSignal": "SIGUSR1"}));
    let wait = "for s in TERM USR1 USR2 HUP; do trap \"echo $s; exit 3\" $s; done; echo ready; while :; do sleep 0.02; done";
    let begin = |name: &str, options: &[&str], script: &str| {
        let run = [
            &["run", "-d", "--name", name],
            options,
            &["shell", "/bin/sh", "-c", script],
        ]
        .concat();
        cairn.ok(&run);
        eventually("it has begun", || {
            cairn.ok(&["logs", name]).contains("ready")
        });
    };
    begin("a", &[], wait);
    cairn.ok(&["stop", "a"]);
    assert_eq!(cairn.ok(&["logs", "a"]), "ready\nUSR1\n", "the image's");
    begin("b", &["--stop-signal", "USR2"], wait);
    cairn.ok(&["stop", "b"]);
    assert_eq!(cairn.ok(&["logs", "b"]), "ready\nUSR2\n", "the user's");
    begin("c", &[], wait);
    cairn.ok(&["kill", "-s", "HUP", "c"]);
    eventually("it has ended", || {
        cairn.json(&["inspect", "c"])["status"] == "exited"
    });
    assert_eq!(cairn.json(&["inspect", "c"])["exit_code"], 3);
    assert_eq!(cairn.ok(&["logs", "c"]), "ready\nHUP\n");
    // Real-time signals have no names in a shell: 37 is SIGRTMIN+3.
    let realtime = "trap 'echo rt; exit 4' 37; echo ready; while :; do sleep 0.02; done";
    begin("d", &["--stop-signal", "SIGRTMIN+3"], realtime);
    cairn.ok(&["stop", "d"]);
    assert_eq!(cairn.ok(&["logs", "d"]), "ready\nrt\n");
    begin("e", &["--init", "--stop-signal", "RTMIN+3"], realtime);
    cairn.ok(&["stop", "e"]);
    assert_eq!(cairn.ok(&["logs", "e"]), "ready\nrt\n");
    for signal in ["BOGUS", "0", "-1", "65", "RTMIN+99"] {
        cairn.fails(&["kill", &format!("--signal={signal}"), "a"], 2, signal);
        let option = format!("--stop-signal={signal}");
        cairn.fails(&["run", "--rm", &option, "shell", "/bin/true"], 2, signal);
    }
    cairn.fails(&["kill", "a"], 1, "is not running");
}

#[test]
fn set_user_id_programs_work_where_the_user_says_so() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(tree.join("bin/id"), mode).unwrap();
    cairn.import_dir(&tree, "shell");
    assert_eq!(sh(&cairn, &["-u", "www"], "id -u"), "33");
    for (option, id) in [
        ("no-new-privileges=false", "0"),
        ("no-new-privileges", "33"),
    ] {
        assert_eq!(
            sh(&cairn, &["-u", "www", "--security-opt", option], "id -u"),
            id
        );
    }
    let run = [
        "run",
        "--rm",
        "--security-opt",
        "apparmor=unconfined",
        "shell",
        "/bin/true",
    ];
    cairn.fails(&run, 2, "apparmor");
}

/// runc#2894, crun#794.
#[test]
fn a_working_directory_that_only_root_may_enter_is_entered_for_a_user() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = image(json!({"Env": ["PATH=/bin"]}));
    std::fs::create_dir_all(cairn.path("tree/root")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(cairn.path("tree/root"), mode).unwrap();
    cairn.import_dir(&cairn.path("tree"), "shell");
    let run = [
        "run",
        "--rm",
        "-u",
        "www",
        "-w",
        "/root",
        "shell",
        "/bin/sh",
        "-c",
        "id -u; pwd; ls 2>/dev/null || echo no",
    ];
    assert_eq!(cairn.ok(&run), "33\n/root\nno\n");
}

#[test]
fn programs_are_searched_as_the_user_and_in_the_working_directory() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    let program = |path: &str, text: &str, mode: u32| {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\necho {text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    program("first/tool", "first", 0o700);
    program("second/tool", "second", 0o755);
    program("work/here", "here", 0o755);
    program("work/broken", "x", 0o755);
    std::fs::write(tree.join("work/broken"), "#!/none\n").unwrap();
    cairn.import_dir(&tree, "shell");
    let run = |options: &[&str], command: &str| {
        let all = [&["run", "--rm"], options, &["shell", command]].concat();
        let output = cairn.output(&all);
        let text = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        (
            output.status.code(),
            text,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let path = ["-e", "PATH=/none:/first:/second:/bin"];
    assert_eq!(run(&path, "tool").1, "first");
    assert_eq!(
        run(&[&path[..], &["-u", "www"]].concat(), "tool").1,
        "second"
    );
    let only = ["-e", "PATH=/first", "-u", "www"];
    assert_eq!(
        run(&only, "tool").0,
        Some(126),
        "it is there, and not for this user"
    );
    let here = ["-e", "PATH=.:/bin", "-w", "/work"];
    assert_eq!(run(&here, "here").1, "here");
    assert_eq!(run(&["-e", "PATH=:/bin", "-w", "/work"], "here").1, "here");
    let (code, _, err) = run(&here, "broken");
    assert!(code == Some(127) && err.contains("interpreter"), "{err}");
    assert_eq!(run(&here, "none").0, Some(127));
}

#[test]
fn words_that_are_not_utf8_are_passed_as_they_are() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = image(json!({"Env": ["PATH=/bin"]}));
    let odd = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let mut run = cairn.command(&["run", "--rm", "-e"]);
    run.arg(odd(b"ODD=\xff\xfe"))
        .args(["-w"])
        .arg(odd(b"/w\xfe"))
        .args(["shell", "/bin/sh", "-c", "printf %s \"$1$ODD\"; pwd", "sh"])
        .arg(odd(b"\x80\n"));
    let output = run.output().unwrap();
    assert_eq!(
        output.stdout,
        b"\x80\n\xff\xfe/w\xfe\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(cairn.json(&["ps", "-a"]), json!([]));
    let mut run = cairn.command(&["run", "--name", "odd", "shell", "/bin/true"]);
    run.arg(odd(b"\xff")).arg0("cairn");
    assert!(run.status().unwrap().success());
    assert_eq!(
        cairn.json(&["inspect", "odd"])["launch"]["args"][1],
        json!([255])
    );
}
