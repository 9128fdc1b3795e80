//! Containers as services: the unit that is generated, and what a service manager is told.

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{has, is_root, shell};

#[test]
fn a_generated_unit_is_one_that_systemd_takes() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&[
        "create",
        "--name",
        "web",
        "--stop-timeout",
        "30",
        "shell",
        "/bin/sh",
        "-c",
        "exit 7",
    ]);
    let unit = cairn.ok(&["generate", "systemd", "web"]);
    assert!(unit.contains("TimeoutStopSec=50\n"), "{unit}");
    cairn.fails(&["generate", "systemd", "nosuch"], 1, "nosuch");
    // What it starts is what it says.
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let words: Vec<&str> = start.unwrap().split(' ').collect();
    let code = Command::new(words[0])
        .args(&words[1..])
        .status()
        .unwrap()
        .code();
    assert_eq!(code, Some(7));
    if !has("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    let file = cairn.path("web.service");
    std::fs::write(&file, unit).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!words.contains("web.service"), "{words}");
}

#[test]
fn a_container_tells_the_service_manager_itself_and_of_itself_only() {
    if !is_root() || !has("systemd-notify") {
        skip!("needs root and systemd-notify");
    }
    let cairn = common::Cairn::new();
    let tree = cairn.path("tree");
    common::shell_tree(&tree);
    common::add_program(&tree, "systemd-notify");
    cairn.import_dir(&tree, "shell");
    let path = cairn.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let script = "echo $NOTIFY_SOCKET; systemd-notify --pid=1 STATUS=working; systemd-notify READY=1; read line";
    let run = ["run", "--name", "web", "--sdnotify"];
    let shell = ["shell", "/bin/sh", "-c", script];
    let mut command =
        cairn.command(&[&run[..], &["container", "-d", "-i", "-u", "www"], &shell].concat());
    command.env("NOTIFY_SOCKET", &path);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    let monitor = cairn.json(&["inspect", "web"])["monitor"].clone();
    let hear = || {
        let mut words = [0; 200];
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    assert_eq!(hear(), "STATUS=working\n");
    assert_eq!(hear(), format!("READY=1\nMAINPID={monitor}\n"));
    assert_eq!(cairn.ok(&["logs", "web"]), "/run/notify/notify.sock\n");
    assert_eq!(cairn.ok(&["diff", "web"]), "");
    cairn.ok(&["rm", "-f", "web"]);
    // Nobody says anything.
    let mut command = cairn.command(&["run", "--rm", "--sdnotify", "ignore", "shell", "/bin/true"]);
    command.env("NOTIFY_SOCKET", &path);
    assert!(command.status().unwrap().success());
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err());
    cairn.fails(
        &["run", "--sdnotify", "bogus", "shell", "/bin/true"],
        2,
        "must be container",
    );
}

#[test]
fn the_service_manager_hears_when_the_container_runs() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let path = cairn.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let script = "echo \"[${NOTIFY_SOCKET-none}]\"; read line";
    let mut command = cairn.command(&[
        "run", "-i", "--name", "web", "shell", "/bin/sh", "-c", script,
    ]);
    command.env("NOTIFY_SOCKET", &path);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = [0; 200];
    let length = socket.recv(&mut words).unwrap();
    let words = String::from_utf8_lossy(&words[..length]).into_owned();
    assert_eq!(words, format!("READY=1\nMAINPID={}\n", child.id()));
    drop(child.stdin.take());
    // The socket is the host's, and no matter of the container.
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[none]\n");
    // One that does not start is not ready.
    let mut command = cairn.command(&["run", "--rm", "shell", "/nosuch"]);
    command.env("NOTIFY_SOCKET", &path).stderr(Stdio::null());
    assert!(!command.status().unwrap().success());
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err());
    // Nobody listens there: the container runs all the same.
    let mut command = cairn.command(&["run", "--rm", "shell", "/bin/sh", "-c", "exit 5"]);
    command.env("NOTIFY_SOCKET", "/nosuch/socket");
    assert_eq!(command.status().unwrap().code(), Some(5));
}
