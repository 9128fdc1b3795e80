//! What the system refuses is never taken for damage, and what is damaged is always mended or named.

mod common;

use std::process::{Command, Output, Stdio};

use common::{Cairn, noise};

fn some(cairn: &Cairn) {
    let tree = cairn.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    for i in 0..5 {
        std::fs::write(tree.join(format!("f{i}")), noise(i, 60_000)).unwrap();
    }
    cairn.import_dir(&tree, "app:0");
    cairn.use_database();
}

fn limited(cairn: &Cairn, limit: &str, args: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit {limit}; exec \"$0\" --root \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_cairn"))
        .arg(cairn.root())
        .args(args)
        .env_remove("CAIRN_ROOT")
        .output()
        .unwrap()
}

/// Nobody is killed, so nothing may ever be set aside.
#[test]
fn many_commands_at_once_never_set_a_database_aside() {
    let cairn = Cairn::new();
    some(&cairn);
    for round in 0..4 {
        let mut running = Vec::new();
        for i in 0..4 {
            let name = format!("app:r{round}-{i}");
            running.push(cairn.command(&["tag", "app:0", &name]).spawn().unwrap());
        }
        for _ in 0..2 {
            let check = cairn.command(&["check"]).stdout(Stdio::null()).spawn();
            running.push(check.unwrap());
        }
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
        assert!(!cairn.root().join("db.broken").exists(), "round {round}");
    }
    assert_eq!(cairn.image_names().len(), 17);
}

/// sled's lock is held by somebody who does not let go: commands wait, then do without it.
#[test]
fn a_database_that_is_busy_is_not_damaged() {
    let cairn = Cairn::new();
    some(&cairn);
    let file = std::fs::File::open(cairn.root().join("db/db")).unwrap();
    file.lock().unwrap();
    cairn.ok(&["tag", "app:0", "app:1"]);
    assert!(!cairn.root().join("db.broken").exists());
    drop(file);
    assert_eq!(cairn.image_names().len(), 2);
    cairn.ok(&["check"]);
}

#[test]
fn want_of_descriptors_or_memory_is_neither_damage_nor_a_panic() {
    let cairn = Cairn::new();
    some(&cairn);
    for limit in [
        "-n 5",
        "-n 7",
        "-n 8",
        "-n 9",
        "-n 10",
        "-n 12",
        "-n 14",
        "-v 60000",
        "-v 90000",
        "-v 150000",
        "-v 400000",
    ] {
        for args in [&["check"][..], &["images"], &["tag", "app:0", "app:1"]] {
            let done = limited(&cairn, limit, args);
            let said = String::from_utf8_lossy(&done.stderr).into_owned()
                + &String::from_utf8_lossy(&done.stdout);
            let what = format!("ulimit {limit}, {args:?}: {:?} {said}", done.status);
            assert_ne!(done.status.code(), Some(3), "{what}");
            assert!(
                !said.contains("--repair") && !said.contains("damage found"),
                "{what}"
            );
            // A thread for whose signal stack there is no memory is ended by the standard library before it has
            // run anything of ours, as an allocation that fails is.
            let panics = said.matches("panicked").count();
            let of_threads = said.matches("an alternative stack").count();
            assert_eq!(panics, of_threads, "{what}");
        }
        assert!(!cairn.root().join("db.broken").exists(), "{limit}");
    }
    cairn.ok(&["check"]);
}

/// An id that runs nothing else.
const USER: u32 = 61_234;

/// A user's bound on processes counts threads too. Whatever can do with fewer does; the rest says it.
#[test]
fn a_thread_that_is_refused_is_one_line() {
    if !common::is_root() {
        skip!("needs root, to become a user without any process");
    }
    let cairn = Cairn::new();
    some(&cairn);
    let archive = cairn.path("app.tar");
    cairn.ok(&["export", "app:0", "-o", archive.to_str().unwrap()]);
    let chown = Command::new("chown")
        .args(["-R", &format!("{USER}:{USER}")])
        .arg(cairn.path("."))
        .status();
    assert!(chown.unwrap().success());
    let out = cairn.path("out");
    for processes in 1..8 {
        for args in [
            &["check"][..],
            &["stats"],
            &["gc"],
            &["import", archive.to_str().unwrap(), "--name", "again:0"],
            &[
                "export",
                "app:0",
                "--format",
                "tar",
                "-o",
                out.to_str().unwrap(),
            ],
            &[
                "export",
                "app:0",
                "--format",
                "oci-archive",
                "-o",
                out.to_str().unwrap(),
            ],
            &[
                "import",
                cairn.path("tree").to_str().unwrap(),
                "--name",
                "tree:0",
            ],
        ] {
            let done = Command::new("setpriv")
                .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
                .args(["--clear-groups", "prlimit"])
                .arg(format!("--nproc={processes}"))
                .arg(env!("CARGO_BIN_EXE_cairn"))
                .arg("--root")
                .arg(cairn.root())
                .args(args)
                .env_remove("CAIRN_ROOT")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            let what = format!("{processes} processes, {args:?}: {:?} {said}", done.status);
            assert!(matches!(done.status.code(), Some(0 | 1)), "{what}");
            assert!(!said.contains("panicked"), "{what}");
            assert!(
                done.status.success() || said.contains("temporarily unavailable"),
                "{what}"
            );
        }
    }
    cairn.ok(&["check"]);
}

/// A pack that may not be read is nothing that a repair could mend.
#[test]
fn a_refused_read_is_not_damage() {
    let cairn = Cairn::new();
    some(&cairn);
    let packs = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    let pack = packs.map(|e| e.unwrap().path()).next().unwrap();
    let kept = pack.with_extension("kept");
    std::fs::rename(&pack, &kept).unwrap();
    // Opening a socket's name answers ENXIO, whoever asks.
    let socket = std::os::unix::net::UnixListener::bind(&pack);
    let Ok(_socket) = socket else {
        skip!("no socket can be made here");
    };
    let done = cairn.output(&["check"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not read: ") && !said.contains("--repair"),
        "{said}"
    );
    std::fs::remove_file(&pack).unwrap();
    std::fs::rename(&kept, &pack).unwrap();
    cairn.ok(&["check"]);
}

#[test]
fn a_damaged_database_beside_a_long_journal_is_mended() {
    let cairn = Cairn::new();
    some(&cairn);
    let path = cairn.root().join("db/db");
    let good = std::fs::read(&path).unwrap();
    let mut cases: Vec<Vec<u8>> = [0, good.len() / 3, good.len() - 1]
        .iter()
        .map(|len| good[..*len].to_vec())
        .collect();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    for i in 1..4 {
        let mut bad = good.clone();
        bad[used * i / 4] ^= 0x20;
        cases.push(bad);
    }
    for (i, bad) in cases.iter().enumerate() {
        std::fs::write(&path, bad).unwrap();
        assert_eq!(cairn.image_names(), ["app:0"], "case {i}");
        let found = cairn.json(&["snapshot", "ls"]).as_array().unwrap().len();
        assert_eq!(found, 4, "case {i}");
        let checked = cairn.output(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(
            matches!(checked.status.code(), Some(0 | 3)),
            "case {i}: {checked:?}"
        );
        assert!(
            said.contains("verified ") && said.contains("blobs"),
            "no report: {said}"
        );
        cairn.ok(&["check", "--repair"]);
        cairn.ok(&["gc"]);
        let aside = cairn.root().join("db.broken");
        assert!(!aside.exists(), "case {i}: what was set aside is kept");
        assert_eq!(cairn.json(&["snapshot", "ls"]).as_array().unwrap().len(), 4);
    }
}

/// A cut journal looks like one that a crash tore; its copy knows better.
#[test]
fn a_cut_journal_beside_a_damaged_database_loses_nothing() {
    for cut in [1, 5, 40, 90] {
        let cairn = Cairn::new();
        some(&cairn);
        cairn.ok(&["tag", "app:0", "app:last"]);
        let journal = cairn.root().join("journal");
        let bytes = std::fs::read(&journal).unwrap();
        std::fs::write(&journal, &bytes[..bytes.len() - cut]).unwrap();
        std::fs::remove_dir_all(cairn.root().join("db")).unwrap();
        assert_eq!(cairn.output(&["check"]).status.code(), Some(3));
        cairn.ok(&["check", "--repair"]);
        assert_eq!(cairn.image_names().len(), 2, "{cut} bytes");
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_of_the_journal_loses_nothing() {
    for with_database in [true, false] {
        for bit in 0..6 {
            let cairn = Cairn::new();
            some(&cairn);
            cairn.ok(&["tag", "app:0", "app:last"]);
            let journal = cairn.root().join("journal");
            let mut bytes = std::fs::read(&journal).unwrap();
            let at = bytes.len() - 3 - bit * 11;
            bytes[at] ^= 1 << bit;
            std::fs::write(&journal, bytes).unwrap();
            if !with_database {
                std::fs::remove_dir_all(cairn.root().join("db")).unwrap();
            }
            assert_eq!(cairn.output(&["check"]).status.code(), Some(3));
            cairn.ok(&["check", "--repair"]);
            assert_eq!(cairn.image_names().len(), 2, "byte {at}, {with_database}");
            cairn.ok(&["check"]);
        }
    }
}
