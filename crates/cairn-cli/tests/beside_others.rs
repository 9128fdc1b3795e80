//! Containers in namespaces of others: `--pid`, `--ipc`, `--uts host|container:NAME`.

mod common;

use std::path::Path;

use common::{Cairn, eventually, is_root, shell};

fn begin(cairn: &Cairn, name: &str, options: &[&str], script: &str) {
    let run = [
        &["run", "-d", "--name", name],
        options,
        &["shell", "/bin/sh", "-c", script],
    ];
    cairn.ok(&run.concat());
}

fn number(cairn: &Cairn, name: &str, field: &str) -> i32 {
    let value = cairn.json(&["inspect", name])[field].as_i64();
    i32::try_from(value.unwrap()).unwrap()
}

fn lives(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// The numbers of the container's processes, as the host has them, once there are so many.
fn processes(cairn: &Cairn, name: &str, count: usize) -> Vec<i32> {
    let mut found = Vec::new();
    eventually("its processes run", || {
        let listed = cairn.json(&["top", name]);
        let pids = listed.as_array().unwrap().iter();
        found = pids
            .map(|process| i32::try_from(process["host_pid"].as_i64().unwrap()).unwrap())
            .collect();
        found.len() == count
    });
    found
}

fn namespace(pid: i32, kind: &str) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

const FAMILY: &str = "(sleep 1000 & sleep 1000) & exec sleep 1000";

#[test]
fn with_pid_host_a_container_sees_all_processes_and_none_of_its_own_stays() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let myself = std::process::id();
    let script = format!("cat /proc/{myself}/comm; sleep 1000 >/dev/null 2>&1 & echo $!; exit 3");
    let run = ["run", "--rm", "--pid", "host", "shell", "/bin/sh", "-c"];
    let output = cairn.output(&[&run[..], &[&script]].concat());
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let comm = std::fs::read_to_string(format!("/proc/{myself}/comm")).unwrap();
    let (first, left) = text.split_once('\n').unwrap();
    assert_eq!(first, comm.trim_end());
    assert!(
        !lives(left.trim().parse().unwrap()),
        "it ended with the container"
    );

    for init in [&[][..], &["--init"]] {
        let options = [&["--pid", "host"], init].concat();
        begin(&cairn, "c", &options, FAMILY);
        // With --init its parent is one more.
        let own = processes(&cairn, "c", 3 + init.len());
        cairn.ok(&["exec", "-d", "c", "/bin/sleep", "1000"]);
        cairn.ok(&["stop", "-t", "1", "c"]);
        assert_eq!(cairn.json(&["ps", "-a"])[0]["status"], "exited");
        assert!(!own.iter().any(|pid| lives(*pid)));
        cairn.ok(&["rm", "c"]);
    }
}

#[test]
fn a_container_in_the_hosts_pid_namespace_ends_with_its_monitor() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "c", &["--pid", "host"], FAMILY);
    let own = processes(&cairn, "c", 3);
    let monitor = rustix::process::Pid::from_raw(number(&cairn, "c", "monitor")).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    eventually("all of it is gone", || !own.iter().any(|pid| lives(*pid)));
    assert_eq!(cairn.json(&["ps", "-a"])[0]["status"], "lost");
    cairn.ok(&["start", "c"]);
    processes(&cairn, "c", 3);
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_container_in_the_pid_namespace_of_another_sees_it_and_ends_with_it() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "a", &[], "exec sleep 1000");
    let beside = [
        "run",
        "--rm",
        "--pid",
        "container:a",
        "shell",
        "/bin/sh",
        "-c",
    ];
    let script = "cat /proc/1/comm; [ $$ != 1 ] && echo beside";
    eventually("it sees the other", || {
        cairn.ok(&[&beside[..], &[script]].concat()) == "sleep\nbeside\n"
    });
    begin(&cairn, "b", &["--pid", "container:a"], FAMILY);
    let own = processes(&cairn, "b", 3);
    cairn.ok(&["kill", "a"]);
    assert_eq!(cairn.ok(&["wait", "b"]), "137\n");
    assert!(!own.iter().any(|pid| lives(*pid)));
    cairn.fails(
        &["start", "b"],
        1,
        "container:a: the container is not running",
    );
    cairn.ok(&["start", "a", "b"]);
    assert_eq!(
        namespace(number(&cairn, "a", "pid"), "pid"),
        namespace(number(&cairn, "b", "pid"), "pid")
    );
    cairn.ok(&["rm", "-f", "a", "b"]);
}

#[test]
fn namespaces_of_another_container_are_found_again_at_the_next_start() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, "a", &[], "exec sleep 1000");
    let shared = ["--ipc", "container:a", "--uts", "container:a"];
    begin(&cairn, "b", &shared, "exec sleep 1000");
    cairn.ok(&["stop", "-t", "0", "b", "a"]);
    cairn.fails(
        &["start", "b"],
        1,
        "--ipc container:a: the container is not running",
    );
    cairn.ok(&["rename", "a", "other"]);
    cairn.ok(&["start", "other", "b"]);
    let (a, b) = (number(&cairn, "other", "pid"), number(&cairn, "b", "pid"));
    for kind in ["ipc", "uts"] {
        assert_eq!(namespace(a, kind), namespace(b, kind), "{kind}");
    }
    // Shared memory of POSIX lies in a file system, which goes with the namespace.
    let shell = |name, script| cairn.ok(&["exec", name, "/bin/sh", "-c", script]);
    shell("other", "echo shared > /dev/shm/file");
    assert_eq!(shell("b", "cat /dev/shm/file").trim(), "shared");
    assert_ne!(namespace(a, "pid"), namespace(b, "pid"));
    assert!(Path::new("/proc/self/ns/ipc").read_link().unwrap() != namespace(a, "ipc"));
    cairn.ok(&["rm", "-f", "other", "b"]);
}

#[test]
fn shared_processes_do_not_go_with_a_network_helper() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let run = [
        "run",
        "--pid",
        "host",
        "--network",
        "user",
        "shell",
        "/bin/true",
    ];
    let output = cairn.output(&run);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    // Where no helper is installed, that is the first to be said.
    assert!(words.contains("--network user"), "{words}");
    assert!(!output.status.success());
}
