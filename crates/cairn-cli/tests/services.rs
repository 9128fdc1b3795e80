//! Real services on a Debian: installed by apt inside of a container, started, committed while they write, stopped,
//! and started again from the commit.
//!
//! The Debian is made by debootstrap from where this machine's apt gets its packages; it and the image with
//! PostgreSQL are kept in the build directory.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, eventually, has, is_root};

/// The release of this machine's Debian, and where apt gets it.
fn mirror() -> Option<(String, String)> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let listed = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(COMPONENT)",
        ])
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let site = listed.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.get(1..) == Some(&[codename, "main"])).then(|| words[0].to_owned())
    });
    Some((codename.to_owned(), site?))
}

/// A file of the build directory; made by `make` under another name first.
fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !path.exists() {
        let new = path.with_extension(format!("new{}", std::process::id()));
        make(&new);
        std::fs::rename(new, &path).unwrap();
    }
    path
}

/// The tar of a small Debian.
fn debian(codename: &str, site: &str) -> PathBuf {
    kept(&format!("debian-{codename}.tar"), |new| {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        let made = Command::new("debootstrap")
            .args(["--variant=minbase", "--components=main", codename])
            .arg(&root)
            .arg(site)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success(), "debootstrap: {said}");
        // Each of thousands of files is synced otherwise.
        std::fs::write(root.join("etc/dpkg/dpkg.cfg.d/unsafe"), "force-unsafe-io\n").unwrap();
        std::fs::write(new, common::tar_of(&root)).unwrap();
    })
}

/// Installs packages in a container of `image`, and commits it as `name`.
fn install(cairn: &Cairn, image: &str, packages: &str, name: &str) {
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get update -q
        apt-get install -q -y --no-install-recommends {packages}; apt-get clean
        dpkg --audit; touch /installed"
    );
    let mut run = vec!["run", "--name", "install"];
    let proxies: Vec<String> = ["http_proxy", "https_proxy"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)))
        .collect();
    for proxy in &proxies {
        run.extend(["-e", proxy]);
    }
    run.extend([image, "sh", "-c", &script]);
    let output = cairn.output(&run);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "apt-get: {out}{err}");
    // Packages are fetched by a user that owns nothing.
    let warned =
        err.contains("unsandboxed") || err.contains("setgroups") || err.contains("seteuid");
    assert!(!warned, "{err}");
    cairn.ok(&["commit", "install", name]);
    cairn.ok(&["rm", "install"]);
}

/// A service of a container.
struct Service {
    cairn: Cairn,
    name: &'static str,
    user: &'static str,
    /// Starts it.
    command: &'static [&'static str],
    /// Answers this, in a shell beside it, as soon as it serves.
    ready: &'static str,
    /// Writes for ever.
    writer: &'static str,
    /// Prints how much was written.
    count: &'static str,
}

impl Service {
    fn start(&self, image: &str) {
        let options = [
            "run",
            "-d",
            "--name",
            self.name,
            "-u",
            self.user,
            "--network",
            "none",
        ];
        self.cairn
            .ok(&[&options[..], &[image], self.command].concat());
        eventually("it serves", || {
            let state = self.cairn.json(&["inspect", self.name]);
            assert_eq!(
                state["status"],
                "running",
                "{}",
                self.cairn.ok(&["logs", self.name])
            );
            self.cairn
                .output(&["exec", "-u", self.user, self.name, "sh", "-c", self.ready])
                .status
                .success()
        });
    }

    fn sh(&self, script: &str) -> String {
        let exec = ["exec", "-u", self.user, self.name, "sh", "-c", script];
        self.cairn.ok(&exec).trim().to_owned()
    }

    fn count(&self) -> u64 {
        self.sh(self.count).parse().unwrap()
    }

    /// It ends by SIGTERM, as its own shutdown has it.
    fn stop(&self) {
        self.cairn.ok(&["stop", "-t", "30", self.name]);
        let ended = self.cairn.json(&["inspect", self.name]);
        assert_eq!(
            ended["exit_code"],
            0,
            "{}",
            self.cairn.ok(&["logs", self.name])
        );
        self.cairn.ok(&["rm", self.name]);
    }

    fn lives(&self, image: &str) {
        self.start(image);
        let exec = [
            "exec",
            "-d",
            "-u",
            self.user,
            self.name,
            "sh",
            "-c",
            self.writer,
        ];
        self.cairn.ok(&exec);
        eventually("it writes", || self.count() > 5);
        let before = self.count();
        self.cairn.ok(&["commit", self.name, "service:committed"]);
        eventually("it goes on writing", || self.count() > before);
        // A database that is asked to end waits for those who use it.
        self.sh("touch /tmp/enough");
        self.stop();
        self.start("service:committed");
        let after = self.count();
        assert!(after >= before, "{after} of {before} are there again");
        self.stop();
    }
}

#[test]
fn postgresql_and_redis_live_in_containers() {
    if !is_root() {
        skip!("needs root");
    }
    if !has("debootstrap") {
        skip!("needs debootstrap");
    }
    let Some((codename, site)) = mirror() else {
        skip!("this is no Debian with a package mirror");
    };
    let debian = debian(&codename, &site);
    let archive = kept(&format!("postgresql-{codename}.tar"), |new| {
        let cairn = Cairn::new();
        cairn.ok(&["import", debian.to_str().unwrap(), "--name", "debian"]);
        install(&cairn, "debian", "postgresql", "postgresql");
        cairn.ok(&["export", "postgresql", "-o", new.to_str().unwrap()]);
    });
    let cairn = Cairn::new();
    cairn.ok(&["import", archive.to_str().unwrap()]);
    install(&cairn, "postgresql", "redis-server", "services");
    let version = "ls /usr/lib/postgresql";
    let version = cairn.ok(&["run", "--rm", "services", "sh", "-c", version]);
    let server = format!(
        "exec /usr/lib/postgresql/{0}/bin/postgres -D /var/lib/postgresql/{0}/main -c config_file=/etc/postgresql/{0}/main/postgresql.conf",
        version.trim()
    );
    let postgresql = Service {
        cairn,
        name: "rows",
        user: "postgres",
        command: Box::leak(Box::new(["sh", "-c", &*server.leak()])),
        ready: "psql -qc 'create table if not exists t (i serial primary key, t text)'",
        writer: "while [ ! -e /tmp/enough ]; do echo \"insert into t (t) values (repeat('x', 500));\"; done | psql -q",
        count: "psql -Atc 'select count(t) from t'",
    };
    postgresql.lives("services");
    let redis = Service {
        cairn: postgresql.cairn,
        name: "values",
        user: "redis",
        command: &[
            "redis-server",
            "--dir",
            "/var/lib/redis",
            "--appendonly",
            "yes",
        ],
        ready: "redis-cli ping",
        writer: "while [ ! -e /tmp/enough ]; do echo incr n; done | redis-cli",
        count: "redis-cli --raw incrby n 0",
    };
    redis.lives("services");
}
