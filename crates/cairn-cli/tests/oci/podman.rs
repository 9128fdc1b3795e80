//! Debian's podman with `cairn oci` for its runtime.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::common::{add_program, eventually, has, is_root, shell_tree, tar_of};

/// Podman with directories of its own, and the image `shell`.
struct Podman {
    dir: tempfile::TempDir,
}

/// A program that is named as a runtime and runs `cairn oci`.
pub fn runtime(dir: &std::path::Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let text = format!(
        "#!/bin/sh\nexec {} oci \"$@\"\n",
        env!("CARGO_BIN_EXE_cairn")
    );
    std::fs::write(&path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    path
}

impl Podman {
    fn new() -> Self {
        let podman = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let tree = podman.dir.path().join("tree");
        shell_tree(&tree);
        add_program(&tree, "ps");
        runtime(podman.dir.path(), "cairn-oci");
        let tar = podman.dir.path().join("tree.tar");
        std::fs::write(&tar, tar_of(&tree)).unwrap();
        podman.ok(&["import", tar.to_str().unwrap(), "shell:1"]);
        podman
    }

    fn output(&self, args: &[&str]) -> Output {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"));
        command
            .arg("--tmpdir")
            .arg(at("tmp"))
            .arg("--runtime")
            .arg(at("cairn-oci"));
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]);
        command.args(args).stdin(std::process::Stdio::null());
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {args:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        // Raising limits takes a capability that the machine may not have.
        let usual = [
            "run",
            "--network=none",
            "--ulimit=nofile=1024:2048",
            "--ulimit=nproc=1000:1000",
        ];
        self.output(&[&usual[..], args].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.output(&["rm", "-af", "-t", "0"]);
        let _ = self.output(&["rmi", "-af"]);
    }
}

#[test]
fn podman_runs_enters_pauses_stops_and_removes_containers() {
    if !is_root() || !has("podman") {
        skip!("needs root and podman");
    }
    let podman = Podman::new();
    let output = podman.run(&[
        "--rm",
        "-v",
        "/usr:/host:ro",
        "-e",
        "A=b",
        "shell:1",
        "sh",
        "-c",
        "echo $A; ls /host | cat; exit 3",
    ]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("b\nbin\n"));
    for (program, code) in [("nosuch", 127), ("/etc/passwd", 126)] {
        assert_eq!(
            podman.run(&["--rm", "shell:1", program]).status.code(),
            Some(code),
            "{program}"
        );
    }
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let started = podman.run(&["-d", "--name", "web", "shell:1", "sh", "-c", script]);
    assert!(
        started.status.success(),
        "{}",
        String::from_utf8_lossy(&started.stderr)
    );
    eventually("it is up", || podman.ok(&["logs", "web"]) == "up\n");
    let status = || {
        podman
            .ok(&["inspect", "-f", "{{.State.Status}}", "web"])
            .trim()
            .to_owned()
    };
    assert_eq!(status(), "running");
    let entered = podman.output(&["exec", "web", "sh", "-c", "ps ax | cat; exit 4"]);
    assert_eq!(entered.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&entered.stdout).contains("trap"));
    let terminal = podman.output(&["exec", "-t", "web", "readlink", "/proc/self/fd/0"]);
    assert!(String::from_utf8_lossy(&terminal.stdout).contains("/dev/pts/0"));
    podman.ok(&["pause", "web"]);
    assert_eq!(status(), "paused");
    podman.ok(&["unpause", "web"]);
    assert!(podman.ok(&["top", "web"]).contains("trap"));
    podman.ok(&["stop", "-t", "20", "web"]);
    assert_eq!(status(), "exited");
    assert_eq!(podman.ok(&["logs", "web"]), "up\nbye\n");
    podman.ok(&["start", "web"]);
    eventually("it is up again", || {
        podman.ok(&["logs", "web"]) == "up\nbye\nup\n"
    });
    podman.ok(&["rm", "-f", "-t", "0", "web"]);
    assert!(podman.ok(&["ps", "-aq"]).is_empty());
}
