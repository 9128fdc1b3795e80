//! What the end-to-end tests share: a repository of their own, the program, and things to import.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Leaves the test with a reason where it cannot run; a failure where `CAIRN_TESTS_ALL=1` says that it
/// has to.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        let why = format!($($why)*);
        assert!(std::env::var_os("CAIRN_TESTS_ALL").is_none(), "must not be skipped here: {why}");
        eprintln!("skipped: {why}");
        return;
    }};
}

/// A repository with frames under the driver packs; none where that does not work.
pub fn framed() -> Result<Cairn, String> {
    let mut cairn = Cairn::new();
    cairn.ok(&["init", "--frames"]);
    let told = cairn.json(&["driver"]);
    if !is_root() || told["packs"]["works"] != true {
        return Err(told["packs"]["why_not"].to_string());
    }
    assert_eq!(told["packs"]["frames"], true);
    cairn.driver = Some("packs");
    Ok(cairn)
}

/// What a mount of the image shows.
pub fn shown<T>(cairn: &Cairn, image: &str, look: impl FnOnce(&Path) -> T) -> T {
    let place = cairn.path("place");
    std::fs::create_dir_all(&place).unwrap();
    cairn.ok(&["mount", "--suid", "--dev", image, place.to_str().unwrap()]);
    let seen = look(&place);
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    seen
}

/// True for root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True where a program can be started.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Asks again and again until it is true; fails after twenty seconds, which is only ever waited where it never is.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 20, "never came true: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A repository in a directory that goes with it.
pub struct Cairn {
    pub dir: tempfile::TempDir,
    pub driver: Option<&'static str>,
    /// Options of every `run`.
    pub run: &'static [&'static str],
}

impl Drop for Cairn {
    /// A test leaves no contents mounted, and one that failed no container running.
    fn drop(&mut self) {
        for place in self.shared() {
            let _ = Command::new("umount").arg("-l").arg(place).output();
        }
        if !std::thread::panicking() {
            return self.assert_counted();
        }
        let listed = self.output(&["--json", "ps", "-a"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        for container in listed.as_array().into_iter().flatten() {
            if let Some(id) = container["id"].as_str() {
                self.output(&["rm", "-f", id]);
            }
        }
    }
}

/// Figures of `stats` that say the same however they are counted, and whatever goes on beside.
const COUNTED: [&str; 10] = [
    "logical_bytes",
    "holes_bytes",
    "shared_layers_bytes",
    "shared_within_bytes",
    "shared_between_bytes",
    "unique_bytes",
    "stored_content_bytes",
    "stored_metadata_bytes",
    "images",
    "layers",
];

impl Cairn {
    /// Whatever a test did: what is remembered for statistics is what the layers say. A repository that the test
    /// left damaged cannot be counted, and is left alone.
    fn assert_counted(&self) {
        if !self.root().join("format").exists() {
            return;
        }
        let count = |args: &[&str]| -> Result<Value, String> {
            let output = self.output(args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.success() {
                true => serde_json::from_slice(&output.stdout).map_err(|e| e.to_string()),
                false => Err(said),
            }
        };
        let remembered = count(&["--json", "stats"]);
        match (remembered, count(&["--json", "stats", "--recount"])) {
            (Ok(remembered), Ok(recounted)) => {
                for figure in COUNTED {
                    assert_eq!(
                        remembered[figure], recounted[figure],
                        "{figure} of stats --recount"
                    );
                }
            }
            (_, Err(said)) => assert!(!said.contains("sharing table"), "{said}"),
            (Err(_), Ok(_)) => {}
        }
    }

    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            driver: None,
            run: &[],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("repository")
    }

    /// Where images of contents of this repository are mounted for all.
    pub fn shared(&self) -> Vec<PathBuf> {
        use std::os::unix::fs::MetadataExt;
        let Ok(meta) = self.root().metadata() else {
            return Vec::new();
        };
        let place = format!("/run/cairn/images/{:x}-{:x}", meta.dev(), meta.ino());
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command
            .arg("--root")
            .arg(self.root())
            .env_remove("CAIRN_ROOT")
            // What is not there is not there: no test asks a registry that is not its own.
            .env("CAIRN_PULL", "never")
            // Nor with the credentials of whoever runs the tests.
            .env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")
            // Nor by the mirrors and aliases of this machine.
            .env("CONTAINERS_REGISTRIES_CONF", "/nonexistent/registries.conf");
        command.args(self.driver.map(|driver| format!("--driver={driver}")));
        match args {
            ["run", rest @ ..] => command.arg("run").args(self.run).args(rest),
            _ => command.args(args),
        };
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it, which must work; what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "cairn {args:?} gave {:?}\n{out}{err}",
            output.status.code()
        );
        out.into_owned()
    }

    /// Runs it, which must fail with this code and say these words.
    pub fn fails(&self, args: &[&str], code: i32, words: &str) -> String {
        let output = self.output(args);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "cairn {args:?}: {err}");
        assert!(
            err.contains(words),
            "cairn {args:?} should say {words:?}: {err}"
        );
        assert!(!err.contains("panicked"), "{err}");
        err
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = std::iter::once("--json")
            .chain(args.iter().copied())
            .collect();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Names of the images.
    pub fn image_names(&self) -> Vec<String> {
        let images = self.json(&["images"]);
        let names = images
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|image| image["names"].as_array().unwrap().clone());
        let mut names: Vec<String> = names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Makes the journal so long that the database is used, which a short one does without.
    pub fn use_database(&self) {
        let label = |i| format!("--label=long{i}={}", "x".repeat(4000));
        let labels: Vec<String> = (0..380).map(label).collect();
        for key in ["long/1", "long/2", "long/3"] {
            let prepare = ["snapshot", "prepare", key];
            let labels = labels.iter().map(String::as_str);
            self.ok(&prepare.into_iter().chain(labels).collect::<Vec<_>>());
        }
        // The next command finds it long.
        self.ok(&["snapshot", "label", "long/1", "owner=test"]);
        assert!(self.root().join("db/db").exists());
    }

    /// Imports an image of these layers, each a tar; from which archive.
    pub fn import_layers(&self, name: &str, layers: &[Vec<u8>]) -> PathBuf {
        let path = self.path("docker.tar");
        std::fs::write(&path, docker_archive(name, layers, |_| ())).unwrap();
        self.ok(&["import", path.to_str().unwrap()]);
        path
    }

    pub fn import_dir(&self, dir: &Path, name: &str) {
        self.ok(&["import", dir.to_str().unwrap(), "--name", name]);
    }
}

/// All that can be told of the files below a directory: the test's own eyes.
pub fn survey(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(
        root: &Path,
        path: &Path,
        inodes: &mut BTreeMap<(u64, u64), PathBuf>,
        out: &mut BTreeMap<PathBuf, String>,
    ) {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let mut text = format!(
            "{:o} {}:{} {}.{:09}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if meta.is_symlink() {
            text += &format!(" -> {:?}", std::fs::read_link(path).unwrap());
        } else if meta.is_file() {
            let first = inodes
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| name.clone());
            text += &format!(
                " nlink {} of {first:?} {} {:?}",
                meta.nlink(),
                meta.len(),
                blake(path)
            );
        } else if !meta.is_dir() {
            text += &format!(" device {:x}", meta.rdev());
        }
        let output = Command::new("getfattr")
            .args(["-h", "-d", "-m", "-", "-e", "hex", "--absolute-names"])
            .arg(path)
            .output();
        if let Ok(output) = output {
            let lines = String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter(|l| l.contains('='))
                .collect::<Vec<_>>()
                .join(" ");
            text += &format!(" {lines}");
        }
        out.insert(name, text);
        if meta.is_dir() {
            let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            entries.sort();
            for entry in entries {
                walk(root, &entry, inodes, out);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut BTreeMap::new(), &mut out);
    out
}

fn blake(path: &Path) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(std::fs::read(path).unwrap()).to_vec()
}

/// Bytes that neither compress nor repeat.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8))
        .flat_map(|_| step())
        .take(len)
        .collect()
}

/// A tree with a file of every sort this user can make.
pub fn odd_tree(root: &Path) {
    use std::os::unix::ffi::OsStrExt;
    std::fs::create_dir_all(root.join("dir/sub")).unwrap();
    std::fs::create_dir_all(root.join("empty")).unwrap();
    std::fs::write(root.join("dir/small"), "hello").unwrap();
    std::fs::write(root.join("dir/none"), "").unwrap();
    std::fs::write(root.join("dir/large"), noise(1, 1_500_000)).unwrap();
    std::fs::hard_link(root.join("dir/small"), root.join("dir/sub/link")).unwrap();
    symlink("../dir/small", root.join("dir/sym")).unwrap();
    symlink("x".repeat(4000), root.join("dir/longsym")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"not\xffutf8\nname");
    std::fs::write(root.join("dir").join(odd), "odd").unwrap();
    std::fs::set_permissions(
        root.join("dir/none"),
        std::fs::Permissions::from_mode(0o4711),
    )
    .unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5_000_000).unwrap();
    sparse.set_len(20_000_000).unwrap();
    let mut deep = root.join("deep");
    for _ in 0..12 {
        deep = deep.join("d".repeat(200));
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), "deep").unwrap();
    let fifo = Command::new("mkfifo").arg(root.join("fifo")).status();
    assert!(fifo.unwrap().success());
    if is_root() {
        let run = |args: &[&str]| {
            assert!(
                Command::new(args[0])
                    .args(&args[1..])
                    .current_dir(root)
                    .status()
                    .unwrap()
                    .success(),
                "{args:?}"
            )
        };
        run(&["mknod", "zero", "c", "1", "5"]);
        run(&["mknod", "disk", "b", "259", "300"]);
        run(&["chown", "3000000:4000000", "dir/large"]);
        if has("setfattr") {
            run(&[
                "setfattr",
                "-n",
                "user.note",
                "-v",
                "0x000a0dff",
                "dir/small",
            ]);
            run(&[
                "setfattr",
                "-n",
                "security.capability",
                "-v",
                "0x0100000200040000000000000000000000000000",
                "dir/none",
            ]);
        }
        if has("setfacl") {
            run(&["setfacl", "-m", "u:1234:rwx", "dir/sub"]);
            run(&["setfacl", "-d", "-m", "g:77:r", "dir/sub"]);
        }
    }
    run_touch(&root.join("dir/large"), "2001-02-03 04:05:06.123456789");
    run_touch(&root.join("dir/none"), "1960-01-01 00:00:00.5");
    run_touch(&root.join("dir"), "2030-01-01 00:00:00.000000001");
}

fn run_touch(path: &Path, time: &str) {
    assert!(
        Command::new("touch")
            .args(["-h", "-d", time])
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

/// A repository with the image `shell`, made of [`shell_tree`].
pub fn shell() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    cairn.import_dir(&tree, "shell");
    cairn
}

/// A root file system with a shell and a few programs of this machine.
pub fn shell_tree(root: &Path) {
    for directory in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(
        root.join("etc/group"),
        "root:x:0:\nwww:x:33:\nvideo:x:44:www\n",
    )
    .unwrap();
    for program in [
        "sh", "ls", "cat", "id", "sleep", "mv", "rm", "mkdir", "chown", "chmod", "ln", "stat",
        "touch", "pwd", "env", "true", "cp", "dd", "mount", "readlink",
    ] {
        add_program(root, program);
    }
}

/// Copies a program of this machine, with its libraries, into a tree.
pub fn add_program(root: &Path, program: &str) {
    let found = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"]
        .iter()
        .map(|d| Path::new(d).join(program))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("this machine has no {program}"));
    std::fs::copy(&found, root.join("bin").join(program)).unwrap();
    let output = Command::new("ldd").arg(&found).output().unwrap();
    for library in String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter(|w| w.starts_with('/'))
    {
        let target = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        if !target.exists() {
            std::fs::copy(library, &target).unwrap();
        }
    }
}

/// The tar that GNU tar makes of a tree.
pub fn tar_of(tree: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .args(["--numeric-owner", "-cf", "-", "."])
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A tar made by the test itself, entry by entry.
pub struct Tar(pub tar::Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// A header with this path, however odd.
    pub fn header(path: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        header
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.0
            .append(
                &Self::header(path, tar::EntryType::Regular, content.len() as u64),
                content,
            )
            .unwrap();
        self
    }

    pub fn link(mut self, path: &str, target: &str, kind: tar::EntryType) -> Self {
        let mut header = Self::header(path, kind, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, &[][..]).unwrap();
        self
    }

    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// `sha256:…` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!(
        "sha256:{}",
        sha2::Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    )
}

/// A docker archive of these layers; `lie` changes the document before it is written.
pub fn docker_archive(name: &str, layers: &[Vec<u8>], lie: impl FnOnce(&mut Value)) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let mut config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "custom": {"kept": [1, 2.50]},
        "config": {"Env": ["PATH=/bin", "SECRET=hunter2"], "Cmd": ["sh"], "Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [{"created_by": "first"}, {"created_by": "none", "empty_layer": true}],
    });
    lie(&mut config);
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", &sha256(&config)[7..]);
    let members: Vec<String> = (0..layers.len())
        .map(|i| format!("layer{i}/layer.tar"))
        .collect();
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": members}])
            .to_string();
    let mut tar = Tar::new();
    for (member, layer) in members.iter().zip(layers) {
        tar = tar.file(member, layer);
    }
    tar.file(&config_name, &config)
        .file("manifest.json", manifest.as_bytes())
        .done()
}

/// A repository with the image `name`, of two layers of 300 KB each.
pub fn two_layers(name: &str) -> Cairn {
    let cairn = Cairn::new();
    let layer = |path: &str, seed| Tar::new().file(path, &noise(seed, 300_000)).done();
    cairn.import_layers(name, &[layer("lower", 1), layer("upper", 2)]);
    cairn
}

/// Files of 100 KB, as many as `files`, whose names begin with `prefix`: in each version another two of them are new.
pub fn versioned(prefix: &str, files: u64, version: u64) -> Tar {
    (0..files).fold(Tar::new(), |tar, file| {
        let changed = (1..=version)
            .rev()
            .find(|v| v * 2 == file || v * 2 + 1 == file);
        let seed = file + 1000 * changed.unwrap_or(0);
        tar.file(&format!("{prefix}{file:03}"), &noise(seed + 1, 100_000))
    })
}
