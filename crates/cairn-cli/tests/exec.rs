//! `cairn exec`: another process in a container, with no more rights than the container has.

mod common;

use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell_tree};

fn running(options: &[&str], script: &str) -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    cairn.import_dir(&tree, "shell");
    let run = [
        &["run", "-d", "--name", "c"],
        options,
        &["shell", "/bin/sh", "-c", script],
    ];
    cairn.ok(&run.concat());
    cairn
}

fn sh(cairn: &Cairn, options: &[&str], script: &str) -> String {
    let exec = [&["exec"], options, &["c", "/bin/sh", "-c", script]].concat();
    cairn.ok(&exec).trim_end().to_owned()
}

#[test]
fn a_process_is_in_the_same_namespaces_groups_and_root() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(
        &["--network", "none", "--hostname", "box", "-e", "FROM=run"],
        "echo mine > /file; sleep 1000",
    );
    eventually("it has begun", || {
        sh(&cairn, &[], "cat /file 2>/dev/null; :") == "mine"
    });
    let names = "for n in ipc mnt net pid uts cgroup user; do readlink /proc/self/ns/$n; done";
    let of_first = names.replace("self", "1");
    assert_eq!(sh(&cairn, &[], names), sh(&cairn, &[], &of_first));
    assert_eq!(
        sh(&cairn, &[], "cat /proc/self/cgroup"),
        sh(&cairn, &[], "cat /proc/1/cgroup")
    );
    // Nothing of what the container was not given, either.
    let of = |who: &str| {
        let script = format!(
            "while read -r l; do case $l in Cap*|NoNewPrivs*|Seccomp:*|SigBlk*|SigIgn*) echo $l;; esac; done < /proc/{who}/status; ulimit -Hn; umask"
        );
        sh(&cairn, &[], &script)
    };
    assert_eq!(of("self"), of("1"));
    assert_eq!(
        sh(&cairn, &[], "cat /proc/self/limits"),
        sh(&cairn, &[], "cat /proc/1/limits")
    );
    assert_eq!(
        sh(&cairn, &[], "echo $FROM $HOSTNAME $HOME; pwd"),
        "run box /root\n/"
    );
    assert_eq!(
        sh(
            &cairn,
            &["-e", "FROM=exec", "-w", "/tmp", "-u", "www"],
            "echo $FROM $HOME $(id -u):$(id -g); pwd"
        ),
        "exec /srv 33:33\n/tmp"
    );
    assert_eq!(
        sh(&cairn, &[], "ls /proc/self/fd"),
        "0\n1\n2\n3",
        "and that of ls itself"
    );
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn codes_streams_and_signals_are_passed_on() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(&[], "sleep 1000");
    let code = |args: &[&str]| cairn.output(&[&["exec", "c"], args].concat()).status.code();
    assert_eq!(code(&["/bin/sh", "-c", "exit 9"]), Some(9));
    assert_eq!(code(&["/bin/sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(code(&["nosuch"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    cairn.fails(&["exec", "-u", "nobody", "c", "true"], 125, "nobody");
    cairn.fails(&["exec", "nosuch", "true"], 1, "nosuch");
    cairn.fails(&["exec", "c"], 2, "COMMAND");
    let output = cairn.output(&["exec", "c", "/bin/sh", "-c", "echo out; echo err >&2; cat"]);
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let mut cat = cairn.command(&["exec", "-i", "c", "cat"]);
    let mut cat = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut cat.stdin.take().unwrap(), b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
    assert_eq!(
        cairn.ok(&[
            "exec",
            "-t",
            "c",
            "/bin/sh",
            "-c",
            "test -t 1 && echo terminal"
        ]),
        "terminal\r\n"
    );
    let trap = "trap 'echo got; exit 3' TERM; echo ready > /ready; while :; do sleep 0.01; done";
    let mut exec = cairn.command(&["exec", "c", "/bin/sh", "-c", trap]);
    let exec = exec.stdout(Stdio::piped()).spawn().unwrap();
    eventually("it has begun", || {
        sh(&cairn, &[], "cat /ready 2>/dev/null; :") == "ready"
    });
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&exec),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let output = exec.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(3), &b"got\n"[..])
    );
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_process_in_the_background_runs_on_and_ends_with_the_container() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(&[], "sleep 1000");
    cairn.ok(&[
        "exec",
        "-d",
        "c",
        "/bin/sh",
        "-c",
        "exec 3>&1; readlink /proc/self/fd/3 > /said; sleep 1001",
    ]);
    eventually("it has begun", || {
        sh(&cairn, &[], "cat /said 2>/dev/null; :") == "/dev/null"
    });
    cairn.fails(&["exec", "-d", "c", "nosuch"], 127, "nosuch");
    let mut inside = cairn.command(&["exec", "c", "sleep", "1002"]);
    let mut inside = inside.spawn().unwrap();
    eventually("it runs", || cairn.ok(&["top", "c"]).contains("sleep 1002"));
    let all = cairn.json(&["top", "c"]);
    let pids: Vec<i64> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["host_pid"].as_i64().unwrap())
        .collect();
    assert!(pids.len() >= 4, "{all}");
    cairn.ok(&["kill", "c"]);
    assert_eq!(inside.wait().unwrap().code(), Some(137));
    cairn.ok(&["wait", "c"]);
    eventually("nothing is left", || {
        pids.iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
    cairn.fails(&["exec", "c", "true"], 1, "not running");
    cairn.ok(&["rm", "c"]);
}

/// CVE-2019-5736 and its like: process 1 looks at whoever enters, and replaces what is about to be executed.
#[test]
fn a_container_gets_nothing_of_the_host_by_whoever_enters_it() {
    if !is_root() {
        skip!("needs root");
    }
    // It tries to open the program, root, directory and descriptors of every process that comes.
    let spy = "cd /proc; while :; do for p in [0-9]*; do case $p in 1|$$) continue;; esac; \
        for f in $p/exe $p/root $p/cwd $p/fd/*; do readlink $f >> /seen; done; done 2>/dev/null; done";
    let cairn = running(&[], spy);
    let program = env!("CARGO_BIN_EXE_cairn");
    let before = std::fs::read(program).unwrap();
    // What it may execute is the program itself: it must be of no use.
    sh(&cairn, &[], "rm /bin/cat; ln -s /proc/self/exe /bin/cat");
    for _ in 0..30 {
        let output = cairn.output(&["exec", "c", "/bin/cat", "/etc/shadow"]);
        assert!(!output.status.success());
        assert_eq!(output.stdout, b"");
        cairn.ok(&["exec", "c", "true"]);
    }
    assert!(
        std::fs::read(program).unwrap() == before,
        "the program is as it was"
    );
    let seen = sh(&cairn, &[], "while read -r l; do echo $l; done < /seen");
    assert!(seen.contains("/bin/"), "it did look: {seen}");
    assert!(!seen.contains("cairn"), "{seen}");
    assert!(!seen.contains(cairn.dir.path().to_str().unwrap()), "{seen}");
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn exec_privileged_lifts_what_holds_this_one_command_back() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = common::shell();
    cairn.ok(&["run", "-d", "--name", "c", "shell", "sleep", "1000"]);
    let look = |options: &[&str]| {
        let all = [&["exec"], options, &["c", "cat", "/proc/self/status"]].concat();
        let status = cairn.ok(&all);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        [field("CapEff:"), field("Seccomp:"), field("NoNewPrivs:")]
    };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let all = all.unwrap().trim().to_owned();
    let usual = look(&[]);
    assert!(
        usual[0] != all && usual[1] == "2" && usual[2] == "1",
        "{usual:?}"
    );
    let lifted = look(&["--privileged"]);
    assert_eq!(lifted, [all, "0".into(), "0".into()]);
    // Others are as before, and mounts of it stay in the container.
    assert_eq!(look(&[]), usual);
    let mount = [
        "exec",
        "--privileged",
        "c",
        "mount",
        "-t",
        "tmpfs",
        "only-inside",
        "/tmp",
    ];
    cairn.ok(&mount);
    assert!(
        !cairn
            .output(&[&["exec"], &mount[2..]].concat())
            .status
            .success()
    );
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !table.contains("only-inside"),
        "it is the container's alone"
    );
    cairn.ok(&["rm", "-f", "c"]);
}
