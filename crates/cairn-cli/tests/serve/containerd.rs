//! Debian's containerd with `cairn serve` as its snapshotter: ctr, runc, and a registry.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::common::{Cairn, docker_archive, eventually, has, is_root, shell_tree, tar_of};
use crate::daemon::{Daemon, PLAIN};
use crate::registry::Registry;
use crate::server::Server;

/// A containerd whose snapshotter is a server of ours; it ends before the server does.
pub struct Containerd {
    daemon: Daemon,
    pub server: Server,
}

impl std::ops::Deref for Containerd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

pub fn can_run() -> bool {
    is_root() && ["containerd", "ctr", "runc"].iter().all(|p| has(p))
}

impl Containerd {
    pub fn start() -> Self {
        Self::configured(PLAIN, "")
    }

    /// With the blobs of [`archive`]'s image, none of them unpacked.
    pub fn with_blobs() -> Self {
        let containerd = Self::start();
        let path = archive(&containerd.server.cairn, IMAGE);
        containerd.ok(&["image", "import", "--no-unpack", path.to_str().unwrap()]);
        containerd
    }

    /// With its CRI plugin, as far as it works in a container of this kind.
    pub fn with_cri(pause: &str) -> Self {
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        let more = format!(
            "[{cri}]\nsandbox_image = {pause:?}\nrestrict_oom_score_adj = true\nstream_server_port = \"0\"\n\
             [{cri}.containerd]\nsnapshotter = \"cairn\"\ndisable_snapshot_annotations = false\n"
        );
        Self::configured("", &more)
    }

    /// With a server that is not there yet.
    pub fn before_its_server() -> Self {
        let mut server = Server::start(&[]);
        server.stop();
        Self::over(server, PLAIN, "")
    }

    fn configured(first: &str, more: &str) -> Self {
        Self::over(Server::start(&[]), first, more)
    }

    fn over(server: Server, first: &str, more: &str) -> Self {
        let proxy = format!(
            "[proxy_plugins.cairn]\ntype = \"snapshot\"\naddress = {:?}\n{more}",
            server.cairn.path("socket")
        );
        let mut daemon = Daemon::start(server.cairn.dir.path(), first, &proxy);
        daemon.snapshotter = Some("cairn");
        Self { daemon, server }
    }

    /// A shell script in a new container of an image.
    pub fn run(&self, image: &str, id: &str, script: &str) -> Output {
        self.ctr(&["run", "--rm", "--net-host", image, id, "sh", "-c", script])
    }

    /// The container `web` of an image, which does nothing until it is told to.
    fn run_web(&self, image: &str) {
        let wait = "while :; do sleep 1; done";
        self.ok(&["run", "-d", "--net-host", image, "web", "sh", "-c", wait]);
    }
}

/// An archive of an image with a shell and two layers above it, one of which takes something away.
pub fn archive(cairn: &Cairn, name: &str) -> PathBuf {
    archive_of(cairn, name, |_| ())
}

/// The same with another configuration.
pub fn archive_of(cairn: &Cairn, name: &str, config: impl FnOnce(&mut Value)) -> PathBuf {
    let place = tempfile::tempdir_in(cairn.dir.path()).unwrap();
    let tree = place.path().join("tree");
    shell_tree(&tree);
    for name in ["proc", "sys", "dev", "run", "etc", "opt"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    std::fs::write(tree.join("etc/base"), "from the base\n".repeat(100)).unwrap();
    std::fs::write(tree.join("opt/old"), "to be removed").unwrap();
    let layer = |build: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        tar_of(dir.path())
    };
    let second = layer(&|dir| {
        std::fs::create_dir(dir.join("opt")).unwrap();
        std::fs::write(dir.join("opt/.wh.old"), "").unwrap();
        std::fs::write(dir.join("opt/app"), "version 1 of the program\n".repeat(50)).unwrap();
    });
    let third = layer(&|dir| {
        std::fs::create_dir(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/config"), "mode=fast\n").unwrap();
    });
    let bytes = docker_archive(name, &[tar_of(&tree), second, third], config);
    let path = place.keep().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub const IMAGE: &str = "example.com/app:1";

#[test]
fn containerd_imports_runs_commits_pushes_pulls_and_forgets() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let cairn = &containerd.server.cairn;
    let path = archive(cairn, IMAGE);
    containerd.ok(&["image", "import", path.to_str().unwrap()]);
    let committed = || {
        let all = cairn.json(&["snapshot", "ls", "kind==committed"]);
        all.as_array().unwrap().len()
    };
    assert_eq!(committed(), 3);

    let output = containerd.run(
        IMAGE,
        "first",
        "read line < /opt/app; echo \"$line\"; ls /opt; cat /etc/config; exit 7",
    );
    let said = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(7),
        "{said}{}",
        text(&output.stderr)
    );
    assert_eq!(said, "version 1 of the program\napp\nmode=fast\n");

    containerd.run_web(IMAGE);
    let entered = containerd.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "e",
        "web",
        "sh",
        "-c",
        "echo changed > /opt/app; chmod 700 /etc/base; rm /etc/config; exit 5",
    ]);
    assert_eq!(entered.status.code(), Some(5), "{}", text(&entered.stderr));
    containerd.ok(&["task", "kill", "-s", "KILL", "web"]);
    let stopped = || containerd.ok(&["task", "ls"]).contains("STOPPED");
    eventually("it ends", stopped);
    // Its own exit code is that of the task.
    let _ = containerd.ctr(&["task", "rm", "web"]);

    // What it changed, as a layer by containerd's own differ: no more than was changed.
    let diff = containerd.ctr(&["snapshot", "diff", "web"]);
    assert!(diff.status.success(), "{}", text(&diff.stderr));
    let mut names: Vec<String> = Vec::new();
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(&diff.stdout[..]));
    for entry in tar.entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    for name in ["opt/app", "etc/base", "etc/.wh.config"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    containerd.ok(&["snapshot", "commit", "changed", "web"]);
    containerd.ok(&["container", "rm", "web"]);
    // Without a root it is a matter of moments until containerd collects it by itself.
    let _ = containerd.ctr(&["snapshot", "rm", "changed"]);

    if let Some(registry) = Registry::start() {
        let name = format!("{}/app:1", registry.host());
        containerd.ok(&["image", "tag", IMAGE, &name]);
        containerd.ok(&["image", "push", "--plain-http", &name]);
        containerd.ok(&["image", "rm", "--sync", IMAGE, &name]);
        eventually("its snapshots are gone", || committed() == 0);
        containerd.ok(&["image", "pull", "--plain-http", &name]);
        assert_eq!(committed(), 3);
        let output = containerd.run(&name, "again", "cat /etc/config");
        assert_eq!(
            text(&output.stdout),
            "mode=fast\n",
            "{}",
            text(&output.stderr)
        );
        containerd.ok(&["image", "rm", "--sync", &name]);
    } else {
        containerd.ok(&["image", "rm", "--sync", IMAGE]);
    }
    eventually("all snapshots are gone", || {
        cairn
            .json(&["snapshot", "ls"])
            .as_array()
            .unwrap()
            .is_empty()
    });
    cairn.ok(&["gc", "--all"]);
    assert!(cairn.json(&["check"])["sound"].as_bool().unwrap());
    eventually("nothing stays mounted", || {
        containerd.server.kept().is_empty()
    });
}

#[test]
fn a_running_container_does_not_notice_that_the_server_is_killed() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let mut containerd = Containerd::start();
    let path = archive(&containerd.server.cairn, IMAGE);
    containerd.ok(&["image", "import", path.to_str().unwrap()]);
    containerd.run_web(IMAGE);
    containerd.server.kill();
    let script = "read line < /opt/app; echo \"$line\"; echo more > /opt/more; cat /opt/more";
    let enter = ["task", "exec", "--exec-id", "e", "web", "sh", "-c", script];
    assert_eq!(containerd.ok(&enter), "version 1 of the program\nmore\n");
    let refused = containerd.run(IMAGE, "second", "true");
    assert!(!refused.status.success(), "nothing new without a server");
    containerd.server.start_again();
    eventually("containerd finds it again", || {
        containerd.run(IMAGE, "third", "true").status.success()
    });
    let enter = ["task", "exec", "--exec-id", "f", "web", "sh", "-c", script];
    assert_eq!(containerd.ok(&enter), "version 1 of the program\nmore\n");
}
