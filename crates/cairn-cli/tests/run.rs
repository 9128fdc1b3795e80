//! Containers: from image document to process and back to an image.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Cairn, Tar, docker_archive, is_root, shell_tree};
use serde_json::json;

/// A repository with the image `shell`: programs of this machine and a document.
fn shell() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    shell_tree(&tree);
    std::fs::create_dir_all(tree.join("data/inner")).unwrap();
    std::fs::write(tree.join("data/inner/seed"), "seeded").unwrap();
    cairn.import_dir(&tree, "plain");
    cairn.ok(&[
        "export",
        "plain",
        "--format",
        "tar",
        "-o",
        cairn.path("root.tar").to_str().unwrap(),
    ]);
    let layer = std::fs::read(cairn.path("root.tar")).unwrap();
    let archive = docker_archive("shell", &[layer], |config| {
        config["config"] = json!({
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "echo default $FROM_IMAGE $PWD"],
            "WorkingDir": "/work/dir", "Volumes": {"/data": {}}, "Custom": "kept",
        });
    });
    std::fs::write(cairn.path("shell.tar"), archive).unwrap();
    cairn.ok(&["import", cairn.path("shell.tar").to_str().unwrap()]);
    cairn
}

fn sh(cairn: &Cairn, options: &[&str], script: &str) -> String {
    cairn
        .ok(&[&["run", "--rm"], options, &["shell", "-c", script]].concat())
        .trim_end()
        .to_owned()
}

#[test]
fn the_document_becomes_the_process() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    assert_eq!(
        cairn.ok(&["run", "--rm", "shell"]),
        "default yes /work/dir\n"
    );
    assert_eq!(sh(&cairn, &[], "echo $0 $1"), "/bin/sh");
    assert_eq!(
        cairn
            .ok(&[
                "run",
                "--rm",
                "--entrypoint",
                "/bin/cat",
                "shell",
                "/etc/group"
            ])
            .lines()
            .count(),
        3
    );
    assert_eq!(
        sh(
            &cairn,
            &["-e", "A=1", "-e", "FROM_IMAGE=no"],
            "echo $A $FROM_IMAGE $HOME"
        ),
        "1 no /root"
    );
    std::fs::write(cairn.path("env"), "# comment\nB=two words\n").unwrap();
    assert_eq!(
        sh(
            &cairn,
            &["--env-file", cairn.path("env").to_str().unwrap()],
            "echo $B"
        ),
        "two words"
    );
    assert_eq!(sh(&cairn, &["-w", "/tmp/new/dir"], "pwd"), "/tmp/new/dir");
    assert_eq!(sh(&cairn, &["-w", "/a/../../tmp//."], "pwd"), "/tmp");
    cairn.fails(&["run", "--rm", "-w", "relative", "shell"], 2, "absolute");
    cairn.fails(&["run", "--rm", "-e", "=x", "shell"], 2, "no name");
    assert_eq!(
        sh(&cairn, &["-u", "www"], "id -u; id -G; echo $HOME"),
        "33\n33 44\n/srv"
    );
    assert_eq!(
        sh(&cairn, &["-u", "1234:5678"], "echo $(id -u) $(id -g)"),
        "1234 5678"
    );
    assert_eq!(
        sh(
            &cairn,
            &["--hostname", "box"],
            "cat /proc/sys/kernel/hostname /etc/hostname; echo $HOSTNAME"
        ),
        "box\nbox\nbox"
    );
    cairn.fails(&["run", "--rm", "-u", "nobody", "shell"], 125, "no user");
    assert_eq!(
        cairn.json(&["ps", "-a"]),
        json!([]),
        "--rm removes, also after failures"
    );
}

#[test]
fn exit_codes_and_signals_are_passed_on() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let code = |args: &[&str]| {
        cairn
            .output(&[&["run", "--rm"], args].concat())
            .status
            .code()
    };
    assert_eq!(code(&["shell", "-c", "exit 7"]), Some(7));
    assert_eq!(
        code(&["shell", "-c", "kill -KILL $$; sleep 1; exit 3"]),
        Some(3),
        "process 1 is not killed from inside"
    );
    assert_eq!(code(&["--entrypoint", "/nonexistent", "shell"]), Some(127));
    assert_eq!(code(&["--entrypoint", "nonexistent", "shell"]), Some(127));
    assert_eq!(code(&["--entrypoint", "/etc/passwd", "shell"]), Some(126));
    assert_eq!(code(&["--bogus"]), Some(2));
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while true; do sleep 0.05; done";
    let mut child = cairn
        .command(&["run", "--rm", "shell", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn input_goes_in_and_an_init_passes_signals_and_reaps() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let mut child = cairn
        .command(&["run", "-i", "--rm", "shell", "-c", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through\n");
    assert_eq!(sh(&cairn, &["--init"], "(sleep 0.1 &); echo $$"), "2");
    let script = "trap 'exit 6' TERM; echo ready; while true; do sleep 0.05; done";
    let mut child = cairn
        .command(&["run", "--init", "--rm", "shell", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn the_container_is_shut_in() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&cairn.root().metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "nobody else walks into the repository");
    assert_eq!(sh(&cairn, &[], "echo $$"), "1");
    let status = sh(&cairn, &[], "cat /proc/self/status");
    for line in [
        "CapEff:\t00000000a80405fb",
        "CapBnd:\t00000000a80405fb",
        "CapInh:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(
        sh(&cairn, &["-u", "www"], "cat /proc/self/status").contains("CapEff:\t0000000000000000")
    );
    let mounts = sh(&cairn, &[], "cat /proc/mounts");
    assert!(
        !mounts.contains(" /repository") && mounts.lines().all(|l| !l.contains("/var/lib")),
        "{mounts}"
    );
    assert_eq!(
        sh(
            &cairn,
            &[],
            "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null; echo end"
        ),
        "end"
    );
    assert_eq!(
        sh(
            &cairn,
            &[],
            "(echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo refused"
        ),
        "refused"
    );
    assert_eq!(
        sh(
            &cairn,
            &[],
            "(echo x > /sys/kernel/mm/ksm/run) 2>/dev/null || echo refused"
        ),
        "refused"
    );
    assert_eq!(
        sh(
            &cairn,
            &[],
            "(mount -t tmpfs x /tmp) 2>/dev/null || echo refused"
        ),
        "refused"
    );
    assert_eq!(
        sh(&cairn, &[], "ls /dev | cat").split_whitespace().count(),
        15
    );
    assert_eq!(
        sh(&cairn, &[], "ls /proc/self/fd | cat")
            .split_whitespace()
            .count(),
        4,
        "no descriptor leaks in"
    );
    assert_eq!(
        sh(&cairn, &["--network", "none"], "cat /proc/net/dev")
            .lines()
            .count(),
        3,
        "loopback only"
    );
    assert_eq!(
        sh(
            &cairn,
            &["--read-only"],
            "(echo x > /new) 2>/dev/null || echo refused; echo y > /dev/shm/f && echo ok"
        ),
        "refused\nok"
    );
    assert_eq!(
        sh(
            &cairn,
            &["--tmpfs", "/scratch:size=1m"],
            "echo x > /scratch/f; stat -f -c %T /scratch"
        ),
        "tmpfs"
    );
}

#[test]
fn volumes_are_bound_and_declared_ones_are_seeded() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let host = cairn.path("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), "from host").unwrap();
    let bind = format!("{}:/mnt/here", host.display());
    assert_eq!(
        sh(
            &cairn,
            &["-v", &bind],
            "cat /mnt/here/f; echo changed > /mnt/here/f"
        ),
        "from host"
    );
    assert_eq!(
        std::fs::read_to_string(host.join("f")).unwrap(),
        "changed\n"
    );
    assert_eq!(
        sh(
            &cairn,
            &["-v", &format!("{bind}:ro")],
            "(echo no > /mnt/here/f) 2>/dev/null || echo refused"
        ),
        "refused"
    );
    let file = format!("{}:/etc/one", host.join("f").display());
    assert_eq!(sh(&cairn, &["-v", &file], "cat /etc/one"), "changed");
    cairn.ok(&[
        "run",
        "--name",
        "vol",
        "shell",
        "-c",
        "cat /data/inner/seed; echo more > /data/inner/seed",
    ]);
    let diff = cairn.json(&["snapshot", "diff", "container/vol"]);
    assert_eq!(diff, json!([]), "a volume is no part of the image");
    cairn.fails(
        &["run", "--rm", "-v", "./relative:/x", "shell"],
        125,
        "relative",
    );
    cairn.fails(
        &[
            "run",
            "--rm",
            "-v",
            &format!("{}:/etc/passwd", host.display()),
            "shell",
        ],
        125,
        "not a directory",
    );
}

#[test]
fn the_upper_holds_what_the_process_changed_and_nothing_else() {
    if !is_root() {
        skip!("needs root");
    }
    for driver in ["erofs", "overlay", "copy"] {
        let mut cairn = shell();
        cairn.driver = Some(driver);
        cairn.ok(&[
            "run",
            "--name",
            "idle",
            "--tmpfs",
            "/a/b",
            "shell",
            "-c",
            "cat /etc/hosts",
        ]);
        assert_eq!(
            cairn.json(&["snapshot", "diff", "container/idle"]),
            json!([]),
            "{driver}"
        );
        cairn.ok(&["commit", "idle", "idle:1"]);
        let layers = cairn.json(&["inspect", "idle:1"])["layers"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(
            (layers.len(), &layers[1]["entries"]),
            (2, &json!(0)),
            "{driver}"
        );
    }
}

#[test]
fn a_changed_container_becomes_an_image_that_runs() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&[
        "run",
        "--name",
        "work",
        "shell",
        "-c",
        "echo new > /added; rm /etc/group; chmod 600 /etc/passwd",
    ]);
    cairn.ok(&[
        "commit",
        "work",
        "next:1",
        "-m",
        "why",
        "--change",
        "CMD [\"-c\", \"cat /added\"]",
        "--change",
        "ENV X=1",
    ]);
    assert_eq!(cairn.ok(&["run", "--rm", "next:1"]), "new\n");
    assert_eq!(
        cairn.ok(&[
            "run",
            "--rm",
            "next:1",
            "-c",
            "echo $X $FROM_IMAGE; ls /etc/group 2>/dev/null; stat -c %a /etc/passwd"
        ]),
        "1 yes\n600\n"
    );
    let config = cairn.json(&["inspect", "next:1"])["config"].clone();
    assert_eq!(
        (&config["config"]["Custom"], &config["custom"]),
        (&json!("kept"), &json!({"kept": [1, 2.5]}))
    );
    let history = cairn.json(&["history", "next:1"]);
    assert_eq!(
        history.as_array().unwrap().last().unwrap()["comment"],
        "why"
    );
    // Out, away, and in again: the same image.
    let file = cairn.path("next.tar");
    cairn.ok(&["export", "next:1", "-o", file.to_str().unwrap()]);
    let digest = cairn.json(&["inspect", "next:1"])["digest"].clone();
    cairn.ok(&["rmi", "next:1"]);
    cairn.ok(&["gc"]);
    cairn.ok(&["import", file.to_str().unwrap()]);
    assert_eq!(cairn.json(&["inspect", "next:1"])["id"], digest);
    cairn.fails(&["rmi", "shell"], 1, "cairn rm work");
    cairn.ok(&["rm", "work"]);
    cairn.ok(&["rmi", "shell"]);
}

#[test]
fn background_containers_are_watched_stopped_frozen_and_removed() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let script = "trap 'exit 4' TERM; echo started; i=0; while true; do i=$((i+1)); echo $i > /t; mv /t /a; echo $i > /t; mv /t /b; done";
    assert_eq!(
        cairn.ok(&["run", "-d", "--name", "bg", "shell", "-c", script]),
        "bg\n"
    );
    assert_eq!(cairn.json(&["ps"])[0]["status"], "running");
    cairn.fails(
        &["run", "-d", "--name", "bg", "shell"],
        125,
        "already exists",
    );
    cairn.fails(&["rm", "bg"], 1, "cairn stop bg");
    cairn.fails(&["snapshot", "rm", "container/bg"], 1, "cairn rm bg");
    cairn.fails(
        &["snapshot", "commit", "x", "container/bg"],
        1,
        "cairn rm bg",
    );
    let start = Instant::now();
    while !cairn.ok(&["logs", "bg"]).contains("started") {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    for i in 0..5 {
        let name = format!("live:{i}");
        cairn.ok(&["commit", "bg", &name]);
        let pair = cairn.ok(&["run", "--rm", &name, "-c", "cat /a; cat /b || echo 0"]);
        let numbers: Vec<i64> = pair.lines().map(|l| l.parse().unwrap_or(0)).collect();
        assert!(
            (0..=1).contains(&(numbers[0] - numbers[1])),
            "a moment, not a smear: {pair:?}"
        );
    }
    cairn.ok(&["stop", "bg"]);
    let container = cairn.json(&["ps", "-a"])[0].clone();
    assert_eq!(
        (&container["status"], &container["exit_code"]),
        (&json!("exited"), &json!(4))
    );
    cairn.ok(&["run", "-d", "--name", "bg2", "shell", "-c", "sleep 1000"]);
    cairn.ok(&["rm", "-f", "bg2"]);
    assert_eq!(
        cairn
            .fails(
                &["run", "-d", "--entrypoint", "/none", "shell"],
                127,
                "not found"
            )
            .lines()
            .count(),
        1
    );
    let left: Vec<_> = std::fs::read_dir("/sys/fs/cgroup/unified")
        .or_else(|_| std::fs::read_dir("/sys/fs/cgroup"))
        .unwrap()
        .flatten()
        .collect();
    let ids: Vec<String> = cairn
        .json(&["ps", "-a"])
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        left.iter().all(|e| ids
            .iter()
            .all(|id| !e.file_name().to_string_lossy().contains(id))),
        "cgroups are removed"
    );
}

#[test]
fn a_terminal_is_a_terminal() {
    if !is_root() || !common::has("script") {
        skip!("needs root and script(1)");
    }
    let cairn = shell();
    let inner = format!(
        "{} --root {} run -it --rm shell -c 'test -t 0 && test -t 1 && echo both; ls -l /dev/console; exit 5'",
        env!("CARGO_BIN_EXE_cairn"),
        cairn.root().display()
    );
    let output = std::process::Command::new("script")
        .args(["-qec", &inner, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("both\r\n") && text.contains(" 136, "),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(5));
}

/// Links where a runtime mounts and writes: everything has to stay inside.
#[test]
fn a_hostile_image_stays_inside() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let victim = cairn.path("victim");
    std::fs::create_dir(&victim).unwrap();
    let place = victim.to_str().unwrap();
    let layer = |tar: Tar| {
        let base = std::fs::read(cairn.path("root.tar")).unwrap();
        docker_archive("hostile", &[base, tar.done()], |c| {
            c["config"] = json!({"Cmd": ["/bin/sh", "-c", "echo ran"]})
        })
    };
    let sym = tar::EntryType::Symlink;
    let cases = [
        Tar::new()
            .link("etc/hosts", &format!("{place}/hosts"), sym)
            .link("etc/resolv.conf", "../../../../../../etc/shadow", sym),
        Tar::new().link("proc", place, sym),
        Tar::new().link("sys", "/proc/1/root", sym),
        Tar::new().link("dev", place, sym),
        Tar::new().link("etc/passwd", "/proc/1/environ", sym),
        Tar::new().file("etc/.wh.passwd", b"").link("etc", "/", sym),
    ];
    for (i, tar) in cases.into_iter().enumerate() {
        std::fs::write(cairn.path("h.tar"), layer(tar)).unwrap();
        cairn.ok(&["import", cairn.path("h.tar").to_str().unwrap()]);
        let output = cairn.output(&["run", "--rm", "hostile"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("panicked"), "{i}: {err}");
        assert!(
            output.status.code() == Some(0) || err.starts_with("cairn: "),
            "{i}: {err}"
        );
        assert_eq!(
            std::fs::read_dir(&victim).unwrap().count(),
            0,
            "case {i} reached the host"
        );
        cairn.ok(&["rmi", "hostile"]);
    }
}

#[test]
fn a_user_without_privilege_can_run_too() {
    if !is_root() {
        skip!("is started by root, as nobody");
    }
    let cairn = shell();
    let home = tempfile::Builder::new()
        .prefix("nobody-")
        .tempdir_in("/tmp")
        .unwrap();
    let program = home.path().join("cairn");
    std::fs::copy(env!("CARGO_BIN_EXE_cairn"), &program).unwrap();
    std::fs::copy(cairn.path("shell.tar"), home.path().join("shell.tar")).unwrap();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        std::os::unix::process::CommandExt::uid(&mut command, 65534)
            .args(args)
            .env("HOME", home.path())
            .env_remove("CAIRN_ROOT")
            .current_dir(home.path());
        std::os::unix::process::CommandExt::gid(&mut command, 65534);
        let output = command.env_remove("XDG_DATA_HOME").output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(run(&["import", "shell.tar"]).0, Some(0));
    let (code, out, err) = run(&[
        "run",
        "--name",
        "c",
        "shell",
        "-c",
        "id -u; echo mine > /new; cat /data/inner/seed",
    ]);
    if err.contains("user namespace") {
        skip!("this kernel allows no user namespaces to others: {err}");
    }
    assert_eq!((code, out.as_str()), (Some(0), "0\nseeded"), "{err}");
    assert_eq!(
        run(&["snapshot", "diff", "container/c"]).1,
        "C /  (mtime)\nA /new\n"
    );
    assert_eq!(run(&["commit", "c", "c:1"]).0, Some(0));
    assert_eq!(run(&["run", "--rm", "c:1", "-c", "cat /new"]).1, "mine\n");
}

#[test]
fn neither_devices_nor_the_callers_terminal_nor_its_environment_are_within_reach() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    common::shell_tree(&tree);
    // /dev/kmsg for everybody: on a mount that honoured it, anybody could write to the host's log.
    let node = std::process::Command::new("mknod")
        .args([
            "-m",
            "666",
            tree.join("kmsg").to_str().unwrap(),
            "c",
            "1",
            "11",
        ])
        .status()
        .unwrap();
    assert!(node.success());
    cairn.import_dir(&tree, "shell");
    let said = |script: &str| -> String {
        let run = ["run", "--rm", "shell", "/bin/sh", "-c", script];
        cairn.ok(&run).trim().to_owned()
    };
    let script = "stat /kmsg >/dev/null && ! (: < /kmsg) 2>/dev/null && echo shut";
    assert_eq!(said(script), "shut");
    let null = || std::os::unix::fs::MetadataExt::mode(&std::fs::metadata("/dev/null").unwrap());
    let before = null();
    let script = "for f in /proc/keys /proc/timer_list; do [ ! -e $f ] || ! chmod 644 $f 2>/dev/null || echo open; done; echo done";
    assert_eq!(said(script), "done");
    assert_eq!(null(), before, "the host's /dev/null is nobody's to change");
    assert_eq!(said("(: < /dev/tty) 2>/dev/null || echo none"), "none");
    let mut run = cairn.command(&[
        "run",
        "--rm",
        "--init",
        "shell",
        "/bin/sh",
        "-c",
        "cat /proc/1/environ; ls /proc/1/fd",
    ]);
    let output = run.env("MYSECRET", "x").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains("MYSECRET"), "{shown}");
    assert_eq!(
        shown.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
}
