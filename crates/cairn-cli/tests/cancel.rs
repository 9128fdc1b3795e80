//! Ctrl-C and its like: at any moment of any long command, and where a command would wait for ever.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::*;
use rustix::process::{Pid, Signal, kill_process};

/// Moments that differ from run to run; the seed is in every message.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Self(u64::from(now.subsec_nanos()) << 16 | u64::from(std::process::id()) | 1)
    }

    /// A part of `whole`.
    fn within(&mut self, whole: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        whole.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

fn send(child: &Child, signal: Signal) {
    // It may have ended, but it was not waited for, so the number is still its own.
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn start(cairn: &Cairn, args: &[&str]) -> Child {
    let mut command = cairn.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the command takes signals for itself.
fn until_listening(child: &Child) {
    let blocks = |status: String| {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        Some(mask >> (Signal::INT.as_raw() - 1) & 1 == 1)
    };
    let status = format!("/proc/{}/status", child.id());
    while std::fs::read_to_string(&status).ok().and_then(blocks) != Some(true) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn died_of(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal.as_raw())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A directory with large files and many small ones.
fn fill(directory: &Path, seed: u64) {
    for i in 0..6 {
        std::fs::create_dir_all(directory.join(i.to_string())).unwrap();
        let place = directory.join(i.to_string());
        std::fs::write(place.join("large"), noise(seed + i, 1_500_000)).unwrap();
        for j in 0..60 {
            std::fs::write(place.join(j.to_string()), noise(seed + i + j, 300)).unwrap();
        }
    }
}

/// A repository with an image, a changed snapshot and something dead.
fn prepared() -> Cairn {
    let mut cairn = Cairn::new();
    cairn.driver = Some("copy");
    fill(&cairn.path("base"), 1);
    fill(&cairn.path("dead"), 500);
    cairn.import_dir(&cairn.path("dead"), "dead:1");
    cairn.import_dir(&cairn.path("base"), "base:1");
    cairn.ok(&["rmi", "dead:1"]);
    cairn.ok(&[
        "export",
        "base:1",
        "-o",
        cairn.path("a.tar").to_str().unwrap(),
    ]);
    std::fs::create_dir(cairn.path("out")).unwrap();
    cairn
}

/// Ends the command `rounds` times at a moment of its run, and says what must be so afterwards.
fn interrupt(cairn: &Cairn, args: &[&str], rounds: u32, moments: &mut Moments) {
    let out = cairn.path("out");
    let empty = || {
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir(&out).unwrap();
    };
    empty();
    let begin = Instant::now();
    let done = cairn.output(args);
    let whole = begin.elapsed();
    assert!(done.status.success(), "{args:?}: {done:?}");
    for round in 0..rounds {
        empty();
        let signal = [Signal::INT, Signal::TERM][round as usize % 2];
        let after = moments.within(whole);
        let child = start(cairn, args);
        std::thread::sleep(after);
        send(&child, signal);
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        let what = format!("{args:?} after {after:?} of {whole:?}: {said}");
        assert!(!said.contains("panicked"), "{what}");
        if done.status.success() {
            continue;
        }
        assert!(died_of(done.status, signal), "{:?} {what}", done.status);
        // Nothing is left outside of the repository that nobody names.
        let left = names(&out);
        assert!(
            left.is_empty() || said.contains("is incomplete"),
            "{left:?} {what}"
        );
    }
}

/// Whatever was interrupted, the repository is sound, and a collection finds all that was left.
fn assert_clean(cairn: &Cairn) {
    cairn.ok(&["check"]);
    cairn.ok(&["gc"]);
    assert_eq!(names(&cairn.root().join("tmp")), Vec::<String>::new());
    assert_eq!(names(&cairn.root().join("leases")), Vec::<String>::new());
    cairn.ok(&["check"]);
}

#[test]
fn an_import_can_be_interrupted_at_any_moment() {
    let cairn = prepared();
    let mut moments = Moments::new();
    let (base, archive) = (cairn.path("base"), cairn.path("a.tar"));
    let (base, archive) = (base.to_str().unwrap(), archive.to_str().unwrap());
    interrupt(
        &cairn,
        &["import", "--read-all", base, "--name", "again:1"],
        4,
        &mut moments,
    );
    interrupt(&cairn, &["import", "--read-all", archive], 4, &mut moments);
    assert_clean(&cairn);
}

#[test]
fn an_export_can_be_interrupted_at_any_moment_in_every_format() {
    let cairn = prepared();
    let mut moments = Moments::new();
    let out = cairn.path("out").join("new");
    let out = out.to_str().unwrap();
    for format in ["docker", "oci", "oci-archive", "tar", "dir"] {
        interrupt(
            &cairn,
            &["export", "base:1", "--format", format, "-o", out],
            3,
            &mut moments,
        );
    }
    assert_clean(&cairn);
}

#[test]
fn housekeeping_can_be_interrupted_at_any_moment() {
    let cairn = prepared();
    let mut moments = Moments::new();
    let copy = cairn.path("copy");
    let copy = copy.to_str().unwrap();
    for args in [
        &["check"][..],
        &["stats"],
        &["backup", copy],
        &["check", "--repair"],
        &["gc", "--all"],
    ] {
        interrupt(&cairn, args, 3, &mut moments);
    }
    assert_clean(&cairn);
    // A backup that was cut off is the one before, or the new one.
    let mut backup = Cairn::new();
    backup.driver = cairn.driver;
    std::fs::rename(copy, backup.root()).unwrap();
    backup.ok(&["check"]);
}

#[test]
fn a_snapshot_can_be_interrupted_at_any_moment() {
    let cairn = prepared();
    let mut moments = Moments::new();
    let image = cairn.json(&["inspect", "base:1"]);
    let top = image["top_snapshot"].as_str().unwrap();
    for round in 0..4 {
        let key = format!("work{round}");
        let child = start(&cairn, &["snapshot", "prepare", &key, top]);
        std::thread::sleep(moments.within(Duration::from_millis(400)));
        send(&child, Signal::INT);
        let done = child.wait_with_output().unwrap();
        assert!(
            done.status.success() || died_of(done.status, Signal::INT),
            "{done:?}"
        );
    }
    assert_clean(&cairn);
}

#[test]
fn a_command_that_would_wait_for_ever_ends() {
    let cairn = prepared();
    // For a pipe that nobody writes to.
    let mut child = start(&cairn, &["import", "-"]);
    let input = child.stdin.take();
    until_listening(&child);
    std::thread::sleep(Duration::from_millis(200));
    send(&child, Signal::INT);
    assert!(died_of(child.wait().unwrap(), Signal::INT));
    drop(input);
    // For a pipe that nobody reads.
    let mut child = start(&cairn, &["export", "base:1", "-o", "-"]);
    until_listening(&child);
    std::thread::sleep(Duration::from_millis(500));
    send(&child, Signal::TERM);
    assert!(died_of(child.wait().unwrap(), Signal::TERM));
    // For the repository lock.
    let lock = std::fs::File::open(cairn.root().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut child = start(&cairn, &["stats"]);
    until_listening(&child);
    std::thread::sleep(Duration::from_millis(200));
    send(&child, Signal::INT);
    assert!(died_of(child.wait().unwrap(), Signal::INT));
    drop(lock);
    assert_clean(&cairn);
}

#[test]
fn a_second_signal_ends_a_command_at_once() {
    let cairn = prepared();
    let mut child = start(&cairn, &["import", "-"]);
    let input = child.stdin.take();
    until_listening(&child);
    // Both are there before either is seen, and the lower number is the first.
    send(&child, Signal::STOP);
    send(&child, Signal::INT);
    send(&child, Signal::TERM);
    send(&child, Signal::CONT);
    assert!(died_of(child.wait().unwrap(), Signal::TERM));
    drop(input);
    assert_clean(&cairn);
}

#[test]
fn what_whoever_started_a_command_has_it_ignore_stays_ignored() {
    let cairn = prepared();
    let command = cairn.command(&["check"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "trap '' INT; exec \"$@\"", "sh"])
        .args(words);
    let mut child = shell.stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        // The shell itself may still be there; it ignores the signal after its first word.
        if std::fs::read_to_string(format!("/proc/{}/comm", child.id()))
            .is_ok_and(|name| name.trim() == "cairn")
        {
            send(&child, Signal::INT);
        }
    }
    assert!(child.wait().unwrap().success());
}
