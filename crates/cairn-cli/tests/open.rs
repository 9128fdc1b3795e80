//! Reading never creates a repository, and works where nothing can be written.

mod common;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use common::{Cairn, is_root, noise};

const READING: [&[&str]; 16] = [
    &["images"],
    &["inspect", "x"],
    &["history", "x"],
    &["export", "x", "-o", "/nonexistent/x"],
    &["tag", "x", "y"],
    &["rmi", "x"],
    &["ps"],
    &["rm", "x"],
    &["stop", "x"],
    &["logs", "x"],
    &["snapshot", "ls"],
    &["snapshot", "prepare", "a", "x"],
    &["gc"],
    &["stats"],
    &["check"],
    &["check", "--repair"],
];

fn tree(cairn: &Cairn, name: &str) -> std::path::PathBuf {
    let tree = cairn.path(name);
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(1, 300_000)).unwrap();
    tree
}

#[test]
fn reading_makes_no_repository_where_there_is_none() {
    let cairn = Cairn::new();
    for args in READING {
        let said = cairn.fails(args, 1, "there is no Cairn repository in");
        assert!(said.contains(cairn.root().to_str().unwrap()), "{said}");
        assert!(
            said.contains("cairn init") && said.contains("--root"),
            "{said}"
        );
        assert!(!cairn.root().exists(), "{args:?} made something");
    }
    // An unmounted disk is an empty directory.
    std::fs::create_dir(cairn.root()).unwrap();
    for args in READING {
        cairn.fails(args, 1, "there is no Cairn repository in");
        assert_eq!(
            std::fs::read_dir(cairn.root()).unwrap().count(),
            0,
            "{args:?}"
        );
    }
}

#[test]
fn init_import_and_a_first_snapshot_make_one() {
    let cairn = Cairn::new();
    assert!(cairn.ok(&["init"]).contains("created"));
    assert!(cairn.ok(&["init"]).contains("already"));
    assert_eq!(cairn.json(&["init"])["created"], false);
    assert_eq!(cairn.image_names().len(), 0);
    cairn.ok(&["check"]);
    let other = Cairn::new();
    other.ok(&["snapshot", "prepare", "first"]);
    other.ok(&["check"]);
    let third = Cairn::new();
    third.import_dir(&tree(&third, "tree"), "x");
    third.ok(&["check"]);
    // A directory with somebody's files is not taken.
    let fourth = Cairn::new();
    std::fs::create_dir(fourth.root()).unwrap();
    std::fs::write(fourth.root().join("mine"), "").unwrap();
    fourth.fails(&["init"], 1, "not empty");
}

#[test]
fn everything_in_a_repository_is_the_owners_alone() {
    let cairn = Cairn::new();
    std::fs::create_dir(cairn.root()).unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&cairn.root(), 0o755);
    let run = |args: &str| {
        let done = Command::new("sh")
            .args(["-c", &format!("umask 0; exec \"$0\" --root \"$1\" {args}")])
            .args([
                env!("CARGO_BIN_EXE_cairn").as_ref(),
                cairn.root().as_os_str(),
            ])
            .env_remove("CAIRN_ROOT")
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let private = |names: &[&str]| {
        for name in names {
            let path = cairn.root().join(name);
            let mode = path.metadata().unwrap().mode() & 0o7777;
            let right = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, right, "{name} has mode {mode:o}");
        }
    };
    let names = [
        "journal",
        "lock",
        "packs",
        "index",
        "leases",
        "tmp",
        "heads",
        "containers",
        "cache",
        "db",
    ];
    tree(&cairn, "tree");
    run(&format!("import {} --name x", cairn.path("tree").display()));
    cairn.use_database();
    private(&names);
    // What an earlier version left open is closed by the next command of the owner.
    for name in names {
        open(&cairn.root().join(name), 0o755);
    }
    open(&cairn.root().join("db/db"), 0o644);
    run("images");
    for name in ["journal", "lock"] {
        let mode = cairn.root().join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    private(&[
        "packs",
        "index",
        "leases",
        "tmp",
        "heads",
        "containers",
        "cache",
        "db",
    ]);
    assert_eq!(
        cairn.root().metadata().unwrap().mode() & 0o777,
        0o755,
        "the user's own choice"
    );
}

#[test]
fn a_read_only_repository_is_read_without_a_byte_written() {
    if !is_root() {
        common_skip();
        return;
    }
    let cairn = Cairn::new();
    cairn.import_dir(&tree(&cairn, "tree"), "x");
    cairn.ok(&["snapshot", "prepare", "work", "x"]);
    // A journal too long to be read in one go, too.
    for long in [false, true] {
        if long {
            cairn.use_database();
        }
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99
            shift_root=$1; shift; exec \"$0\" --root \"$shift_root\" \"$@\"";
        let before = common::survey(&cairn.root());
        for args in [
            &["images"][..],
            &["inspect", "x"],
            &["history", "x"],
            &["snapshot", "ls"],
            &["snapshot", "stat", "work"],
            &["stats"],
            &["check"],
            &["ps", "-a"],
            &["gc", "--dry-run"],
            &["export", "x", "-o", cairn.path("x.tar").to_str().unwrap()],
        ] {
            let done = Command::new("unshare")
                .args(["-m", "sh", "-c", script])
                .args([
                    env!("CARGO_BIN_EXE_cairn").as_ref(),
                    cairn.root().as_os_str(),
                ])
                .args(args)
                .env_remove("CAIRN_ROOT")
                .output()
                .unwrap();
            if done.status.code() == Some(99) {
                common_skip();
                return;
            }
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{args:?}: {said}");
        }
        assert!(
            common::survey(&cairn.root()) == before,
            "something was written"
        );
    }
}

fn common_skip() {
    skip!("a read-only mount needs root");
}

#[test]
fn a_root_that_is_not_utf8_works_or_is_refused_before_anything_is_made() {
    let cairn = Cairn::new();
    let root = cairn
        .path("r")
        .with_file_name(std::ffi::OsStr::from_bytes(b"r\xff"));
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_cairn"))
            .arg("--root")
            .arg(&root)
            .args(args)
            .output()
            .unwrap()
    };
    assert!(run(&["init"]).status.success());
    let prepared = run(&["--json", "snapshot", "prepare", "one"]);
    let listed = run(&["--json", "snapshot", "ls"]);
    let there = String::from_utf8_lossy(&listed.stdout).contains("one");
    assert_eq!(prepared.status.success(), there, "{prepared:?}");
    assert!(run(&["--json", "stats"]).status.success());
}

#[test]
fn a_lost_format_is_named_and_written_again() {
    for damage in ["removed", "flipped", "empty"] {
        let cairn = Cairn::new();
        cairn.import_dir(&tree(&cairn, "tree"), "x");
        let format = cairn.root().join("format");
        match damage {
            "removed" => std::fs::remove_file(&format).unwrap(),
            "flipped" => std::fs::write(&format, "cairn repos\u{1}tory 1").unwrap(),
            _ => std::fs::write(&format, "").unwrap(),
        }
        let said = cairn.fails(&["images"], 3, "\"format\"");
        assert!(said.contains("check --repair"), "{said}");
        cairn.fails(&["check"], 3, "\"format\"");
        cairn.ok(&["check", "--repair"]);
        assert_eq!(cairn.image_names().len(), 1, "{damage}");
    }
    // A newer format is no damage.
    let cairn = Cairn::new();
    cairn.import_dir(&tree(&cairn, "tree"), "x");
    let format = cairn.root().join("format");
    std::fs::write(&format, "cairn repository 2, something else\n").unwrap();
    cairn.fails(&["images"], 1, "this program knows");
    cairn.fails(&["check", "--repair"], 1, "this program knows");
}
