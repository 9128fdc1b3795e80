//! `cairn backup`: the copy is whole whatever goes on, and is a repository itself.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Cairn, noise};

fn import(cairn: &Cairn, i: u64) {
    let tree = cairn.path(&format!("tree{i}"));
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("common"), noise(1, 200_000)).unwrap();
    std::fs::write(tree.join("own"), noise(100 + i, 300_000)).unwrap();
    cairn.import_dir(&tree, &format!("app:{i}"));
}

/// The backup as a repository of its own.
fn opened(at: &Path) -> Cairn {
    let cairn = Cairn::new();
    std::os::unix::fs::symlink(at, cairn.root()).unwrap();
    cairn
}

fn content(cairn: &Cairn, image: &str) -> Vec<u8> {
    let out = cairn.path("out");
    let _ = std::fs::remove_dir_all(&out);
    cairn.ok(&[
        "export",
        image,
        "--format",
        "dir",
        "-o",
        out.to_str().unwrap(),
    ]);
    std::fs::read(out.join("own")).unwrap()
}

#[test]
fn a_backup_is_a_repository_and_the_next_brings_only_what_is_new() {
    let cairn = Cairn::new();
    import(&cairn, 0);
    import(&cairn, 1);
    cairn.ok(&["snapshot", "prepare", "work", "app:0"]);
    let to = cairn.path("backup");
    let first = cairn.json(&["backup", to.to_str().unwrap()]);
    assert_eq!(first["kept_packs"], 0);
    assert_eq!(first["left_out"][0], "work");
    assert_eq!(
        first["linked_bytes"], first["new_bytes"],
        "on one file system"
    );
    let backup = opened(&to);
    assert_eq!(backup.image_names(), ["app:0", "app:1"]);
    backup.ok(&["check"]);
    assert!(content(&backup, "app:1") == noise(101, 300_000));
    // Another: what is there stays, what is gone goes.
    import(&cairn, 2);
    cairn.ok(&["rmi", "app:1"]);
    let second = cairn.json(&["backup", to.to_str().unwrap()]);
    assert_eq!(second["new_packs"], 1, "{second}");
    assert_eq!(second["kept_packs"], 2, "{second}");
    assert_eq!(backup.image_names(), ["app:0", "app:2"]);
    backup.ok(&["check"]);
    cairn.ok(&["gc"]);
    cairn.ok(&["backup", to.to_str().unwrap()]);
    backup.ok(&["check"]);
    assert!(content(&backup, "app:2") == noise(102, 300_000));
    // Restored: the repository is lost, the backup is copied back by the same command.
    std::fs::remove_dir_all(cairn.root()).unwrap();
    backup.ok(&["backup", cairn.root().to_str().unwrap()]);
    assert_eq!(cairn.image_names(), ["app:0", "app:2"]);
    cairn.ok(&["check"]);
    assert!(content(&cairn, "app:0") == noise(100, 300_000));
    import(&cairn, 3);
    cairn.ok(&["gc"]);
    cairn.ok(&["check"]);
    assert_eq!(
        cairn.root().join("packs").metadata().unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_backup_beside_imports_removals_and_collections_is_whole() {
    let cairn = Cairn::new();
    import(&cairn, 0);
    let to = cairn.path("backup");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 1..8 {
                import(&cairn, i);
                if i % 2 == 0 {
                    cairn.ok(&["rmi", &format!("app:{}", i - 1)]);
                    cairn.ok(&["gc"]);
                }
            }
        });
        for _ in 0..6 {
            cairn.ok(&["backup", to.to_str().unwrap()]);
            let backup = opened(&to);
            backup.ok(&["check"]);
            for name in backup.image_names() {
                content(&backup, &name);
            }
        }
    });
}

#[test]
fn a_backup_goes_neither_into_the_repository_nor_over_somebodys_files() {
    let cairn = Cairn::new();
    import(&cairn, 0);
    let inside = cairn.root().join("tmp/backup");
    cairn.fails(&["backup", inside.to_str().unwrap()], 1, "inside");
    let there = cairn.path("there");
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("mine"), "").unwrap();
    cairn.fails(&["backup", there.to_str().unwrap()], 1, "not empty");
    // A repository that somebody works with is no backup.
    let other = Cairn::new();
    other.ok(&["snapshot", "prepare", "work"]);
    cairn.fails(
        &["backup", other.root().to_str().unwrap()],
        1,
        "not a backup",
    );
    cairn.ok(&["check"]);
}
