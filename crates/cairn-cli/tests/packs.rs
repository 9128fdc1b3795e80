//! The driver packs from the command line: what it shows, what is written for it, and what becomes of its
//! views when packs are rewritten or damaged.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, framed, noise, odd_tree, shell_tree, shown, survey};

fn objects(cairn: &Cairn) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let directories = std::fs::read_dir(cairn.root().join("cache/objects"));
    for directory in directories.into_iter().flatten().flatten() {
        for file in std::fs::read_dir(directory.path()).unwrap().flatten() {
            out.push(file.path());
        }
    }
    out
}

/// What belongs to images of contents, with this extension.
fn contents(cairn: &Cairn, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cairn.root().join("cache/contents"));
    let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
    let is_sought = |path: &PathBuf| path.extension().is_some_and(|e| e == extension);
    paths.filter(is_sought).collect()
}

fn packs(cairn: &Cairn) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    let mut out: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    out.sort();
    out
}

#[test]
fn a_view_over_packs_shows_what_was_imported_and_writes_no_content() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    odd_tree(&tree);
    std::fs::write(tree.join("text"), "a line of text\n".repeat(40_000)).unwrap();
    std::fs::write(tree.join("noise"), noise(3, 3_000_000)).unwrap();
    for n in 0..300_usize {
        std::fs::write(tree.join(format!("f{n}")), noise(n as u64, 60 + n * 131)).unwrap();
    }
    cairn.import_dir(&tree, "odd");
    let wanted = survey(&tree);
    for _ in 0..2 {
        assert_eq!(shown(&cairn, "odd", survey), wanted);
    }
    // Files with holes alone are written out.
    let sizes: Vec<u64> = objects(&cairn)
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .collect();
    assert_eq!(sizes, [20_000_000]);
    let plan = cairn.json(&["snapshot", "prepare", "s", "odd"]);
    assert_eq!(plan["driver"], "packs");
    assert_eq!(plan["packs"].as_array().unwrap().len(), packs(&cairn).len());
    cairn.ok(&["snapshot", "rm", "s"]);
    // Other drivers show the same of the same repository.
    let mut other = cairn;
    other.driver = Some("erofs");
    assert_eq!(shown(&other, "odd", survey), wanted);
    let report = other.json(&["check", "--full"]);
    assert_eq!(report["sound"], true, "{report}");
}

#[test]
fn what_a_container_changes_is_committed_over_packs() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    shell_tree(&tree);
    std::fs::write(tree.join("big"), noise(5, 2_000_000)).unwrap();
    std::fs::write(tree.join("moved"), noise(6, 500_000)).unwrap();
    std::fs::write(tree.join("edited"), noise(7, 500_000)).unwrap();
    cairn.import_dir(&tree, "base");
    let script =
        "chmod 600 big; mv moved there; echo more >> edited; rm -r etc/group; echo new > tmp/new";
    cairn.ok(&["run", "--name", "c", "base", "/bin/sh", "-c", script]);
    cairn.ok(&["commit", "c", "child"]);
    let text = cairn.ok(&["run", "--rm", "child", "/bin/cat", "/tmp/new"]);
    assert_eq!(text, "new\n");
    // Other ids for the container: the images are shown with them.
    let listed = "ls -ln big | { read mode links user rest; echo $user; } && cat tmp/new";
    let mapped = [
        "run", "--rm", "--userns", "auto", "child", "/bin/sh", "-c", listed,
    ];
    assert_eq!(cairn.ok(&mapped), "0\nnew\n");
    // A start anew after everything of the cache is gone.
    cairn.ok(&["gc", "--prune-cache"]);
    let seen = shown(&cairn, "child", |place| {
        let read = |name: &str| std::fs::read(place.join(name)).unwrap();
        assert!(read("big") == noise(5, 2_000_000));
        assert!(read("there") == noise(6, 500_000));
        assert!(read("edited") == [&noise(7, 500_000)[..], b"more\n"].concat());
        survey(place)
    });
    assert!(!seen.contains_key(Path::new("moved")) && !seen.contains_key(Path::new("etc/group")));
    assert_eq!(objects(&cairn), Vec::<PathBuf>::new());
    cairn.ok(&["rm", "c"]);
}

#[test]
fn a_mounted_view_outlives_its_packs_and_the_next_one_is_of_the_new_packs() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for n in 0..40 {
        std::fs::write(tree.join(format!("gone{n}")), noise(n, 60_000)).unwrap();
    }
    for n in 0..40 {
        std::fs::write(tree.join(format!("kept{n}")), noise(1000 + n, 60_000)).unwrap();
    }
    cairn.import_dir(&tree, "both");
    for n in 0..40 {
        std::fs::remove_file(tree.join(format!("gone{n}"))).unwrap();
    }
    cairn.import_dir(&tree, "kept");
    let before = packs(&cairn);
    let wanted = survey(&tree);
    shown(&cairn, "kept", |place| {
        cairn.ok(&["rmi", "both"]);
        cairn.ok(&["gc", "--all"]);
        let after = packs(&cairn);
        assert!(before.iter().any(|pack| !after.contains(pack)), "rewritten");
        assert_eq!(survey(place), wanted);
    });
    assert_eq!(shown(&cairn, "kept", survey), wanted);
    let images = contents(&cairn, "image");
    assert_eq!(images.len(), 1, "an image of packs that are gone stays");
    assert_eq!(objects(&cairn), Vec::<PathBuf>::new());
}

#[test]
fn damage_of_a_pack_is_an_error_of_the_read_and_is_repaired_as_ever() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for n in 0..30 {
        std::fs::write(tree.join(format!("f{n}")), noise(n, 60_000)).unwrap();
    }
    cairn.import_dir(&tree, "img");
    let pack = &packs(&cairn)[0];
    let length = pack.metadata().unwrap().len();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pack)
        .unwrap();
    for n in 0..4 {
        let at = length * (2 * n + 1) / 9;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    let wrong = shown(&cairn, "img", |place| {
        let mut wrong = 0;
        for n in 0..30 {
            match std::fs::read(place.join(format!("f{n}"))) {
                Ok(found) => assert!(found == noise(n, 60_000), "f{n}"),
                Err(_) => wrong += 1,
            }
        }
        wrong
    });
    assert!((1..=4).contains(&wrong), "{wrong}");
    assert_eq!(cairn.output(&["check", "--full"]).status.code(), Some(3));
    // Imported again, the content is there again, and so is the view.
    cairn.output(&["check", "--repair"]);
    cairn.import_dir(&tree, "img");
    let wanted = survey(&tree);
    assert_eq!(shown(&cairn, "img", survey), wanted);
}

#[test]
fn a_view_over_packs_that_is_damaged_is_found_and_made_anew() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("f"), noise(1, 60_000)).unwrap();
    cairn.import_dir(&tree, "img");
    let wanted = survey(&tree);
    assert_eq!(shown(&cairn, "img", survey), wanted);
    std::fs::write(&contents(&cairn, "image")[0], "nonsense").unwrap();
    let said = cairn.output(&["check", "--full"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("over packs is damaged"), "{said}");
    assert_eq!(shown(&cairn, "img", survey), wanted);
}

#[test]
fn without_frames_the_driver_shows_the_same_and_says_what_it_lacks() {
    let Ok(framed) = framed() else {
        skip!("the driver packs does not work here")
    };
    drop(framed);
    let mut cairn = Cairn::new();
    cairn.driver = Some("packs");
    let tree = cairn.path("tree");
    odd_tree(&tree);
    cairn.import_dir(&tree, "odd");
    assert_eq!(shown(&cairn, "odd", survey), survey(&tree));
    assert!(cairn.ok(&["driver"]).contains("init --frames"));
    cairn.fails(&["init", "--frames"], 1, "feature frames");
}

#[test]
fn a_backup_and_a_transfer_of_frames_are_whole() {
    let cairn = Cairn::new();
    cairn.ok(&["init", "--frames"]);
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for n in 0..20 {
        std::fs::write(tree.join(format!("f{n}")), noise(n, 50 + 3000 * n as usize)).unwrap();
    }
    std::fs::write(tree.join("text"), "words and words\n".repeat(9000)).unwrap();
    cairn.import_dir(&tree, "img");
    let wanted = survey(&tree);
    let at = |cairn: &Cairn, name: &str| cairn.path(name).to_str().unwrap().to_owned();
    let copy = at(&cairn, "copy");
    cairn.ok(&["backup", &copy]);
    let format = std::fs::read_to_string(cairn.path("copy/format")).unwrap();
    assert!(format.contains("requires: frames"), "{format}");
    let out = at(&cairn, "out");
    let export = [
        "--root", &copy, "export", "img", "--format", "dir", "-o", &out,
    ];
    let done = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(export)
        .status();
    assert!(done.unwrap().success());
    assert_eq!(survey(&cairn.path("out")), wanted);
    // To a repository without frames, whose program may know none.
    let file = at(&cairn, "img.cairn");
    cairn.ok(&["export", "img", "--format", "cairn", "-o", &file]);
    let plain = Cairn::new();
    plain.ok(&["import", &file]);
    let out = at(&plain, "out");
    plain.ok(&["export", "img", "--format", "dir", "-o", &out]);
    assert_eq!(survey(&plain.path("out")), wanted);
}

/// Images that are alike share what the kernel read of their files, in containers as in mounts.
#[test]
fn containers_of_similar_images_share_what_is_in_memory() {
    let cairn = match framed() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("tree");
    shell_tree(&tree);
    for n in 0..30 {
        std::fs::write(tree.join(format!("file{n}")), noise(n, 20_000)).unwrap();
    }
    // An image of metadata is shared that is worth it.
    for n in 0..700 {
        std::fs::write(tree.join(format!("empty{n}")), "").unwrap();
    }
    cairn.import_dir(&tree, "one:1");
    std::fs::write(tree.join("new"), noise(99, 20_000)).unwrap();
    cairn.import_dir(&tree, "two:1");
    let shared = || cairn.shared();
    let run = |image: &str, name: &str| {
        let script = "cat /file3 >/dev/null; sleep 600";
        cairn.ok(&["run", "-d", "--name", name, image, "sh", "-c", script]);
    };
    run("one:1", "a");
    run("two:1", "b");
    run("one:1", "c");
    let places = shared();
    let of_contents = |places: &[PathBuf]| {
        let is = |place: &&PathBuf| place.extension().is_some_and(|e| e == "image");
        places.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    assert!((1..=2).contains(&of_contents(&places).len()), "{places:?}");
    // The overlays stand on the one that has the file; its name is in the options that the kernel tells.
    let stands_on = |name: &str| {
        let pid = cairn.json(&["inspect", name])["pid"].to_string();
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let root = table
            .lines()
            .find(|line| line.contains("- overlay "))
            .unwrap();
        let name = |path: &&PathBuf| root.contains(path.file_name().unwrap().to_str().unwrap());
        places
            .iter()
            .filter(name)
            .cloned()
            .collect::<Vec<PathBuf>>()
    };
    let (a, b) = (stands_on("a"), stands_on("b"));
    assert_eq!(a, stands_on("c"), "with all its directories");
    let contents_of_a = of_contents(&a);
    assert!(!contents_of_a.is_empty() && contents_of_a.len() < a.len());
    assert!(contents_of_a.iter().all(|place| b.contains(place)));
    assert_ne!(a, b);
    // A collection that empties the cache ends what is mounted for later, and nothing that runs.
    cairn.ok(&["rm", "-f", "b", "c"]);
    cairn.ok(&["rmi", "two:1"]);
    cairn.ok(&["gc", "--prune-cache"]);
    assert!(shared().iter().all(|place| stands_on("a").contains(place)));
    cairn.ok(&["exec", "a", "cat", "/file5"]);
    cairn.ok(&["rm", "-f", "a"]);
    cairn.ok(&["gc", "--prune-cache"]);
    assert!(shared().is_empty());
}
