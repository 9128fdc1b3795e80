//! Whatever Cairn writes it reads back to the same tree, and other programs see the same tree in it.
//!
//! A generated tree is imported, changed as a container would change it, and committed; what is then on
//! disk is the truth that every export has to come back to. `PROPTEST_CASES` makes it look longer.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, has, is_root, noise};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// Names of all sorts; the longest is as long as a name can be.
fn names() -> Vec<Vec<u8>> {
    let long = [b'n'; 255].to_vec();
    let short: [&[u8]; 11] = [
        b"a",
        b"b",
        b"dir",
        b"with space",
        b"-rf",
        b"...",
        b"new\nline",
        b"=%3D",
        b"*",
        "\u{e9}\u{df}".as_bytes(),
        b"raw\xff",
    ];
    short.iter().map(|n| n.to_vec()).chain([long]).collect()
}

#[derive(Debug, Clone)]
struct Attributes {
    mode: u32,
    owner: (u32, u32),
    time: (i64, u32),
    note: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Step {
    Directory(Vec<usize>, Attributes),
    /// Content by a seed, so long; or with a hole before it.
    File(Vec<usize>, Attributes, u64, usize, bool),
    Symlink(Vec<usize>, Vec<u8>, Attributes),
    Link(Vec<usize>, Vec<usize>),
    Pipe(Vec<usize>, Attributes),
    Device(Vec<usize>, Attributes, u8, u16),
    Change(Vec<usize>, Attributes),
    Rename(Vec<usize>, Vec<usize>),
    Remove(Vec<usize>),
}

fn path() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..names().len(), 1..4)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let owner = (
        prop_oneof![Just(0), 1..70_000_u32, Just(3_000_000_000)],
        0..70_000_u32,
    );
    let time = (
        -1_000_000_000..4_000_000_000_i64,
        prop_oneof![Just(0), 0..1_000_000_000_u32],
    );
    let note = prop::option::of(prop::collection::vec(any::<u8>(), 1..300));
    (0..0o10000_u32, owner, time, note).prop_map(|(mode, owner, time, note)| Attributes {
        // Whoever is not root must still be able to look.
        mode: mode | 0o700,
        owner,
        time,
        note,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![Just(0), 1..200_usize, 60_000..80_000_usize, Just(300_000)];
    let target = prop_oneof![
        Just(b"../../../outside".to_vec()),
        Just(b"/a/b".to_vec()),
        prop::collection::vec(1..255_u8, 1..200),
    ];
    let step = prop_oneof![
        4 => (path(), attributes()).prop_map(|(p, a)| Step::Directory(p, a)),
        6 => (path(), attributes(), 0..4_u64, size, any::<bool>())
            .prop_map(|(p, a, seed, size, hole)| Step::File(p, a, seed, size, hole)),
        2 => (path(), target, attributes()).prop_map(|(p, t, a)| Step::Symlink(p, t, a)),
        2 => (path(), path()).prop_map(|(p, q)| Step::Link(p, q)),
        1 => (path(), attributes()).prop_map(|(p, a)| Step::Pipe(p, a)),
        1 => (path(), attributes(), 1..250_u8, 0..60_000_u16).prop_map(|(p, a, x, y)| Step::Device(p, a, x, y)),
        2 => (path(), attributes()).prop_map(|(p, a)| Step::Change(p, a)),
        2 => (path(), path()).prop_map(|(p, q)| Step::Rename(p, q)),
        3 => path().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..25)
}

fn place(root: &Path, path: &[usize]) -> PathBuf {
    let names = names();
    path.iter().fold(root.to_owned(), |at, n| {
        at.join(OsStr::from_bytes(&names[*n]))
    })
}

/// Does what can be done; a step that makes no sense here does nothing.
fn carry_out(root: &Path, step: &Step, in_container: bool) {
    let free = |path: &[usize]| {
        let at = place(root, path);
        std::fs::create_dir_all(at.parent().unwrap()).ok()?;
        at.symlink_metadata().is_err().then_some(at)
    };
    let done = |at: &Path, a: &Attributes| give(at, a);
    match step {
        Step::Directory(path, a) => {
            if let Some(at) = free(path) {
                std::fs::create_dir(&at).unwrap();
                done(&at, a);
            }
        }
        Step::File(path, a, seed, size, hole) => {
            let at = place(root, path);
            let _ = std::fs::create_dir_all(at.parent().unwrap());
            if at.symlink_metadata().is_ok_and(|m| !m.is_file()) {
                return;
            }
            let Ok(file) = std::fs::File::create(&at) else {
                return;
            };
            let start = if *hole { 500_000 } else { 0 };
            file.write_all_at(&noise(*seed, *size), start).unwrap();
            if *hole {
                file.set_len(1_000_000).unwrap();
            }
            done(&at, a);
        }
        Step::Symlink(path, target, a) => {
            if let Some(at) = free(path) {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &at).unwrap();
                done(&at, a);
            }
        }
        Step::Link(path, from) => {
            if let Some(at) = free(path) {
                let _ = std::fs::hard_link(place(root, from), at);
            }
        }
        Step::Pipe(path, a) => {
            if let Some(at) = free(path) {
                rustix::fs::mknodat(CWD, &at, FileType::Fifo, Mode::RUSR, 0).unwrap();
                done(&at, a);
            }
        }
        // A commit leaves out devices that were made in a container.
        Step::Device(path, a, major, minor) => {
            if let Some(at) = free(path).filter(|_| is_root() && !in_container) {
                let device = rustix::fs::makedev((*major).into(), (*minor).into());
                rustix::fs::mknodat(CWD, &at, FileType::CharacterDevice, Mode::RUSR, device)
                    .unwrap();
                done(&at, a);
            }
        }
        Step::Change(path, a) => {
            let at = place(root, path);
            // What a container does to a device is not committed, as devices of its own are not.
            let may = |m: std::fs::Metadata| !in_container || m.rdev() == 0;
            if at.symlink_metadata().is_ok_and(may) {
                done(&at, a);
            }
        }
        Step::Rename(from, to) => {
            let device = place(root, from)
                .symlink_metadata()
                .is_ok_and(|m| m.rdev() != 0);
            if let Some(to) = free(to).filter(|_| !device || !in_container) {
                let holds_device = in_container
                    && listing(&place(root, from))
                        .values()
                        .any(|l| l.contains("device"));
                if !holds_device {
                    let _ = std::fs::rename(place(root, from), to);
                }
            }
        }
        Step::Remove(path) => {
            let at = place(root, path);
            if at.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                std::fs::remove_dir_all(at).unwrap();
            } else {
                let _ = std::fs::remove_file(at);
            }
        }
    }
}

fn give(at: &Path, a: &Attributes) {
    let kind = at.symlink_metadata().unwrap().file_type();
    if is_root() {
        std::os::unix::fs::lchown(at, Some(a.owner.0), Some(a.owner.1)).unwrap();
    }
    if !kind.is_symlink() {
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(a.mode)).unwrap();
    }
    if (kind.is_file() || kind.is_dir())
        && let Some(note) = &a.note
    {
        // Where the file system takes none there is none to compare.
        let _ = rustix::fs::lsetxattr(at, "user.note", note, XattrFlags::empty());
    }
    let time = Timespec {
        tv_sec: a.time.0,
        tv_nsec: a.time.1.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// All that can be told of a tree, by path; names of one file know each other.
fn listing(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut out = BTreeMap::new();
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        let path = all[next].clone();
        next += 1;
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            all.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    all.sort();
    for path in all {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        let name = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let (uid, gid) = (meta.uid(), meta.gid());
        let mut text = format!(
            "{:o} {uid}:{gid} at {}.{:09}",
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if meta.is_symlink() {
            text += &format!(" -> {:?}", std::fs::read_link(&path).unwrap());
        } else if meta.is_file() {
            let hash = common::sha256(&std::fs::read(&path).unwrap());
            text += &format!(" {} {hash}", meta.len());
        } else if meta.rdev() != 0 {
            text += &format!(" device {:x}", meta.rdev());
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            let same = first.entry(meta.ino()).or_insert_with(|| name.clone());
            text += &format!(" is {}", same.escape_ascii());
        }
        let mut value = [0; 512];
        if let Ok(length) = rustix::fs::lgetxattr(&path, "user.note", &mut value) {
            text += &format!(" note {:?}", &value[..length]);
        }
        out.insert(name, text);
    }
    out
}

fn compare(
    what: &str,
    found: &Path,
    truth: &BTreeMap<Vec<u8>, String>,
) -> Result<(), TestCaseError> {
    let found = listing(found);
    for (path, text) in truth {
        // It gives "./" its time before it makes what is inside.
        if what == "bsdtar" && path.is_empty() {
            continue;
        }
        let here = found.get(path).map_or("missing", String::as_str);
        prop_assert_eq!(here, text, "{} of {}", path.escape_ascii(), what);
    }
    prop_assert_eq!(found.len(), truth.len(), "{} has more", what);
    Ok(())
}

fn fresh(cairn: &Cairn, name: &str) -> PathBuf {
    let path = cairn.path(name);
    std::fs::create_dir(&path).unwrap();
    path
}

fn run(command: &mut Command) -> Result<(), TestCaseError> {
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    prop_assert!(output.status.success(), "{:?}: {}", command, said);
    Ok(())
}

/// The tree `truth`, as it comes out of an archive that was written and read again.
fn read_again(archive: &Path, truth: &BTreeMap<Vec<u8>, String>) -> Result<(), TestCaseError> {
    let other = Cairn::new();
    let from = archive.to_str().unwrap();
    other.ok(&["import", from, "--name", "again"]);
    let out = other.path("out");
    other.ok(&[
        "export",
        "again",
        "--format",
        "dir",
        "--devices",
        "-o",
        out.to_str().unwrap(),
    ]);
    compare(from, &out, truth)
}

fn round_trip(before: &[Step], after: &[Step]) -> Result<(), TestCaseError> {
    let mut cairn = Cairn::new();
    cairn.driver = Some("copy");
    let root = fresh(&cairn, "root");
    before.iter().for_each(|step| carry_out(&root, step, false));
    cairn.import_dir(&root, "one");
    cairn.ok(&["snapshot", "prepare", "head", "one"]);
    let heads = std::fs::read_dir(cairn.root().join("heads")).unwrap();
    let head = heads
        .map(|e| e.unwrap().path().join("upper"))
        .next()
        .unwrap();
    let first = listing(&root);
    compare("the copy", &head, &first)?;
    after.iter().for_each(|step| carry_out(&head, step, true));
    let options = cairn_repo::Options {
        driver: Some("copy".parse().unwrap()),
        ..Default::default()
    };
    let repo = cairn_repo::Repo::open_or_create(&cairn.root(), options).unwrap();
    let options = cairn_repo::CommitOptions {
        name: Some("two".parse().unwrap()),
        ..Default::default()
    };
    let key = "head".parse().unwrap();
    repo.images().commit(&key, None, &options).unwrap();
    drop(repo);
    let truth = listing(&head);

    let export = |format: &str| {
        let path = cairn.path(format);
        let devices: &[&str] = if format == "dir" { &["--devices"] } else { &[] };
        let rest = ["-o", path.to_str().unwrap()];
        let args = [&["export", "two", "--format", format], devices, &rest].concat();
        cairn.ok(&args);
        path
    };
    compare("the directory", &export("dir"), &truth)?;
    for format in ["docker", "oci", "oci-archive", "tar"] {
        read_again(&export(format), &truth)?;
    }
    let tar = cairn.path("tar");
    if is_root() {
        let to = fresh(&cairn, "gnu");
        let options = [
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--delay-directory-restore",
        ];
        run(Command::new("tar")
            .args(options)
            .arg("-xpf")
            .arg(&tar)
            .arg("-C")
            .arg(&to))?;
        compare("GNU tar", &to, &truth)?;
    }
    // It takes names for UTF-8 and refuses others, and the fraction of a time before 1970 for positive.
    let fraction = |line: &String| line.contains(" at -") && !line.contains(".000000000");
    let text = |path: &Vec<u8>| std::str::from_utf8(path).is_ok();
    if is_root()
        && has("bsdtar")
        && truth.keys().all(text)
        && !truth.values().any(|l| l.contains("\\x") || fraction(l))
    {
        let to = fresh(&cairn, "bsd");
        run(Command::new("bsdtar")
            .args(["--numeric-owner", "-xpf"])
            .arg(&tar)
            .arg("-C")
            .arg(&to))?;
        compare("bsdtar", &to, &truth)?;
    }
    if is_root() && has("umoci") {
        let image = format!("{}:two", cairn.path("oci").display());
        let tag = umoci_tag(&cairn.path("oci"));
        let image = image.replace(":two", &format!(":{tag}"));
        let to = cairn.path("bundle");
        let mut umoci = Command::new("umoci");
        umoci.args(["unpack", "--image", &image]).arg(&to);
        let unpacked = umoci.env("LC_ALL", "C.UTF-8").output().unwrap();
        let said = String::from_utf8_lossy(&unpacked.stderr);
        if !unpacked.status.success() && has_other_kind(&first, &truth) && said.contains(KEEPS) {
            return Ok(());
        }
        prop_assert!(unpacked.status.success(), "{:?}: {}", umoci, said);
        compare("umoci", &to.join("rootfs"), &truth)?;
    }
    Ok(())
}

/// What umoci 0.4.7 says where a layer puts a pipe, a device or a link in the place of a directory or file that has user
/// attributes: it gives them to that, too, and the kernel does not let it.
const KEEPS: &str = "restore xattr metadata";

/// True where something of the first tree is of another kind in the second.
fn has_other_kind(first: &BTreeMap<Vec<u8>, String>, second: &BTreeMap<Vec<u8>, String>) -> bool {
    // The mode comes first, octal: what is before four digits of it is the kind.
    let kind = |text: &String| {
        let mode = text.split(' ').next().unwrap_or_default();
        mode[..mode.len().saturating_sub(4)].to_owned()
    };
    let other = |(path, text): (&Vec<u8>, &String)| {
        second.get(path).is_some_and(|now| kind(now) != kind(text))
    };
    first.iter().any(other)
}

/// The name the image has in a layout's index.
fn umoci_tag(layout: &Path) -> String {
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    name.as_str().unwrap().to_owned()
}

fn cases() -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_written_is_read_back_and_others_see_the_same(before in steps(), after in steps()) {
        round_trip(&before, &after)?;
    }
}

#[test]
fn names_of_one_file_stay_together_whichever_a_container_adds_or_takes_away() {
    let attributes = Attributes {
        mode: 0o644,
        owner: (0, 0),
        time: (1_000_000_000, 5),
        note: None,
    };
    let file = |name| Step::File(vec![name], attributes.clone(), 1, 90_000, false);
    let link = |to: &[usize], from| Step::Link(to.to_vec(), vec![from]);
    // A name before and after the old one, and a file with two names of which one goes.
    let before = [file(2), file(3), link(&[4], 3), file(8), link(&[6], 8)];
    for after in [
        vec![link(&[0], 2)],
        vec![link(&[7], 2), link(&[1, 1], 2)],
        vec![Step::Remove(vec![4]), link(&[0], 3)],
        vec![Step::Remove(vec![6]), file(6)],
        vec![Step::Remove(vec![3]), link(&[3], 2)],
    ] {
        round_trip(&before, &after).unwrap();
    }
}
