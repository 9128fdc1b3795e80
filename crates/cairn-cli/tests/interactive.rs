//! `cairn stats --interactive` on a terminal: what it shows is what the command says, what it removes is what was
//! marked, and however it ends, the terminal is as it was.

mod common;
#[path = "common/screen.rs"]
mod screen;

use std::process::{Child, Stdio};

use common::{Cairn, Tar, docker_archive, eventually, noise};
use rustix::process::{Pid, Signal, kill_process};
use screen::Screen;

/// Images that share a layer, with one of a name that would steer a terminal in a file's name.
fn repository() -> Cairn {
    let cairn = Cairn::new();
    let base = Tar::new().file("usr/lib/base", &noise(1, 300_000)).done();
    for n in 0..3_u64 {
        let own = Tar::new()
            .file("app/main", &noise(10 + n, 200_000 + 50_000 * n as usize))
            .file("app/\u{1b}[2Jx", &noise(20 + n, 400_000))
            .done();
        let path = cairn.path("archive.tar");
        let archive = docker_archive(&format!("image:{n}"), &[base.clone(), own], |_| ());
        std::fs::write(&path, archive).unwrap();
        cairn.ok(&["import", path.to_str().unwrap()]);
    }
    cairn
}

fn page(cairn: &Cairn) -> (Screen, Child) {
    let mut command = cairn.command(&["stats", "--interactive"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    let (screen, child) = Screen::with(&mut command);
    eventually("it is drawn", || screen.text().contains("? help"));
    (screen, child)
}

fn ended(child: &mut Child) -> std::process::ExitStatus {
    eventually("it ends", || child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

#[test]
fn what_was_marked_is_removed_and_frees_what_was_said() {
    let cairn = repository();
    let wanted = ["image:0", "image:1", "image:2"];
    let (screen, mut child) = page(&cairn);
    for name in wanted {
        assert!(screen.text().contains(name), "{}", screen.text());
    }
    // The one that frees most is first. Its layers, and their files, which have what the archive had.
    screen.types(b"\r");
    eventually("its layers are there", || screen.text().contains("2. "));
    screen.types(b"\r");
    eventually("the directory is there", || screen.text().contains("app/"));
    screen.types(b"\r");
    eventually("its files are there", || screen.text().contains("main"));
    assert!(screen.text().contains("u{1b}[2Jx"), "{}", screen.text());
    screen.types(b"hhh");
    eventually("the images are back", || screen.text().contains("image:0"));
    screen.types(b"  ");
    eventually("it is counted", || {
        screen.text().contains("2 marked: removal frees")
    });
    let marked = "image:2,image:1";
    let would = cairn.json(&["stats", "--what-if-removed", marked]);
    let size = |bytes: f64| format!("{:.2} MB", bytes / 1e6);
    let frees = size(would["freed_bytes"].as_f64().unwrap());
    assert!(screen.text().contains(&frees), "{frees}: {}", screen.text());
    // No is an answer, too.
    screen.types(b"dn");
    eventually("the question is gone", || !screen.text().contains("goes: "));
    assert_eq!(cairn.image_names().len(), 3);
    screen.types(b"d");
    eventually("it asks", || screen.text().contains("goes: image:1"));
    screen.types(b"y");
    eventually("it is done", || {
        screen.text().contains("2 images were removed.")
    });
    assert!(
        screen.text().contains(&format!("gc freed {frees}")),
        "{}",
        screen.text()
    );
    assert_eq!(cairn.image_names(), ["image:0"]);
    screen.types(b" q");
    assert_eq!(ended(&mut child).code(), Some(0));
    cairn.ok(&["check", "--full"]);
}

#[test]
fn the_terminal_is_given_back_as_it_was_however_the_page_ends() {
    let cairn = repository();
    for keys in [&b"q"[..], b"\x1b", b"\x03"] {
        let (screen, mut child) = page(&cairn);
        assert!(screen.is_elsewhere(), "it has a screen of its own");
        screen.types(keys);
        assert_eq!(ended(&mut child).code(), Some(0), "{keys:?}");
        assert_restored(&screen, keys);
    }
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        use std::os::unix::process::ExitStatusExt;
        let (screen, mut child) = page(&cairn);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = ended(&mut child);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        assert_restored(&screen, signal);
    }
}

fn assert_restored(screen: &Screen, after: impl std::fmt::Debug) {
    eventually(&format!("the screen is back after {after:?}"), || {
        !screen.is_elsewhere()
    });
    eventually("the cursor is back", || screen.shows_cursor());
    let (now, before) = (screen.attributes(), Screen::open().0.attributes());
    assert_eq!(now, before, "{after:?}");
}

#[test]
fn it_fits_a_terminal_that_changes_its_size() {
    let cairn = repository();
    let (screen, mut child) = page(&cairn);
    screen.resize(10, 40);
    eventually("it is drawn on a small one", || {
        let text = screen.text();
        text.lines().count() == 10 && text.contains("image:2") && text.contains("? help")
    });
    screen.resize(50, 160);
    eventually("it is drawn on a large one", || {
        let text = screen.text();
        text.contains("CONTENT") && text.contains("STORED") && text.contains("m measure")
    });
    screen.types(b"q");
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn colours_are_left_out_on_request() {
    let cairn = repository();
    for (value, expected) in [("", true), ("1", false)] {
        let mut command = cairn.command(&["stats", "-i"]);
        command.env("TERM", "xterm").env("NO_COLOR", value);
        let (screen, mut child) = Screen::with(&mut command);
        eventually("it is drawn", || screen.text().contains("? help"));
        screen.types(b"q");
        assert_eq!(ended(&mut child).code(), Some(0));
        let is_coloured = screen.shows("\x1b[38;5;6");
        assert_eq!(is_coloured, expected, "NO_COLOR={value:?}");
    }
}

#[test]
fn without_a_terminal_or_a_repository_it_says_so_and_draws_nothing() {
    let cairn = repository();
    let mut command = cairn.command(&["stats", "--interactive"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("terminal") && output.stdout.is_empty(),
        "{said}"
    );
    cairn.fails(&["--json", "stats", "--interactive"], 2, "--json stats");
    cairn.fails(&["stats", "--interactive", "--by", "path"], 2, "");
    for (term, root, code, words) in [
        ("dumb", cairn.root(), 2, "TERM"),
        ("xterm", cairn.path("nothing"), 1, "nothing"),
    ] {
        let mut command = cairn.command(&["stats", "--interactive"]);
        command.arg("--root").arg(root).env("TERM", term);
        let (screen, mut child) = Screen::with(&mut command);
        assert_eq!(ended(&mut child).code(), Some(code));
        eventually("it says why", || screen.shows(words));
        assert!(!screen.shows("\x1b[?1049h"));
    }
}
