//! Snapshots by the command beside the contract: what many files, every kind of file, and no privilege
//! make of them.

mod common;

use std::path::{Path, PathBuf};

use common::{Cairn, is_root, noise, survey};

/// Mounts an active snapshot, changes it with a script, and commits it.
fn change(cairn: &Cairn, name: &str, parent: Option<&str>, script: &str) {
    let parent: Vec<&str> = parent.into_iter().collect();
    cairn.ok(&[&["snapshot", "prepare", "work"], &parent[..]].concat());
    let place = cairn.path("mnt");
    std::fs::create_dir_all(&place).unwrap();
    cairn.ok(&["mount", "work", place.to_str().unwrap()]);
    let done = std::process::Command::new("sh")
        .args(["-ec", script])
        .current_dir(&place)
        .status();
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    assert!(done.unwrap().success(), "{script}");
    cairn.ok(&["snapshot", "commit", name, "work"]);
}

fn seen(cairn: &Cairn, name: &str, look: &mut dyn FnMut(&Path)) {
    let place = cairn.path("seen");
    std::fs::create_dir_all(&place).unwrap();
    cairn.ok(&["mount", name, place.to_str().unwrap()]);
    look(&place);
    assert!(
        std::fs::write(place.join("no"), "").is_err(),
        "a view refuses a real write"
    );
    cairn.ok(&["unmount", place.to_str().unwrap()]);
}

/// Content of a mounted snapshot, without the times of directories that the survey's reader may differ in.
fn tree(cairn: &Cairn, name: &str) -> std::collections::BTreeMap<PathBuf, String> {
    let mut out = Default::default();
    seen(cairn, name, &mut |place| out = survey(place));
    out
}

#[test]
fn a_chown_or_rename_of_much_commits_without_storing_data() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let source = cairn.path("tree");
    std::fs::create_dir_all(source.join("big")).unwrap();
    for i in 0..20 {
        std::fs::write(source.join("big").join(i.to_string()), noise(i, 500_000)).unwrap();
    }
    cairn.import_dir(&source, "base");
    let stored = |cairn: &Cairn| {
        cairn.json(&["stats"])["stored_content_bytes"]
            .as_u64()
            .unwrap()
    };
    let before = stored(&cairn);
    let top = cairn.json(&["inspect", "base"])["top_snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    change(&cairn, "owned", Some(&top), "chown -R 7:8 big");
    change(&cairn, "renamed", Some("owned"), "mv big bigger");
    assert_eq!(stored(&cairn), before);
    seen(&cairn, "renamed", &mut |place| {
        use std::os::unix::fs::MetadataExt;
        for i in 0..20 {
            let path = place.join("bigger").join(i.to_string());
            assert!(std::fs::read(&path).unwrap() == noise(i, 500_000));
            assert_eq!(
                (
                    path.metadata().unwrap().uid(),
                    path.metadata().unwrap().gid()
                ),
                (7, 8)
            );
        }
    });
}

#[test]
fn views_show_every_kind_of_file_as_it_was() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let source = cairn.path("tree");
    std::fs::create_dir(&source).unwrap();
    common::odd_tree(&source);
    std::fs::create_dir(source.join("many")).unwrap();
    for i in 0..3000 {
        std::fs::write(
            source.join(format!("many/{i:04}{}", "n".repeat(i % 200))),
            i.to_string().repeat(i % 40),
        )
        .unwrap();
    }
    cairn.import_dir(&source, "odd");
    let wanted = survey(&source);
    for driver in ["erofs", "erofs-loop", "overlay", "copy"] {
        let mut cairn = Cairn::new();
        cairn.driver = Some(driver);
        cairn.import_dir(&source, "odd");
        let shown = tree(&cairn, "odd");
        assert_eq!(shown.len(), wanted.len(), "{driver}");
        for (path, text) in &wanted {
            assert_eq!(&shown[path], text, "{driver}: {path:?}");
        }
    }
}

#[test]
fn the_copy_driver_commits_without_privilege() {
    let mut cairn = Cairn::new();
    cairn.driver = Some("copy");
    let source = cairn.path("tree");
    std::fs::create_dir_all(source.join("d")).unwrap();
    for name in ["keep", "change", "remove", "d/inner"] {
        std::fs::write(source.join(name), name).unwrap();
    }
    cairn.import_dir(&source, "base");
    cairn.ok(&["snapshot", "prepare", "work", "base"]);
    let plan = cairn.json(&["snapshot", "mounts", "work"]);
    let copy = PathBuf::from(plan["head"]["upper"].as_str().unwrap());
    std::fs::write(copy.join("change"), "other").unwrap();
    std::fs::remove_file(copy.join("remove")).unwrap();
    std::fs::write(copy.join("d/new"), "new").unwrap();
    let changes = cairn.json(&["snapshot", "diff", "work"]);
    let list: Vec<String> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {}",
                c["change"].as_str().unwrap(),
                c["path"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        list,
        [
            "changed /",
            "changed /change",
            "changed /d",
            "added /d/new",
            "deleted /remove"
        ]
    );
    cairn.ok(&["snapshot", "commit", "done", "work"]);
    assert_eq!(cairn.json(&["snapshot", "diff", "done"]), changes);
    assert_eq!(cairn.json(&["snapshot", "usage", "done"])["bytes"], 8);
}
