//! An ordinary user, as whom commands are run: whoever runs the tests, or for root one that exists in a mount
//! namespace only.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::common;

/// The user's id, which nobody has.
pub const UID: u32 = 61_234;
/// Their subordinate ids, beyond those that are given out to containers.
const SUBORDINATE: &str = "61234:2000000000:65536\n";

/// Which ids there are for the user's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    One,
    Subordinate,
}

pub struct User {
    dir: tempfile::TempDir,
    ids: Ids,
    /// Where programs are looked for.
    pub search: String,
    /// A command of a shell that root runs in the mount namespace first.
    pub first: String,
}

impl User {
    /// The user, if this machine can have one.
    pub fn new(ids: Ids) -> Option<Self> {
        let user = Self {
            dir: tempfile::tempdir().unwrap(),
            ids,
            search: "/usr/sbin:/usr/bin:/sbin:/bin".into(),
            first: String::new(),
        };
        let program = user.path("cairn");
        let own = Path::new(env!("CARGO_BIN_EXE_cairn"));
        if std::fs::hard_link(own, &program).is_err() {
            std::fs::copy(own, &program).unwrap();
        }
        for name in ["home", "runtime"] {
            std::fs::create_dir(user.path(name)).unwrap();
            std::fs::set_permissions(user.path(name), PermissionsExt::from_mode(0o700)).unwrap();
        }
        if !common::is_root() {
            return (ids == Ids::One).then_some(user);
        }
        if ids == Ids::Subordinate && !common::has("newuidmap") {
            return None;
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = format!("cairn-test:x:{UID}:{UID}::/:/bin/sh\n");
        std::fs::write(user.path("passwd"), passwd + &line).unwrap();
        let text = if ids == Ids::Subordinate {
            SUBORDINATE
        } else {
            ""
        };
        std::fs::write(user.path("subordinate"), text).unwrap();
        for path in [".", "home", "runtime"] {
            std::os::unix::fs::chown(user.path(path), Some(UID), Some(UID)).unwrap();
        }
        Some(user)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the repository is that the user does not name.
    pub fn repository(&self) -> PathBuf {
        self.path("home/.local/share/cairn")
    }

    /// The command, in the user's directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(self.path("cairn").to_str().unwrap());
        command.args(args);
        command
    }

    /// Another program, as the user.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        if common::is_root() {
            let script = format!(
                "mount --bind passwd /etc/passwd && mount --bind subordinate /etc/subuid && mount --bind subordinate /etc/subgid && {{ {} true; }} && exec env -u CAIRN_ROOT PATH={} HOME=$PWD/home XDG_RUNTIME_DIR=$PWD/runtime /usr/bin/setpriv --reuid {UID} --regid {UID} --clear-groups \"$@\"",
                self.first, self.search
            );
            command.args(["--mount", "sh", "-c", &script, "sh", program]);
        } else {
            command = Command::new(program);
            command
                .env("HOME", self.path("home"))
                .env("XDG_RUNTIME_DIR", self.path("runtime"))
                .env_remove("CAIRN_ROOT");
        }
        command
            .env_remove("XDG_DATA_HOME")
            .current_dir(self.dir.path());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it, which must work; what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "cairn {args:?} gave {:?}: {err}",
            output.status.code()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it, which must fail with this code and say these words.
    pub fn fails(&self, args: &[&str], code: i32, words: &str) {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "cairn {args:?}: {err}");
        assert!(
            err.contains(words),
            "cairn {args:?} should say {words:?}: {err}"
        );
    }
}
