//! Standard streams: never inodes of the host's.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use super::{common, with_any_ids};

const CHANGE: &str = "for fd in 0 1 2; do
    chmod 6777 /proc/self/fd/$fd 2>/dev/null; chown 33:33 /proc/self/fd/$fd 2>/dev/null
done; echo done";

#[test]
fn a_container_cannot_change_what_its_output_goes_to_or_its_input_comes_from() {
    if !common::is_root() {
        skip!("needs root");
    }
    let null = || {
        let meta = std::fs::metadata("/dev/null").unwrap();
        (meta.mode(), meta.uid(), meta.gid())
    };
    let before = null();
    with_any_ids(&[], |bench| {
        bench.plain();
        let file = bench.cairn.path("output");
        let out = std::fs::File::create(&file).unwrap();
        let shape = || {
            let meta = std::fs::metadata(&file).unwrap();
            (meta.mode(), meta.uid(), meta.gid())
        };
        let mode = shape();
        let mut run = bench
            .cairn
            .command(&["run", "--rm", "hostile", "/bin/sh", "-c", CHANGE]);
        run.stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null());
        assert!(run.status().unwrap().success());
        assert_eq!(shape(), mode, "a file that output goes to");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "done\n");
        // In the background, and with input from a file.
        bench.cairn.ok(&[
            "run", "-d", "--name", "bg", "hostile", "/bin/sh", "-c", CHANGE,
        ]);
        common::eventually("the log is written", || {
            bench.cairn.ok(&["logs", "bg"]) == "done\n"
        });
        let input = std::fs::File::open(&file).unwrap();
        let mut run = bench
            .cairn
            .command(&["run", "-i", "--rm", "hostile", "/bin/sh", "-c", CHANGE]);
        assert!(run.stdin(input).output().unwrap().status.success());
        assert_eq!(shape(), mode, "a file that input comes from");
    });
    assert_eq!(null(), before, "the host's /dev/null");
}

/// Nobody listens, or the disk is full: the container's end is its own, and nothing of it stays.
#[test]
fn output_that_goes_nowhere_holds_up_nothing() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = super::Bench::new(super::DRIVERS[0], &[]);
    bench.plain();
    let program = bench.cairn.command(&[]).get_program().to_owned();
    let said = "hostile /bin/sh -c 'echo out; echo err >&2; exit 7'";
    for (words, code) in [
        (format!("run --rm {said} >&-"), 7),
        (format!("run --rm {said} >&- 2>&-"), 7),
        (format!("run --rm {said} > /dev/full"), 7),
        (format!("run -d --name bg {said} >&-"), 0),
        ("exec there /bin/sh -c 'echo out; exit 7' >&-".to_owned(), 7),
    ] {
        if words.starts_with("exec") {
            bench.cairn.ok(&[
                "run",
                "-d",
                "--name",
                "there",
                "hostile",
                "/bin/sleep",
                "1000",
            ]);
        }
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("\"$CAIRN\" {words}"));
        shell
            .env("CAIRN", &program)
            .env("CAIRN_ROOT", bench.cairn.root());
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {err}");
    }
    assert_eq!(bench.cairn.ok(&["wait", "bg"]).trim(), "7");
    bench.cairn.ok(&["rm", "-f", "bg", "there"]);
    assert_eq!(bench.cairn.json(&["ps", "-a"]), serde_json::json!([]));
}

/// moby#31243, moby#6880: /dev/stdout opens for any user. moby#45728: opening it truncates nothing.
#[test]
fn dev_stdout_opens_for_every_user_and_truncates_nothing() {
    if !common::is_root() {
        skip!("needs root");
    }
    with_any_ids(&[], |bench| {
        bench.plain();
        let script = "echo a > /dev/stdout; echo b > /dev/stdout; echo c >> /dev/stderr; echo d > /proc/self/fd/1";
        for user in ["root", "www", "1234:5678"] {
            assert_eq!(bench.sh(&["-u", user], script), "a\nb\nd", "{user}");
            let name = format!("bg-{}", user.replace(':', "-"));
            let run = [
                "run", "-d", "-u", user, "--name", &name, "hostile", "/bin/sh", "-c", script,
            ];
            bench.cairn.ok(&run);
            bench.cairn.ok(&["stop", &name]);
            let log = bench.cairn.output(&["logs", &name]);
            assert_eq!(log.stdout, b"a\nb\nd\n", "{user}");
            assert_eq!(log.stderr, b"c\n", "{user}");
        }
    });
}

#[test]
fn without_i_the_callers_keystrokes_and_terminal_are_its_own() {
    if !common::is_root() || !common::has("script") {
        skip!("needs root and script(1)");
    }
    with_any_ids(&[], |bench| {
        bench.plain();
        let inner = format!(
            "{} --driver {} --root {} run {} --rm hostile /bin/sh -c 'test -t 0 || test -t 1 || echo none; cat; chown 33 /proc/self/fd/1; (: < /dev/tty) 2>/dev/null || echo notty'; stat -L -c %u /proc/self/fd/0",
            env!("CARGO_BIN_EXE_cairn"),
            bench.cairn.driver.unwrap(),
            bench.cairn.root().display(),
            bench.cairn.run.join(" ")
        );
        let mut child = std::process::Command::new("script")
            .args(["-qec", &inner, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"secret\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let lines: Vec<&str> = text.lines().filter(|l| !l.contains("secret")).collect();
        assert_eq!(lines, ["none", "notty", "0"], "{text}");
    });
}
