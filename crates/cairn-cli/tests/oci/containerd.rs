//! Debian's containerd: its shim for runc drives `cairn oci`.

use std::process::{Child, Command, Output, Stdio};

use crate::common::{add_program, eventually, has, is_root, shell_tree};
use crate::podman::runtime;

/// A containerd with directories of its own.
struct Containerd {
    dir: tempfile::TempDir,
    child: Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let tree = at("tree");
        shell_tree(&tree);
        add_program(&tree, "ps");
        for name in ["proc", "sys", "dev", "run"] {
            std::fs::create_dir_all(tree.join(name)).unwrap();
        }
        runtime(dir.path(), "runc");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
             \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
             \"io.containerd.snapshotter.v1.aufs\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket"),
            at("ttrpc"),
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let child = Command::new("containerd")
            .arg("-c")
            .arg(at("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self { dir, child };
        eventually("containerd answers", || {
            containerd.ctr(&["version"]).status.success()
        });
        containerd
    }

    fn ctr(&self, args: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command
            .arg("-a")
            .arg(self.dir.path().join("socket"))
            .args(["-n", &self.namespace()]);
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The shim's own state is below a directory that all share.
    fn namespace(&self) -> String {
        format!("cairn-test-{}", self.child.id())
    }

    fn run(&self, args: &[&str], rest: &[&str]) -> Output {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let (binary, tree) = (at("runc"), at("tree"));
        let usual = ["run", "--runc-binary", &binary];
        let rootfs = ["--rootfs", &tree];
        self.ctr(&[&usual[..], args, &rootfs, rest].concat())
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {args:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.ctr(&["task", "kill", "-s", "KILL", "web"]);
        let _ = self.ctr(&["task", "rm", "-f", "web"]);
        let _ = self.ctr(&["container", "rm", "web"]);
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir(format!("/run/containerd/runc/{}", self.namespace()));
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
