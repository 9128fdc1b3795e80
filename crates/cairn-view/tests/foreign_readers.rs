//! Images of every shape as others read them: fsck.erofs and dump.erofs of erofs-utils, and the kernel.
//! Whatever one of them says of a file is what the tree says of it.

mod trees;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cairn_view::detached::Context;
use rustix::mount::MountAttrFlags;
use trees::facts::{self, Facts};
use trees::{Sample, samples};

/// Paths of one image that dump.erofs is asked for, a process each.
const DUMPED_MAX: usize = 12;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// False where a test may do without `what`, said aloud; where all has to run, that is a failure.
fn can(what: &str, here: bool) -> bool {
    if !here {
        assert!(
            std::env::var_os("CAIRN_TESTS_ALL").is_none(),
            "{what} should be here"
        );
        eprintln!("skipped: {what} is not here");
    }
    here
}

fn has(program: &str) -> bool {
    can(program, Command::new(program).arg("-V").output().is_ok())
}

/// A directory for what is thrown away at once, in memory where there is such a place.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Writes the image of each sample and gives it to `look`.
fn for_each_image(mut look: impl FnMut(&Sample, &Path)) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("image");
    for sample in samples() {
        let (image, left_out) = sample.image();
        assert_eq!(left_out, 0, "{}", sample.name);
        std::fs::write(&path, image).unwrap();
        look(&sample, &path);
    }
}

fn text(output: Output, of: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{of}: {said}{errors}");
    assert!(
        !errors.contains("<E>") && !said.contains("<E>"),
        "{of}: {said}{errors}"
    );
    said
}

/// What lstat and its kin say of `path`; content and attributes are left to the caller.
fn seen(path: &Path) -> Facts {
    let meta = path
        .symlink_metadata()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = meta.file_type();
    let target = match kind.is_symlink() {
        true => path.read_link().unwrap().into_os_string().into_vec(),
        false => Vec::new(),
    };
    let names: [(bool, &'static str); 6] = [
        (kind.is_file(), "regular"),
        (kind.is_dir(), "directory"),
        (kind.is_symlink(), "symlink"),
        (kind.is_char_device(), "character"),
        (kind.is_block_device(), "block"),
        (kind.is_fifo(), "fifo"),
    ];
    let (major, minor) = (
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    );
    Facts {
        kind: names.iter().find(|(is, _)| *is).expect("a kind we know").1,
        size: if kind.is_dir() { 0 } else { meta.size() },
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec() as u32),
        links: meta.nlink(),
        device: (major, minor),
        target,
        content: None,
        xattrs: BTreeMap::new(),
    }
}

/// Paths of all that is below a directory, itself as the empty one.
fn walk(root: &Path) -> Vec<Vec<u8>> {
    let (mut out, mut stack) = (vec![Vec::new()], vec![PathBuf::new()]);
    while let Some(directory) = stack.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            out.push(path.as_os_str().as_bytes().to_vec());
            if entry.file_type().unwrap().is_dir() {
                stack.push(path);
            }
        }
    }
    out.sort();
    out
}

fn at(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

#[test]
fn fsck_erofs_finds_every_image_sound_and_extracts_what_the_tree_has() {
    if !has("fsck.erofs") {
        return;
    }
    for_each_image(|sample, image| {
        let name = &sample.name;
        let checked = Command::new("fsck.erofs").arg(image).output().unwrap();
        text(checked, name);
        if !is_root() {
            return;
        }
        let scratch = scratch();
        let out = scratch.path().join("out");
        let mut extract = std::ffi::OsString::from("--extract=");
        extract.push(&out);
        let done = Command::new("fsck.erofs").arg(extract).arg(image).output();
        text(done.unwrap(), name);
        let wanted = facts::of(sample);
        assert_eq!(
            walk(&out),
            wanted.keys().cloned().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, mut wanted) in wanted {
            let place = at(&out, &path);
            let mut found = seen(&place);
            if wanted.content.is_some() {
                found.content = Some(std::fs::read(&place).unwrap());
            } else {
                // It writes no holes out, and the image has nothing else of such a file.
                (wanted.size, found.size) = (0, 0);
            }
            // It sets the owner after the mode, copies hard links, and extracts no attributes.
            for facts in [&mut wanted, &mut found] {
                facts.mode &= 0o1777;
                facts.links = 0;
                facts.xattrs.clear();
            }
            // Before 1901, ext4 has no time.
            if wanted.mtime.0 < i64::from(i32::MIN) {
                found.mtime = wanted.mtime;
            }
            let path = String::from_utf8_lossy(&path);
            assert_eq!(found, wanted, "{name}: /{path}");
        }
    });
}

/// The value after `label` in the output of dump.erofs.
fn field<'a>(said: &'a str, label: &str) -> &'a str {
    let rest = said.split_once(label);
    let (_, rest) = rest.unwrap_or_else(|| panic!("{label} is not in {said}"));
    rest.split_whitespace().next().unwrap_or_default()
}

/// Holds what dump.erofs says of one file against the tree.
fn compare_dumped(said: &str, wanted: &Facts, of: &str) {
    let number = |label| field(said, label).parse::<u64>().unwrap();
    if wanted.kind != "directory" {
        assert_eq!(number("Size:"), wanted.size, "{of}");
    }
    let kind = match wanted.kind {
        "regular" => "regular file",
        "symlink" => "symlink file",
        "character" => "char dev",
        "block" => "block dev",
        "fifo" => "FIFO file",
        other => other,
    };
    assert!(
        said.lines().any(|line| line.ends_with(kind)),
        "{of}: {said}"
    );
    assert_eq!(number("Links:"), wanted.links, "{of}");
    assert_eq!(number("Uid:"), u64::from(wanted.uid), "{of}");
    assert_eq!(number("Gid:"), u64::from(wanted.gid), "{of}");
    let mode = format!("{:04o}/", wanted.mode & 0o777);
    assert!(field(said, "Access:").starts_with(&mode), "{of}: {said}");
    let nanos = format!(".{:09}", wanted.mtime.1);
    let time = said.split_once("Timestamp:").unwrap().1;
    assert!(time.contains(&nanos), "{of}: {said}");
    assert_eq!(number("Inode size:"), 64, "{of}");
    assert_eq!(number("Xattr size:") > 0, has_attributes(wanted), "{of}");
}

/// Files whose data is elsewhere have attributes that say where.
fn has_attributes(wanted: &Facts) -> bool {
    !wanted.xattrs.is_empty() || (wanted.kind == "regular" && wanted.content.is_none())
}

#[test]
fn dump_erofs_says_of_files_what_the_tree_says() {
    if !has("dump.erofs") {
        return;
    }
    for_each_image(|sample, image| {
        let name = &sample.name;
        let dump = |args: &[&OsStr], of: &str| {
            let done = Command::new("dump.erofs").args(args).arg(image).output();
            text(done.unwrap(), of)
        };
        let inodes = sample.tree.count().to_string();
        let said = dump(&[OsStr::new("-s")], name);
        assert_eq!(field(&said, "Filesystem inode count:"), inodes, "{name}");
        assert_eq!(field(&said, "magic number:"), "0xE0F5E1E2", "{name}");
        let wanted = facts::of(sample);
        let step = wanted.len().div_ceil(DUMPED_MAX);
        for (path, wanted) in wanted.iter().step_by(step) {
            let of = format!("{name}: /{}", String::from_utf8_lossy(path));
            let mut arg = b"--path=/".to_vec();
            arg.extend_from_slice(path);
            let mut args = vec![OsStr::from_bytes(&arg)];
            if wanted.kind == "directory" {
                args.push(OsStr::new("--ls"));
            }
            let said = dump(&args, &of);
            compare_dumped(&said, wanted, &of);
            if wanted.kind == "directory" {
                let directory = sample.tree.get(path).unwrap();
                let lines = said.split_once("FILENAME").unwrap().1;
                for (child, _) in sample.tree.children(directory) {
                    let child = format!("  {}", String::from_utf8_lossy(child));
                    assert!(lines.contains(&child), "{of}: {child} in {said}");
                }
            }
        }
    });
}

/// All attributes of a file as the kernel gives them, but for those that lead overlayfs to its data.
fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(&path, &mut list).unwrap();
    let names = list[..length].split(|byte| *byte == 0);
    let ours: [&[u8]; 2] = [b"trusted.overlay.metacopy", b"trusted.overlay.redirect"];
    names
        .filter(|name| !name.is_empty() && !ours.contains(name))
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let got = rustix::fs::lgetxattr(&path, name, &mut value);
            let length =
                got.unwrap_or_else(|e| panic!("{path:?}, {}: {e}", String::from_utf8_lossy(name)));
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

#[test]
fn attributes_that_no_image_holds_are_counted() {
    let (sample, wanted) = trees::too_much();
    assert_eq!(sample.image().1, wanted);
}

#[test]
fn the_kernel_shows_what_the_tree_has() {
    if !can("root", is_root()) {
        return;
    }
    for_each_image(|sample, image| {
        let name = &sample.name;
        let context = Context::open("erofs").unwrap();
        context.set("source", image).unwrap();
        let mount = context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY);
        let mount = mount.unwrap_or_else(|e| panic!("{name}: {e}"));
        let root = PathBuf::from(format!("/proc/self/fd/{}/", mount.as_raw_fd()));
        let wanted = facts::of(sample);
        assert_eq!(
            walk(&root),
            wanted.keys().cloned().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, wanted) in wanted {
            let place = match path.is_empty() {
                true => root.join("."),
                false => at(&root, &path),
            };
            let mut found = seen(&place);
            found.xattrs = attributes(&place);
            if wanted.content.is_some() {
                found.content = Some(std::fs::read(&place).unwrap());
            }
            let path = String::from_utf8_lossy(&path);
            assert_eq!(found, wanted, "{name}: /{path}");
        }
    });
}
