//! What the cache serves is what was imported, whatever became of its files.

mod common;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::{Cairn, is_root, noise};

/// A tree whose files are objects of each sort: one blob, many blobs, with holes.
fn tree(root: &Path) {
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(root.join("d/one"), noise(7, 40_000)).unwrap();
    std::fs::write(root.join("d/many"), noise(8, 900_000)).unwrap();
    let sparse = std::fs::File::create(root.join("d/sparse")).unwrap();
    sparse.write_all_at(&noise(9, 70_000), 3_000_000).unwrap();
    sparse.set_len(6_000_000).unwrap();
}

/// A repository with that image and a snapshot `s` of it, on the driver given.
fn prepared(driver: &'static str) -> Cairn {
    let mut cairn = Cairn::new();
    cairn.driver = Some(driver);
    tree(&cairn.path("tree"));
    cairn.import_dir(&cairn.path("tree"), "img");
    cairn
}

fn files_below(path: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), out);
        } else {
            out.push(entry.path());
        }
    }
}

fn objects(cairn: &Cairn) -> Vec<PathBuf> {
    let mut out = Vec::new();
    files_below(&cairn.root().join("cache/objects"), &mut out);
    out.sort();
    assert_eq!(out.len(), 3, "{out:?}");
    out
}

fn image(cairn: &Cairn) -> PathBuf {
    let mut out = Vec::new();
    files_below(&cairn.root().join("cache/views"), &mut out);
    out.retain(|path| path.extension().is_some_and(|e| e == "erofs"));
    out.pop().unwrap()
}

/// Flips one bit and sets the mtime back, as bit rot and a clumsy restore would leave it.
fn flip(path: &Path, at: u64) {
    let mtime = path.symlink_metadata().unwrap().modified().unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    file.set_modified(mtime).unwrap();
}

/// Mounts the image and compares every file with what was imported.
fn serves_the_truth(cairn: &Cairn, options: &[&str]) {
    let place = cairn.path("place");
    std::fs::create_dir_all(&place).unwrap();
    let mount = ["mount", "img", place.to_str().unwrap()];
    cairn.ok(&[options, &mount].concat());
    let read = |name: &str| std::fs::read(place.join("d").join(name));
    let found = ["one", "many", "sparse"].map(read);
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    for (found, name) in found.into_iter().zip(["one", "many", "sparse"]) {
        let wanted = std::fs::read(cairn.path("tree/d").join(name)).unwrap();
        assert!(found.is_ok_and(|found| found == wanted), "{name}");
    }
}

#[test]
fn the_next_mount_makes_damaged_and_missing_objects_and_images_again() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("erofs");
    serves_the_truth(&cairn, &[]);
    for object in objects(&cairn) {
        let length = object.metadata().unwrap().len();
        for at in [0, length / 2, length - 1] {
            flip(&object, at);
            serves_the_truth(&cairn, &["--verify=always"]);
        }
        std::fs::remove_file(&object).unwrap();
        serves_the_truth(&cairn, &[]);
        // What a crash may leave of a file that was never synced.
        std::fs::File::create(object.with_file_name("x"))
            .and_then(|_| std::fs::rename(object.with_file_name("x"), &object))
            .unwrap();
        serves_the_truth(&cairn, &[]);
        std::fs::remove_file(&object).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &object).unwrap();
        serves_the_truth(&cairn, &[]);
        std::fs::remove_file(&object).unwrap();
        std::fs::create_dir(&object).unwrap();
        serves_the_truth(&cairn, &[]);
    }
    let image = image(&cairn);
    for at in [1024, 1200, 2000, image.metadata().unwrap().len() - 1] {
        flip(&image, at);
        serves_the_truth(&cairn, &[]);
        flip(&image.with_extension("list"), at % 200);
        serves_the_truth(&cairn, &[]);
    }
    std::fs::write(&image, b"").unwrap();
    serves_the_truth(&cairn, &[]);
    std::fs::remove_file(&image).unwrap();
    serves_the_truth(&cairn, &[]);
    std::fs::remove_dir_all(cairn.root().join("cache/objects")).unwrap();
    serves_the_truth(&cairn, &[]);
    assert!(cairn.ok(&["check"]).contains("all sound"));
}

#[test]
fn objects_are_read_once_a_boot_or_always_or_never() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("erofs");
    serves_the_truth(&cairn, &[]);
    let object = objects(&cairn).remove(0);
    // Of another boot, as far as the table can tell: the object is read, and known from then on.
    let table = cairn.root().join("cache/verified");
    std::fs::remove_file(&table).unwrap();
    let _ = std::fs::remove_file(image(&cairn).with_extension("seen"));
    serves_the_truth(&cairn, &[]);
    let known = std::fs::metadata(&table).unwrap().len();
    serves_the_truth(&cairn, &[]);
    assert_eq!(std::fs::metadata(&table).unwrap().len(), known);
    // A table that is all wrong costs one more reading and nothing else.
    std::fs::write(&table, noise(3, 10_000)).unwrap();
    flip(&object, 5);
    // Within a boot a view that was looked at is believed; this is how another boot finds it.
    std::fs::remove_file(image(&cairn).with_extension("seen")).unwrap();
    serves_the_truth(&cairn, &[]);
    serves_the_truth(&cairn, &["--verify", "always"]);
    flip(&object, 5);
    serves_the_truth(&cairn, &["--verify=always"]);
    // Under "never" only what is there and how long it is counts.
    let before = object.metadata().unwrap().ino();
    flip(&object, 5);
    let place = cairn.path("place");
    cairn.ok(&["--verify=never", "mount", "img", place.to_str().unwrap()]);
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    assert_eq!(object.metadata().unwrap().ino(), before);
    std::fs::File::options()
        .write(true)
        .open(&object)
        .and_then(|file| file.set_len(10))
        .unwrap();
    std::fs::remove_file(image(&cairn).with_extension("seen")).unwrap();
    serves_the_truth(&cairn, &["--verify=never"]);
    cairn.fails(&["--verify=sometimes", "images"], 2, "sometimes");
}

#[test]
fn check_names_what_is_damaged_in_the_cache_and_makes_it_again() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("erofs");
    serves_the_truth(&cairn, &[]);
    for arguments in [&["check"][..], &["check", "--full"], &["check", "--cache"]] {
        assert!(cairn.ok(arguments).contains("all sound"), "{arguments:?}");
        for (n, object) in objects(&cairn).iter().enumerate() {
            flip(object, 10);
            let output = cairn.output(arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(3), "{n}: {text}");
            assert!(text.contains("is damaged; it was recreated"), "{text}");
            assert!(cairn.ok(arguments).contains("all sound"));
        }
        flip(&image(&cairn), 1200);
        let output = cairn.output(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("the image of view"), "{text}");
        assert!(cairn.ok(arguments).contains("all sound"));
    }
    // A removed object of a view is missing; `--fast` looks no further than that.
    std::fs::remove_file(&objects(&cairn)[1]).unwrap();
    let output = cairn.output(&["check", "--cache", "--fast"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("is missing; it was recreated"), "{text}");
    // A repair mends it and says so.
    flip(&objects(&cairn)[2], 100);
    let text = cairn.ok(&["check", "--repair"]);
    assert!(text.contains("is damaged; recreated it"), "{text}");
    serves_the_truth(&cairn, &[]);
    let json = cairn.json(&["check", "--cache"]);
    assert_eq!(json["cache"]["objects"], 3);
    assert_eq!(json["cache"]["faults"].as_array().unwrap().len(), 0);
}

#[test]
fn a_check_of_the_cache_takes_what_was_read_longest_ago() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("erofs");
    serves_the_truth(&cairn, &[]);
    std::fs::remove_file(cairn.root().join("cache/verified")).unwrap();
    let check = |extent: &[&str]| {
        let json = cairn.json(&[&["check", "--cache"], extent].concat());
        let count = |name: &str| json["cache"][name].as_u64().unwrap();
        (count("objects"), count("objects_skipped"))
    };
    // One of three after the other, and none is left for an age.
    assert_eq!(check(&["--sample", "0.01"]), (1, 2));
    assert_eq!(check(&["--sample", "0.01"]), (1, 2));
    assert_eq!(check(&["--max-age", "1h"]), (1, 2));
    assert_eq!(check(&["--max-age", "1h"]), (0, 3));
    assert_eq!(check(&["--rate", "100M"]), (3, 0));
}

#[test]
fn a_flattened_view_is_compared_with_its_image() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("overlay");
    serves_the_truth(&cairn, &[]);
    let flat = |cairn: &Cairn| -> PathBuf {
        let entries = std::fs::read_dir(cairn.root().join("cache/flat")).unwrap();
        let mut found: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        found.retain(|p| p.is_dir() && !p.file_name().unwrap().to_string_lossy().contains('-'));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 7] = [
        ("has other content", |at| flip(&at.join("d/many"), 500_000)),
        ("is missing", |at| {
            std::fs::remove_file(at.join("d/one")).unwrap()
        }),
        ("is not in the image", |at| {
            std::fs::write(at.join("new"), "x").unwrap()
        }),
        ("has another mode", |at| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o6777);
            std::fs::set_permissions(at.join("d/one"), mode).unwrap();
        }),
        ("has another owner", |at| {
            std::os::unix::fs::chown(at.join("d/one"), Some(4), None).unwrap();
        }),
        ("is of another kind", |at| {
            std::fs::remove_file(at.join("d/one")).unwrap();
            std::fs::create_dir(at.join("d/one")).unwrap();
        }),
        ("has another time", |at| {
            let file = std::fs::File::open(at.join("d/one")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
    ];
    for (why, harm) in harms {
        assert!(cairn.ok(&["check", "--cache"]).contains("all sound"));
        harm(&flat(&cairn));
        let output = cairn.output(&["check", "--cache"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
        serves_the_truth(&cairn, &[]);
        // The marker of another boot, as after a crash: compared before it is used.
        harm(&flat(&cairn));
        std::fs::remove_file(flat(&cairn).with_extension("whole")).unwrap();
        serves_the_truth(&cairn, &[]);
        harm(&flat(&cairn));
        serves_the_truth(&cairn, &["--verify=always"]);
    }
}

#[test]
fn damaged_records_of_roots_and_driver_are_not_believed() {
    let cairn = Cairn::new();
    tree(&cairn.path("tree"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
    std::fs::set_permissions(cairn.path("tree"), mode).unwrap();
    cairn.import_dir(&cairn.path("tree"), "img");
    let upper_mode = |key: &str| {
        let plan = cairn.json(&["snapshot", "prepare", key, "img"]);
        let upper = Path::new(plan["head"]["upper"].as_str().unwrap()).to_owned();
        upper.metadata().unwrap().mode() & 0o7777
    };
    assert_eq!(upper_mode("a"), 0o750);
    let mut records = Vec::new();
    files_below(&cairn.root().join("cache/roots"), &mut records);
    for (n, bytes) in [&b""[..], b"\0", &noise(1, 40)].into_iter().enumerate() {
        std::fs::write(&records[0], bytes).unwrap();
        assert_eq!(upper_mode(&format!("w{n}")), 0o750);
    }
    let length = records[0].metadata().unwrap().len();
    for at in 0..length {
        flip(&records[0], at);
        if at == length / 2 {
            cairn.fails(&["check"], 3, "");
        }
    }
    assert_eq!(upper_mode("b"), 0o750);
    let driver = cairn.root().join("cache/driver");
    for bytes in [&b""[..], b"copy", &noise(2, 100_000)] {
        std::fs::write(&driver, bytes).unwrap();
        cairn.ok(&["snapshot", "prepare", &format!("d{}", bytes.len()), "img"]);
    }
    let _ = std::fs::remove_file(&driver);
    std::fs::create_dir_all(driver.join("odd")).unwrap();
    cairn.ok(&["snapshot", "prepare", "last", "img"]);
}

#[test]
fn an_object_that_cannot_be_made_again_is_an_error_and_not_served() {
    if !is_root() {
        skip!("mounting takes root");
    }
    let cairn = prepared("erofs");
    serves_the_truth(&cairn, &[]);
    for pack in std::fs::read_dir(cairn.root().join("packs"))
        .unwrap()
        .flatten()
    {
        let length = pack.metadata().unwrap().len();
        for at in (100..length - 4000).step_by(4000) {
            flip(&pack.path(), at);
        }
    }
    let object = objects(&cairn).remove(0);
    flip(&object, 7);
    let place = cairn.path("place");
    let output = cairn.output(&["mount", "img", place.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let output = cairn.output(&["check", "--cache"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("could not be recreated"), "{text}");
}
