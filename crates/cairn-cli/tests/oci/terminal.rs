//! Terminals: handed over by a socket, or shown by the caller.

use std::io::{IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::bundle::Bundle;
use crate::common::{eventually, is_root};
use crate::screen::Screen;

/// Takes the descriptor that somebody sends.
fn take(listener: &UnixListener) -> OwnedFd {
    let (socket, _) = listener.accept().unwrap();
    let mut bytes = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    recvmsg(
        &socket,
        &mut slices,
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let mut found = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    found.next().expect("a descriptor was sent")
}

/// Reads until the process has ended.
fn read(terminal: OwnedFd) -> String {
    let mut terminal = std::fs::File::from(terminal);
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&text).replace('\r', "")
}

#[test]
fn the_console_socket_gets_the_terminal_of_a_container_and_of_a_process() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "stat -c '%F %u' /dev/console; readlink /proc/self/fd/0; stty size; read line; echo got $line",
    );
    crate::common::add_program(&bundle.path("rootfs"), "stty");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    let listener = UnixListener::bind(bundle.path("socket")).unwrap();
    bundle.fails(&["create", "ID"], "console-socket");
    bundle.create(&["--console-socket", "socket"]);
    let terminal = take(&listener);
    bundle.ok(&["start", "ID"]);
    let mut keyboard = std::fs::File::from(terminal.try_clone().unwrap());
    keyboard.write_all(b"words\n").unwrap();
    let text = read(terminal);
    for line in [
        "character special file 0",
        "/dev/pts/0",
        "33 77",
        "got words",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    bundle.ok(&["delete", "--force", "ID"]);
    bundle.config["process"]["terminal"] = json!(false);
    let bundle = bundle.script("exec sleep 1000");
    bundle.fails(
        &["create", "--console-socket", "socket", "ID"],
        "no terminal",
    );
    bundle.create(&[]);
    bundle.ok(&["start", "ID"]);
    let status = bundle.detached(&[
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        "socket",
        "ID",
        "sh",
        "-c",
        "tty; exit 3",
    ]);
    assert!(status.success());
    assert!(
        read(take(&listener)).contains("not found"),
        "there is no tty(1) in it"
    );
}

#[test]
fn a_container_in_the_foreground_has_the_callers_terminal() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new("stty size; read line; echo got-$line; exit 5");
    crate::common::add_program(&bundle.path("rootfs"), "stty");
    bundle.config["process"]["terminal"] = json!(true);
    let (screen, mut child) = Screen::with(&mut bundle.oci(&["run", "ID"]));
    eventually("it has the size of the caller's", || screen.shows("33 77"));
    screen.types(b"words\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    eventually("its words are shown", || screen.shows("got-words"));
}

#[test]
fn a_process_in_the_foreground_has_the_callers_terminal() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("exec sleep 1000");
    crate::common::add_program(&bundle.path("rootfs"), "stty");
    bundle.create(&[]);
    bundle.ok(&["start", "ID"]);
    let exec = [
        "exec",
        "--tty",
        "ID",
        "sh",
        "-c",
        "stty size; read line; echo got-$line; exit 6",
    ];
    let (screen, mut child) = Screen::with(&mut bundle.oci(&exec));
    eventually("it has the size of the caller's", || screen.shows("33 77"));
    screen.types(b"words\n");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    eventually("its words are shown", || screen.shows("got-words"));
    // Ctrl-C is a signal inside, not to the command.
    let exec = [
        "exec",
        "-t",
        "ID",
        "sh",
        "-c",
        "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done",
    ];
    let (screen, mut child) = Screen::with(&mut bundle.oci(&exec));
    eventually("it is ready", || screen.shows("ready"));
    screen.types(b"\x03");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
