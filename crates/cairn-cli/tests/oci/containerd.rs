//! Debian's containerd: its shim for runc drives `cairn oci`.

use std::process::Output;

use crate::common::{add_program, eventually, has, is_root, shell_tree};
use crate::daemon::{Daemon, PLAIN};
use crate::podman::runtime;

/// A containerd with a tree to run and our runtime; it ends before they go.
struct Containerd {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl std::ops::Deref for Containerd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        shell_tree(&tree);
        add_program(&tree, "ps");
        for name in ["proc", "sys", "dev", "run"] {
            std::fs::create_dir_all(tree.join(name)).unwrap();
        }
        runtime(dir.path(), "runc");
        let daemon = Daemon::start(dir.path(), PLAIN, "");
        Self { daemon, dir }
    }

    fn run(&self, args: &[&str], rest: &[&str]) -> Output {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let (binary, tree) = (at("runc"), at("tree"));
        let usual = ["run", "--runc-binary", &binary];
        let rootfs = ["--rootfs", &tree];
        self.ctr(&[&usual[..], args, &rootfs, rest].concat())
    }
}

#[test]
fn containerds_shim_runs_enters_pauses_kills_and_removes_containers() {
    if !is_root() || !has("containerd") || !has("ctr") {
        skip!("needs root and containerd");
    }
    let containerd = Containerd::start();
    let output = containerd.run(&["--rm"], &["first", "sh", "-c", "echo here; exit 6"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
    let output = containerd.run(&["--rm"], &["none", "nosuch"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("executable file not found"),
        "it reads the log: {err}"
    );
    let output = containerd.run(&["-d"], &["web", "sleep", "1000"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status = || {
        let tasks = containerd.ok(&["task", "ls"]);
        let line = tasks
            .lines()
            .find(|line| line.starts_with("web "))
            .unwrap_or_default();
        line.split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(status(), "RUNNING");
    let entered = containerd.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "e",
        "web",
        "sh",
        "-c",
        "ps ax | cat; exit 9",
    ]);
    assert_eq!(entered.status.code(), Some(9));
    assert!(String::from_utf8_lossy(&entered.stdout).contains("sleep 1000"));
    containerd.ok(&["task", "pause", "web"]);
    assert_eq!(status(), "PAUSED");
    containerd.ok(&["task", "resume", "web"]);
    containerd.ok(&["task", "kill", "-s", "KILL", "web"]);
    eventually("it ends", || status() == "STOPPED");
    // Its own exit code is that of the task.
    let _ = containerd.ctr(&["task", "rm", "web"]);
    containerd.ok(&["container", "rm", "web"]);
    assert!(containerd.ok(&["container", "ls", "-q"]).is_empty());
}
