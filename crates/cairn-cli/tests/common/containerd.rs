//! Debian's containerd, with directories of its own.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::eventually;

/// Configuration without plugins that only tell what they lack.
pub const PLAIN: &str = "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
    \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.zfs\", \
    \"io.containerd.snapshotter.v1.aufs\"]\n";

/// A containerd that runs until it is dropped, and a container `web` that it may have with it.
pub struct Daemon {
    dir: PathBuf,
    child: Child,
    /// The snapshotter of its clients, if it is not the usual one.
    pub snapshotter: Option<&'static str>,
}

impl Daemon {
    /// Starts one in `dir`, with these words at the beginning and at the end of its configuration.
    pub fn start(dir: &Path, first: &str, last: &str) -> Self {
        let at = |name: &str| dir.join(name);
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n{first}\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n{last}",
            at("containerd"),
            at("containerd-state"),
            at("containerd.sock"),
            at("ttrpc.sock"),
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = std::fs::File::create(at("containerd.log")).unwrap();
        let child = Command::new("containerd")
            .arg("-c")
            .arg(at("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self {
            dir: dir.to_owned(),
            child,
            snapshotter: None,
        };
        eventually("containerd answers", || {
            daemon.ctr(&["version"]).status.success()
        });
        daemon
    }

    /// The shim's own state is below a directory that all share.
    pub fn namespace(&self) -> String {
        format!("cairn-test-{}", self.child.id())
    }

    pub fn ctr(&self, args: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command
            .arg("-a")
            .arg(self.dir.join("containerd.sock"))
            .args(["-n", &self.namespace()]);
        if let Some(snapshotter) = self.snapshotter {
            command.env("CONTAINERD_SNAPSHOTTER", snapshotter);
        }
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let log = || std::fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default();
        assert!(
            output.status.success(),
            "ctr {args:?}: {out}{err}\n{}",
            log()
        );
        out.into_owned()
    }
}

impl Drop for Daemon {
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
