//! A disk without a byte or an inode left: what removes things still works, and nothing is called damaged.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, is_root, noise};

/// A small file system in a file, mounted; gone with the test.
struct Small(PathBuf);

impl Small {
    fn new(cairn: &Cairn, options: &[&str]) -> Option<Self> {
        let image = cairn.path("disk.img");
        let place = cairn.path("disk");
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(24 << 20)
            .unwrap();
        let run = |program: &str, args: &[&str], paths: &[&Path]| {
            let done = Command::new(program).args(args).args(paths).output();
            done.is_ok_and(|done| done.status.success())
        };
        let made = run(
            "mkfs.ext4",
            &[&["-q", "-F", "-m", "0"], options].concat(),
            &[&image],
        );
        (made && run("mount", &["-o", "loop"], &[&image, &place])).then(|| Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs a command on the repository of the small disk.
fn run(disk: &Small, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .arg("--root")
        .arg(disk.0.join("repository"))
        .args(args)
        .env_remove("CAIRN_ROOT")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    (output.status.code(), said)
}

/// Two images without anything in common.
fn import(cairn: &Cairn, disk: &Small) {
    for i in 0..2_u64 {
        let tree = cairn.path(&format!("tree{i}"));
        std::fs::create_dir(&tree).unwrap();
        for f in 0..3 {
            std::fs::write(tree.join(format!("f{f}")), noise(i * 10 + f, 900_000)).unwrap();
        }
        let name = format!("app:{i}");
        let done = run(disk, &["import", tree.to_str().unwrap(), "--name", &name]);
        assert_eq!(done.0, Some(0), "{}", done.1);
    }
}

fn fill_bytes(disk: &Small) {
    let file = std::fs::File::create(disk.0.join("filler")).unwrap();
    for block in [1 << 20, 4096, 512, 1] {
        while std::io::Write::write(&mut &file, &vec![1; block]).is_ok_and(|n| n > 0) {}
    }
    let _ = file.sync_all();
}

fn fill_inodes(disk: &Small) {
    let place = disk.0.join("fillers");
    std::fs::create_dir(&place).unwrap();
    for i in 0.. {
        if std::fs::File::create(place.join(i.to_string())).is_err() {
            return;
        }
    }
}

fn way_out(options: &[&str], fill: fn(&Small)) {
    if !is_root() {
        skip!("a loop device needs root");
    }
    for without_database in [false, true] {
        let cairn = Cairn::new();
        let Some(disk) = Small::new(&cairn, options) else {
            skip!("no small file system can be made here");
        };
        import(&cairn, &disk);
        fill(&disk);
        let root = disk.0.join("repository");
        if without_database {
            let db = root.join("db");
            if db.exists() {
                std::fs::remove_dir_all(db).unwrap();
            }
            fill_again(&disk, fill);
        }
        // Nothing is wrong with it, and nobody says so.
        let (code, said) = run(&disk, &["check"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("--repair"), "{said}");
        let (code, said) = run(&disk, &["images"]);
        assert_eq!(code, Some(0), "{said}");
        // What brings something is refused for want of room, and no more than that.
        let (code, said) = run(&disk, &["snapshot", "prepare", "one", "app:1"]);
        if code != Some(0) {
            assert_eq!(code, Some(1), "{said}");
            assert!(
                said.contains("No space left") && !said.contains("--repair"),
                "{said}"
            );
        } else {
            run(&disk, &["snapshot", "rm", "one"]);
        }
        let (code, said) = run(&disk, &["rmi", "app:0"]);
        assert_eq!(code, Some(0), "rmi: {said}");
        let before = used(&disk);
        let (code, said) = run(&disk, &["gc"]);
        assert_eq!(code, Some(0), "gc: {said}");
        assert!(used(&disk) + 2_000_000 < before, "{said}");
        let (code, said) = run(&disk, &["check"]);
        assert_eq!(code, Some(0), "{said}");
        fill_again(&disk, |_| ());
        run(&disk, &["gc"]);
        let reserve = root.join("reserve");
        assert!(reserve.is_dir(), "the reserve is put aside again");
        assert!(!root.join("db.broken").exists());
    }
}

/// Takes what came free since.
fn fill_again(disk: &Small, fill: fn(&Small)) {
    let _ = std::fs::remove_file(disk.0.join("filler"));
    let _ = std::fs::remove_dir_all(disk.0.join("fillers"));
    fill(disk);
}

fn used(disk: &Small) -> u64 {
    let stat = rustix::fs::statvfs(&disk.0).unwrap();
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

#[test]
fn without_a_byte_free_images_can_be_removed_and_collected() {
    way_out(&[], fill_bytes);
}

#[test]
fn without_an_inode_free_images_can_be_removed_and_collected() {
    way_out(&["-N", "256"], fill_inodes);
}
