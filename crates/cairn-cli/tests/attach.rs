//! Attaching to containers: several clients, a terminal, detach keys, signals, and clients that are of no use.

mod common;
#[path = "common/screen.rs"]
mod screen;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use common::{Cairn, eventually, is_root, shell};
use rustix::process::{Pid, Signal, kill_process};
use screen::Screen;

const ECHO: &str =
    "echo ready; while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; exit 5";

fn begin(cairn: &Cairn, options: &[&str], script: &str) {
    let run = ["run", "-d", "--name", "c"];
    let end = ["shell", "/bin/sh", "-c", script];
    cairn.ok(&[&run[..], options, &end].concat());
}

fn piped(cairn: &Cairn, args: &[&str]) -> Child {
    let mut command = cairn.command(args);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until it is attached: it then waits for two things at once.
fn attached(child: &Child) {
    let path = format!("/proc/{}/syscall", child.id());
    eventually("it is attached", || {
        let call = std::fs::read_to_string(&path).unwrap_or_default();
        // poll, or ppoll where there is no other.
        call.starts_with("7 ") || cfg!(not(target_arch = "x86_64")) && call.starts_with("73 ")
    });
}

/// Its exit code, once it has one.
fn ended(child: &mut Child) -> Option<i32> {
    eventually("it ends", || child.try_wait().unwrap().is_some());
    child.wait().unwrap().code()
}

fn status(cairn: &Cairn) -> String {
    let status = cairn.json(&["inspect", "c"])["status"].clone();
    status.as_str().unwrap().to_owned()
}

fn on_screen(cairn: &Cairn, args: &[&str]) -> (Screen, Child) {
    Screen::with(&mut cairn.command(args))
}

#[test]
fn several_clients_see_the_output_and_may_type() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(&cairn, &["-i"], ECHO);
    eventually("it reads", || cairn.ok(&["logs", "c"]).contains("ready"));
    let (mut a, mut b) = (
        piped(&cairn, &["attach", "c"]),
        piped(&cairn, &["attach", "c"]),
    );
    let watcher = piped(&cairn, &["attach", "--no-stdin", "c"]);
    let lines = |child: &mut Child| BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut of_a, mut of_b) = (lines(&mut a), lines(&mut b));
    // Whoever is attached sees what comes from then on.
    let (mut to_a, mut to_b) = (a.stdin.take().unwrap(), b.stdin.take().unwrap());
    let mut next = |words: &str| {
        to_a.write_all(format!("{words}\n").as_bytes()).unwrap();
        (of_a.next().unwrap().unwrap(), of_b.next().unwrap().unwrap())
    };
    [&a, &b, &watcher].into_iter().for_each(attached);
    let wanted = "got from a".to_owned();
    assert_eq!(next("from a"), (wanted.clone(), wanted));
    to_b.write_all(b"from b\n").unwrap();
    assert_eq!(of_a.next().unwrap().unwrap(), "got from b");
    // The end of one client's input is not the end of the container's.
    drop(to_a);
    to_b.write_all(b"again\n").unwrap();
    assert_eq!(of_a.next().unwrap().unwrap(), "got again");
    // It says that on standard error a moment later.
    eventually("it has said so twice", || {
        let logged = cairn.output(&["logs", "c"]).stderr;
        String::from_utf8_lossy(&logged).contains("err again")
    });
    cairn.ok(&["kill", "-s", "KILL", "c"]);
    assert_eq!(ended(&mut a), Some(137));
    assert_eq!(ended(&mut b), Some(137));
    let seen = watcher.wait_with_output().unwrap();
    assert_eq!(seen.status.code(), Some(137));
    assert!(String::from_utf8_lossy(&seen.stdout).contains("got again"));
    assert!(String::from_utf8_lossy(&seen.stderr).contains("err again"));
    assert_eq!(status(&cairn), "exited");
    cairn.fails(&["attach", "c"], 1, "cairn logs c");
}

#[test]
fn detach_keys_leave_a_terminal_that_can_be_taken_up_again() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    begin(
        &cairn,
        &["-it"],
        "while read line; do echo got-$line; done; exit 6",
    );
    for keys in [None, Some("ctrl-x,x")] {
        let option = keys.map(|keys| format!("--detach-keys={keys}"));
        let args: Vec<&str> = ["attach"]
            .into_iter()
            .chain(option.as_deref())
            .chain(["c"])
            .collect();
        let (screen, mut child) = on_screen(&cairn, &args);
        attached(&child);
        screen.types(b"one\n");
        eventually("it answers", || screen.shows("got-one"));
        screen.types(match keys {
            None => &b"\x10\x11"[..],
            Some(_) => b"\x18x",
        });
        assert_eq!(ended(&mut child), Some(0));
        eventually("it says so", || screen.shows("still running"));
        assert_eq!(status(&cairn), "running");
    }
    // Half of the keys is what was typed, and the end of input ends the shell.
    let (screen, mut child) = on_screen(&cairn, &["attach", "c"]);
    attached(&child);
    screen.types(b"\x10two\n");
    eventually("it answers", || screen.shows("two"));
    screen.types(b"\x04");
    assert_eq!(ended(&mut child), Some(6));
    cairn.fails(
        &["attach", "--detach-keys", "ctrl-!", "c"],
        2,
        "ctrl-p,ctrl-q",
    );
}

/// A command in the foreground that says first, and answers: it is left by its key, and the container `c` goes on.
fn is_left_by_ctrl_x(cairn: &Cairn, command: &[&str]) {
    let (screen, mut child) = on_screen(cairn, command);
    eventually("nothing of its output is missed", || screen.shows("first"));
    screen.types(b"one\n");
    eventually("it answers", || screen.shows("got-one"));
    screen.types(b"\x18");
    assert_eq!(ended(&mut child), Some(0));
    eventually("it says so", || screen.shows("still running"));
    assert_eq!(status(cairn), "running");
}

#[test]
fn a_container_in_the_foreground_is_left_by_detach_keys_too() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let run = ["run", "-it", "--name", "c", "--detach-keys", "ctrl-x"];
    let script = "echo first; while read line; do echo got-$line; done; exit 6";
    let command = ["shell", "/bin/sh", "-c", script];
    is_left_by_ctrl_x(&cairn, &[&run[..], &command].concat());
    let (screen, mut child) = on_screen(&cairn, &["attach", "c"]);
    attached(&child);
    screen.types(b"\x04");
    assert_eq!(ended(&mut child), Some(6));
    drop(screen);
    // One that ends at once has its output and its code all the same.
    for _ in 0..5 {
        let run = [
            "run",
            "-it",
            "--rm",
            "--detach-keys",
            "a",
            "shell",
            "/bin/sh",
            "-c",
        ];
        let (screen, mut child) = on_screen(&cairn, &[&run[..], &["echo words; exit 3"]].concat());
        assert_eq!(ended(&mut child), Some(3));
        eventually("it has its words", || screen.shows("words"));
    }
    let (_, mut child) = on_screen(
        &cairn,
        &[
            "run",
            "-it",
            "--rm",
            "--detach-keys",
            "a",
            "shell",
            "nosuch",
        ],
    );
    assert_eq!(ended(&mut child), Some(127));
    cairn.fails(
        &["run", "-it", "--detach-keys", "a", "shell"],
        2,
        "not a terminal",
    );
    cairn.fails(
        &["run", "-i", "--detach-keys", "a", "shell"],
        2,
        "needs -it",
    );
}

#[test]
fn the_terminal_has_the_size_of_whoever_attached_last() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    common::shell_tree(&tree);
    common::add_program(&tree, "stty");
    cairn.import_dir(&tree, "shell");
    begin(&cairn, &["-it"], "while read line; do stty size; done");
    let (screen, mut child) = on_screen(&cairn, &["attach", "c"]);
    attached(&child);
    eventually("it has the size", || {
        screen.types(b"\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
        screen.shows("33 77")
    });
    screen.types(b"\x10\x11");
    ended(&mut child);
    // Nobody to type: a pipe is refused rather than taken for a keyboard.
    let output = cairn
        .command(&["attach", "c"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-stdin"));
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn signals_reach_the_container_unless_told_otherwise() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "trap 'echo had-int' INT; echo ready; while :; do sleep 0.05; done";
    begin(&cairn, &[], script);
    eventually("it is ready", || cairn.ok(&["logs", "c"]).contains("ready"));
    let signal = |child: &Child| {
        attached(child);
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    };
    let mut passing = piped(&cairn, &["attach", "c"]);
    signal(&passing);
    eventually("it has the signal", || {
        cairn.ok(&["logs", "c"]).contains("had-int")
    });
    assert!(passing.try_wait().unwrap().is_none());
    let keeping = piped(&cairn, &["attach", "--sig-proxy=false", "c"]);
    signal(&keeping);
    let output = keeping.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("still running"));
    assert_eq!(cairn.ok(&["logs", "c"]).matches("had-int").count(), 1);
    cairn.ok(&["rm", "-f", "c"]);
    assert_eq!(ended(&mut passing), Some(137));
}

#[test]
fn a_client_that_does_not_read_or_vanishes_holds_nothing_up() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    // More than all pipes and sockets on the way take.
    let script = "read line; dd if=/dev/zero bs=64k count=64 2>/dev/null; echo; echo done >&2; read line; exit 4";
    begin(&cairn, &["-i"], script);
    let mut stuck = piped(&cairn, &["attach", "--no-stdin", "c"]);
    let mut killed = piped(&cairn, &["attach", "c"]);
    let mut typing = piped(&cairn, &["attach", "c"]);
    [&stuck, &killed, &typing].into_iter().for_each(attached);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut to = typing.stdin.take().unwrap();
    let mut from = typing.stdout.take().unwrap();
    to.write_all(b"go\n").unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    eventually("it went on", || {
        cairn
            .output(&["logs", "--tail", "1", "c"])
            .stderr
            .starts_with(b"done")
    });
    to.write_all(b"end\n").unwrap();
    assert_eq!(cairn.ok(&["wait", "c"]), "4\n");
    assert_eq!(ended(&mut typing), Some(4));
    assert_eq!(reader.join().unwrap(), (64 << 16) + 1);
    drop(stuck.stdout.take());
    stuck.wait().unwrap();
}

#[test]
fn a_foreground_container_can_be_watched_and_a_killed_monitor_is_told() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let run = ["run", "-i", "--name", "c", "shell", "/bin/sh", "-c", ECHO];
    let mut run = piped(&cairn, &run);
    eventually("it runs", || {
        cairn.output(&["logs", "c"]).stdout.starts_with(b"ready")
    });
    let watcher = piped(&cairn, &["attach", "c"]);
    attached(&watcher);
    let mut input = run.stdin.take().unwrap();
    input.write_all(b"x\n").unwrap();
    drop(input);
    assert_eq!(ended(&mut run), Some(5));
    let seen = watcher.wait_with_output().unwrap();
    assert_eq!(
        (seen.status.code(), &seen.stdout[..]),
        (Some(5), &b"got x\n"[..])
    );
    cairn.ok(&["rm", "c"]);
    begin(&cairn, &["-i"], ECHO);
    let watcher = piped(&cairn, &["attach", "c"]);
    attached(&watcher);
    let monitor = cairn.json(&["inspect", "c"])["monitor"].as_i64().unwrap();
    kill_process(Pid::from_raw(monitor as i32).unwrap(), Signal::KILL).unwrap();
    let seen = watcher.wait_with_output().unwrap();
    assert_ne!(seen.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&seen.stderr).contains("monitor was killed"));
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_container_that_is_started_again_is_left_by_detach_keys_too() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "echo first; while read line; do echo got-$line; done; exit 6";
    let command = ["shell", "/bin/sh", "-c", script];
    cairn.ok(&[&["create", "-it", "--name", "c"][..], &command].concat());
    let start = ["start", "-ai", "--detach-keys", "ctrl-x", "c"];
    is_left_by_ctrl_x(&cairn, &start);
    let (_, mut child) = on_screen(&cairn, &start);
    assert_eq!(ended(&mut child), Some(2), "it runs already");
    let (screen, mut child) = on_screen(&cairn, &["attach", "c"]);
    attached(&child);
    screen.types(b"\x04");
    assert_eq!(ended(&mut child), Some(6));
    // Keys are typed at a terminal, and the container has to have one.
    cairn.fails(&start, 2, "not a terminal");
    cairn.ok(&["create", "--name", "plain", "shell", "/bin/sh"]);
    let plain = ["start", "-ai", "--detach-keys", "ctrl-x", "plain"];
    let (screen, mut child) = on_screen(&cairn, &plain);
    assert_eq!(ended(&mut child), Some(2));
    eventually("it says why", || screen.shows("not made with -it"));
}
