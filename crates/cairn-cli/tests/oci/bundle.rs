//! A bundle, and the command that runs it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::{add_program, eventually, shell_tree};

/// A bundle and a state directory of its own; whatever runs in it ends with it.
pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub config: Value,
}

/// What runc and podman ask for, without a terminal and a network.
fn usual() -> Value {
    let capabilities = json!([
        "CAP_AUDIT_WRITE",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETUID"
    ]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

impl Bundle {
    /// One whose process runs a script.
    pub fn new(script: &str) -> Self {
        let bundle = Self {
            dir: tempfile::tempdir().unwrap(),
            config: usual(),
        };
        shell_tree(&bundle.path("rootfs"));
        for program in ["grep", "ps"] {
            add_program(&bundle.path("rootfs"), program);
        }
        bundle.script(script)
    }

    pub fn script(mut self, script: &str) -> Self {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A name that no other test uses at the same time: control groups are named by it.
    pub fn id(&self) -> String {
        let name = self
            .dir
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        format!("test{}", name.trim_start_matches('.'))
    }

    /// `cairn oci`, with `ID` for the container's name.
    pub fn oci(&self, args: &[&str]) -> Command {
        std::fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(["oci", "--root"]).arg(self.path("state"));
        let id = self.id();
        command.args(args.iter().map(|arg| if *arg == "ID" { &id } else { *arg }));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.oci(args).output().unwrap()
    }

    /// Runs it, which must work; what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it, which must fail and say these words.
    pub fn fails(&self, args: &[&str], words: &str) {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?} worked");
        assert!(err.contains(words), "{args:?} should say {words:?}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }

    /// Runs the container to its end: what it wrote, and its exit code.
    pub fn run(&self) -> (String, i32) {
        let output = self.output(&["run", "ID"]);
        let err = String::from_utf8_lossy(&output.stderr);
        let text = format!("{}{err}", String::from_utf8_lossy(&output.stdout));
        (text, output.status.code().unwrap_or(-1))
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", "ID"])).unwrap()
    }

    /// Creates a container whose streams are files: nobody waits for pipes that it holds.
    pub fn create(&self, args: &[&str]) {
        let all = [&["create"], args, &["ID"]].concat();
        let status = self.detached(&all);
        let said = std::fs::read_to_string(self.path("err")).unwrap();
        assert!(status.success(), "{all:?}: {said}");
    }

    pub fn detached(&self, args: &[&str]) -> std::process::ExitStatus {
        let file = |name| std::fs::File::create(self.path(name)).unwrap();
        let mut command = self.oci(args);
        command.stdout(file("out")).stderr(file("err"));
        command.status().unwrap()
    }

    /// What the container wrote.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap()
    }

    pub fn becomes(&self, status: &str) {
        eventually(status, || self.state()["status"] == status);
    }

    /// Directories of its control groups that are there.
    pub fn groups(&self) -> Vec<PathBuf> {
        let id = self.id();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = table.lines().filter(|line| line.contains(" - cgroup"));
        roots
            .filter_map(|line| line.split(' ').nth(4))
            .map(|root| PathBuf::from(root).join(format!("cairn-oci-{id}")))
            .filter(|path| path.exists())
            .collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.output(&["delete", "--force", "ID"]);
    }
}
