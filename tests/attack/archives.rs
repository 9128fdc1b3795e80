//! Archives and directories that other tools take and that once were refused, lost something or cost too
//! much here; and attacks, which stay refused.

use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::common::{Cairn, Tar, docker_archive, has, is_root, shell_tree};
use super::{ALL_DRIVERS, DRIVERS, under};

fn import(cairn: &Cairn, name: &str, bytes: &[u8]) -> String {
    let path = cairn.path(&format!("{name}.tar"));
    std::fs::write(&path, bytes).unwrap();
    cairn.ok(&["import", path.to_str().unwrap(), "--name", name])
}

/// What is in the snapshot `head` becomes an image.
fn commit(cairn: &Cairn, name: &str) {
    let options = cairn_repo::Options {
        driver: cairn.driver.map(|driver| driver.parse().unwrap()),
        ..Default::default()
    };
    let repo = cairn_repo::Repo::open_or_create(&cairn.root(), options).unwrap();
    let options = cairn_repo::CommitOptions {
        name: Some(name.parse().unwrap()),
        ..Default::default()
    };
    let head = "head".parse().unwrap();
    repo.images().commit(&head, None, &options).unwrap();
}

/// The image's tree in a new directory, which is what each driver shows of it where it can be mounted.
fn tree(cairn: &Cairn, name: &str) -> PathBuf {
    let out = cairn.path(&format!("tree-of-{name}"));
    let _ = std::fs::remove_dir_all(&out);
    let to = out.to_str().unwrap();
    cairn.ok(&["export", name, "--format", "dir", "-o", to]);
    if is_root() {
        let exported = outline(&out);
        let drivers = cairn.driver.map_or(DRIVERS.to_vec(), |driver| vec![driver]);
        for driver in drivers {
            let place = cairn.path("view");
            let _ = std::fs::create_dir(&place);
            let at = place.to_str().unwrap();
            match cairn.driver {
                Some(_) => cairn.ok(&["mount", name, at]),
                None => cairn.ok(&[&format!("--driver={driver}"), "mount", name, at]),
            };
            let shown = outline(&place);
            cairn.ok(&["umount", at]);
            assert_eq!(shown, exported, "{name} by {driver}");
        }
    }
    out
}

/// Path, kind and mode, owner, size and names of every file, and where links lead.
fn outline(root: &Path) -> Vec<(PathBuf, String)> {
    let (mut out, mut todo) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        // A link's mode means nothing, and most file systems have one for all.
        let mode = meta.mode() | if meta.is_symlink() { 0o777 } else { 0 };
        let mut text = format!("{mode:o} {}:{} {}", meta.uid(), meta.gid(), meta.mtime());
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            text += &format!(" {} {} {:x}", meta.len(), meta.nlink(), meta.rdev());
            text += &format!(" {:?}", std::fs::read_link(&path).ok());
        }
        out.push((path.strip_prefix(root).unwrap().to_owned(), text));
    }
    out.sort();
    out
}

fn size(mut header: tar::Header, size: u64) -> tar::Header {
    header.set_size(size);
    header.set_cksum();
    header
}

fn kind(byte: u8) -> tar::EntryType {
    tar::EntryType::new(byte)
}

#[test]
fn a_root_tar_is_read_by_the_reader_of_layers_alone() {
    let cairn = Cairn::new();
    let mut link = Tar::header("hard", tar::EntryType::Link, 0);
    link.as_old_mut().linkname[..1].copy_from_slice(b"a");
    let mut with_size = Tar::new().file("a", b"x");
    with_size.0.append(&size(link, 700), &[][..]).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "links-that-lead-up",
            Tar::new()
                .file("a", b"x")
                .link("up", "../../../../etc/passwd", tar::EntryType::Symlink)
                .link("d/up", "../../..", tar::EntryType::Symlink)
                .done(),
        ),
        ("link-with-size", with_size.file("after", b"y").done()),
        (
            "two-pax-headers",
            Tar::new()
                .pax(&[("mtime", b"5")])
                .pax(&[("mtime", b"7")])
                .file("a", b"x")
                .done(),
        ),
        (
            "volume-label",
            Tar::new()
                .link("backup of today", "", kind(b'V'))
                .file("a", b"x")
                .done(),
        ),
        (
            "zero-block-before-garbage",
            [
                &Tar::new().file("a", b"x").done()[..1024],
                &[0; 512],
                &[b'g'; 1000],
            ]
            .concat(),
        ),
        (
            "bzip2-by-its-first-name",
            Tar::new().file("BZh91AY", b"x").file("a", b"x").done(),
        ),
        (
            "gzip-by-its-first-name",
            Tar::new().file("\u{1f}a", b"x").file("a", b"x").done(),
        ),
    ];
    for (name, bytes) in cases {
        import(&cairn, name, &bytes);
        assert!(
            tree(&cairn, name).join("a").exists() || name.contains("link"),
            "{name}"
        );
    }
    let root = tree(&cairn, "links-that-lead-up");
    let target = std::fs::read_link(root.join("up")).unwrap();
    assert_eq!(target, Path::new("../../../../etc/passwd"));
    assert_eq!(
        tree(&cairn, "two-pax-headers")
            .join("a")
            .metadata()
            .unwrap()
            .mtime(),
        7
    );
}

#[test]
fn an_applications_own_manifest_does_not_make_its_root_an_archive_of_images() {
    let cairn = Cairn::new();
    for (name, manifest) in [
        ("object", &br#"{"name": "app", "icons": []}"#[..]),
        ("list", br#"[{"src": "icon.png"}]"#),
        ("numbers", b"[1, 2]"),
        ("text", b"not json at all"),
        ("empty", b""),
    ] {
        let bytes = Tar::new()
            .file("manifest.json", manifest)
            .file("bin/app", b"x")
            .done();
        import(&cairn, name, &bytes);
        let out = tree(&cairn, name);
        assert_eq!(
            std::fs::read(out.join("manifest.json")).unwrap(),
            manifest,
            "{name}"
        );
        assert!(out.join("bin/app").exists());
    }
}

#[test]
fn a_member_that_leads_out_is_no_reason_to_refuse_the_image_beside_it() {
    let cairn = Cairn::new();
    let layer = Tar::new().file("a", b"x").done();
    let image = docker_archive("app:1", &[layer], |_| ());
    let stray = Tar::new()
        .link("stray", "../../outside", tar::EntryType::Symlink)
        .link("hard", "../outside", tar::EntryType::Link)
        .file("../up", b"")
        .done();
    let stray = &stray[..stray.len() - 1024];
    std::fs::write(cairn.path("in.tar"), [stray, &image].concat()).unwrap();
    cairn.ok(&["import", cairn.path("in.tar").to_str().unwrap()]);
    assert_eq!(cairn.image_names().len(), 1);
}

#[test]
fn zeros_behind_a_compressed_layer_or_archive_are_padding() {
    let cairn = Cairn::new();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let root = gzip(&Tar::new().file("a", b"x").done());
    import(&cairn, "padded", &[&root[..], &[0; 10_240]].concat());
    assert!(tree(&cairn, "padded").join("a").exists());
    std::fs::write(cairn.path("bad.tar"), [&root[..], b"more"].concat()).unwrap();
    let bad = cairn.output(&["import", cairn.path("bad.tar").to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(1));
}

#[test]
fn a_layer_may_link_a_lower_file_and_delete_it() {
    let cairn = Cairn::new();
    let below = Tar::new()
        .file("dir/a", b"content")
        .file("b", b"other")
        .done();
    let link = |tar: Tar| tar.link("kept", "dir/a", tar::EntryType::Link);
    let gone = |tar: Tar| tar.file("dir/.wh.a", b"");
    for (name, above) in [
        ("before", gone(link(Tar::new()))),
        ("after", link(gone(Tar::new()))),
        ("with-its-directory", link(Tar::new()).file(".wh.dir", b"")),
        ("opaque", link(Tar::new()).file("dir/.wh..wh..opq", b"")),
    ] {
        let archive = docker_archive(&format!("{name}:1"), &[below.clone(), above.done()], |_| ());
        std::fs::write(cairn.path("in.tar"), archive).unwrap();
        cairn.ok(&["import", cairn.path("in.tar").to_str().unwrap()]);
        let out = tree(&cairn, &format!("{name}:1"));
        assert_eq!(
            std::fs::read(out.join("kept")).unwrap(),
            b"content",
            "{name}"
        );
        assert_eq!(out.join("kept").metadata().unwrap().nlink(), 1, "{name}");
        assert!(!out.join("dir/a").exists(), "{name}");
    }
}

#[test]
fn attacks_are_refused_and_leave_nothing() {
    let cairn = Cairn::new();
    let mut huge = Tar::header("././@LongLink", tar::EntryType::GNULongName, 3 << 30);
    huge.set_cksum();
    let mut pax = Tar::header("pax", tar::EntryType::XHeader, 3 << 30);
    pax.set_cksum();
    let mut global = Tar::header("pax", tar::EntryType::XGlobalHeader, 3 << 30);
    global.set_cksum();
    let of = |header: &tar::Header| [&header.as_bytes()[..], &[0; 4096]].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a long name of 3 GiB", of(&huge), "extended header"),
        ("a pax header of 3 GiB", of(&pax), "extended header"),
        ("a global header of 3 GiB", of(&global), "extended header"),
        (
            "a name that leads out",
            Tar::new().file("a/../../b", b"").done(),
            "..",
        ),
        (
            "a hard link that leads out",
            Tar::new()
                .link("a", "../../etc/passwd", tar::EntryType::Link)
                .done(),
            "..",
        ),
        (
            "a continued volume",
            Tar::new().link("a", "", kind(b'M')).done(),
            "another volume",
        ),
        (
            "a device that hides",
            Tar::new().link("a", "", tar::EntryType::Char).done(),
            "0:0",
        ),
    ];
    for (what, bytes, words) in cases {
        std::fs::write(cairn.path("bad.tar"), bytes).unwrap();
        let path = cairn.path("bad.tar");
        // Far less memory than the headers say they have.
        let output = Command::new("sh")
            .arg("-c")
            .arg("ulimit -v 2000000; exec \"$@\"")
            .arg("sh")
            .arg(env!("CARGO_BIN_EXE_cairn"))
            .arg("--root")
            .arg(cairn.root())
            .arg("import")
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(cairn.json(&["images"]), json!([]), "{what}");
    }
}

/// moby#5419: a container with a user of a large id has a `lastlog` of terabytes.
#[test]
fn holes_cost_nothing_in_an_import_a_commit_or_an_export() {
    let cairn = Cairn::new();
    let root = cairn.path("root");
    shell_tree(&root);
    let log = std::fs::File::create(root.join("lastlog")).unwrap();
    log.write_all_at(b"somewhere", 40 << 30).unwrap();
    log.set_len(80 << 30).unwrap();
    cairn.import_dir(&root, "sparse");
    let archive = cairn.path("out.tar");
    cairn.ok(&["export", "sparse", "-o", archive.to_str().unwrap()]);
    assert!(archive.metadata().unwrap().len() < 64 << 20);
    // What was written is read again, here and by a reader of its own.
    let other = Cairn::new();
    other.ok(&["import", archive.to_str().unwrap()]);
    let out = tree(&other, "sparse");
    let read = |path: &Path| {
        let file = std::fs::File::open(path).unwrap();
        let mut bytes = [0; 9];
        file.read_exact_at(&mut bytes, 40 << 30).unwrap();
        (file.metadata().unwrap().len(), bytes)
    };
    assert_eq!(read(&out.join("lastlog")), (80 << 30, *b"somewhere"));
    assert!(out.join("lastlog").metadata().unwrap().blocks() < 1000);

    if !is_root() {
        skip!("needs root");
    }
    for driver in DRIVERS {
        let cairn = under(driver);
        cairn.import_dir(&root, "sparse");
        cairn.ok(&["snapshot", "prepare", "head", "sparse"]);
        mounted(&cairn, "head", |place| {
            let file = std::fs::File::create(place.join("second")).unwrap();
            file.set_len(50 << 30).unwrap();
            file.write_all_at(b"somewhere", 40 << 30).unwrap();
        });
        commit(&cairn, "after");
        let out = tree(&cairn, "after");
        assert_eq!(
            read(&out.join("second")),
            (50 << 30, *b"somewhere"),
            "{driver}"
        );
        assert_eq!(
            read(&out.join("lastlog")),
            (80 << 30, *b"somewhere"),
            "{driver}"
        );
        // A process in it sees them too.
        let sizes = cairn.ok(&[
            "run",
            "--rm",
            "after",
            "/bin/stat",
            "-c",
            "%s",
            "second",
            "lastlog",
        ]);
        assert_eq!(
            sizes,
            format!("{}\n{}\n", 50_u64 << 30, 80_u64 << 30),
            "{driver}"
        );
    }
}

/// Attributes no file system here takes, and more than ext4 takes (containerd#7093, podman#24595).
fn odd_attributes() -> Vec<u8> {
    let large = vec![b'v'; 5000];
    Tar::new()
        .pax(&[
            ("SCHILY.xattr.com.apple.quarantine", b"0081"),
            ("SCHILY.xattr.user.kept", b"yes"),
        ])
        .file("mac", b"x")
        .pax(&[("SCHILY.xattr.user.note", b"x")])
        .link("link", "mac", tar::EntryType::Symlink)
        .pax(&[("SCHILY.xattr.user.note", b"x")])
        .link("pipe", "", tar::EntryType::Fifo)
        .pax(&[("SCHILY.xattr.user.large", &large)])
        .file("large", b"x")
        .done()
}

#[test]
fn attributes_that_the_target_cannot_hold_are_left_out_and_said() {
    let cairn = Cairn::new();
    import(&cairn, "odd", &odd_attributes());
    let out = cairn.path("out");
    let output = cairn.output(&[
        "export",
        "odd",
        "--format",
        "dir",
        "-o",
        out.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(out.join("mac").exists() && out.join("pipe").exists() && out.join("large").exists());
    if is_root() {
        assert!(
            said.contains("extended attributes") && said.lines().count() == 1,
            "{said}"
        );
    }
    // They are there still: another export has them.
    cairn.ok(&[
        "export",
        "odd",
        "-o",
        cairn.path("again.tar").to_str().unwrap(),
    ]);
    let again = std::fs::read(cairn.path("again.tar")).unwrap();
    let has = |word: &[u8]| again.windows(word.len()).any(|w| w == word);
    assert!(has(b"SCHILY.xattr.com.apple.quarantine=0081"));
}

/// Runs `act` on the snapshot's mounted root.
fn mounted<T>(cairn: &Cairn, name: &str, act: impl FnOnce(&Path) -> T) -> T {
    let place = cairn.path("mounted");
    let _ = std::fs::create_dir(&place);
    cairn.ok(&["mount", name, place.to_str().unwrap()]);
    let done = act(&place);
    cairn.ok(&["umount", place.to_str().unwrap()]);
    done
}

#[test]
fn every_driver_shows_an_image_with_odd_attributes_and_commits_no_change_of_them() {
    if !is_root() {
        skip!("needs root");
    }
    for driver in ALL_DRIVERS {
        let cairn = under(driver);
        import(&cairn, "odd", &odd_attributes());
        cairn.ok(&["snapshot", "prepare", "head", "odd"]);
        mounted(&cairn, "head", |root| {
            assert_eq!(std::fs::read(root.join("mac")).unwrap(), b"x", "{driver}");
            std::fs::write(root.join("new"), "n").unwrap();
        });
        commit(&cairn, "after");
        let archive = cairn.path("after.tar");
        cairn.ok(&[
            "export",
            "after",
            "--format",
            "tar",
            "-o",
            archive.to_str().unwrap(),
        ]);
        let bytes = std::fs::read(archive).unwrap();
        let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
        assert!(
            has(b"com.apple.quarantine=0081") && has(b"SCHILY.xattr.user.large="),
            "{driver}"
        );
    }
}

fn overlay_attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 64];
    let read = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(value[..read].to_vec())
}

#[test]
fn overlayfs_attributes_of_files_are_kept_by_every_way_in_and_out() {
    if !is_root() {
        skip!("needs root");
    }
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    for driver in ALL_DRIVERS {
        let cairn = under(driver);
        // In by a directory.
        let root = cairn.path("root");
        std::fs::create_dir_all(root.join("dir")).unwrap();
        std::fs::write(root.join("dir/file"), vec![b'x'; 5000]).unwrap();
        set(&root.join("dir"), "trusted.overlay.opaque", b"y");
        set(&root.join("dir/file"), "trusted.overlay.metacopy", b"");
        set(&root, "trusted.overlay.redirect", b"/elsewhere");
        cairn.import_dir(&root, "overlaid");
        let check = |root: &Path, what: &str| {
            let opaque = overlay_attribute(&root.join("dir"), "trusted.overlay.opaque");
            assert_eq!(opaque.as_deref(), Some(&b"y"[..]), "{driver}: {what}");
            let stub = overlay_attribute(&root.join("dir/file"), "trusted.overlay.metacopy");
            assert_eq!(stub.as_deref(), Some(&b""[..]), "{driver}: {what}");
            let file = std::fs::read(root.join("dir/file")).unwrap();
            assert!(file == vec![b'x'; 5000], "{driver}: {what}");
            let moved = overlay_attribute(root, "trusted.overlay.redirect");
            assert_eq!(
                moved.as_deref(),
                Some(&b"/elsewhere"[..]),
                "{driver}: {what}"
            );
        };
        check(&tree(&cairn, "overlaid"), "out as a directory");
        mounted(&cairn, "overlaid", |root| {
            check(root, "a view of the image")
        });
        // In by a tar, out by a commit.
        let archive = cairn.path("one.tar");
        cairn.ok(&[
            "export",
            "overlaid",
            "--format",
            "tar",
            "-o",
            archive.to_str().unwrap(),
        ]);
        cairn.ok(&["import", archive.to_str().unwrap(), "--name", "by-tar"]);
        cairn.ok(&["snapshot", "prepare", "head", "by-tar"]);
        mounted(&cairn, "head", |root| {
            check(root, "a head");
            std::fs::write(root.join("dir/new"), "n").unwrap();
            std::fs::set_permissions(root.join("dir/file"), mode(0o600)).unwrap();
            set(&root.join("dir/new"), "trusted.overlay.origin", b"mine");
        });
        commit(&cairn, "after");
        let out = tree(&cairn, "after");
        check(&out, "a commit");
        let own = overlay_attribute(&out.join("dir/new"), "trusted.overlay.origin");
        assert_eq!(own.as_deref(), Some(&b"mine"[..]), "{driver}");
    }
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// fuse-overlayfs#236: `.wh.` and the name are longer than a name may be.
#[test]
fn a_file_with_the_longest_name_is_deleted_committed_exported_and_read_again() {
    if !is_root() {
        skip!("needs root");
    }
    for driver in ALL_DRIVERS {
        let cairn = under(driver);
        let root = cairn.path("root");
        std::fs::create_dir_all(root.join("dir")).unwrap();
        let name = |length: usize| "n".repeat(length);
        for length in 251..=255 {
            std::fs::write(root.join("dir").join(name(length)), "x").unwrap();
        }
        cairn.import_dir(&root, "long");
        cairn.ok(&["snapshot", "prepare", "head", "long"]);
        mounted(&cairn, "head", |root| {
            for length in 252..=255 {
                std::fs::remove_file(root.join("dir").join(name(length))).unwrap();
            }
        });
        commit(&cairn, "after");
        for format in ["docker", "oci-archive"] {
            let archive = cairn.path(format);
            cairn.ok(&[
                "export",
                "after",
                "--format",
                format,
                "-o",
                archive.to_str().unwrap(),
            ]);
            let other = Cairn::new();
            other.ok(&["import", archive.to_str().unwrap()]);
            let left: Vec<_> = std::fs::read_dir(tree(&other, "after").join("dir"))
                .unwrap()
                .collect();
            assert_eq!(left.len(), 1, "{driver} {format}");
        }
    }
}

#[test]
fn attribute_names_with_signs_come_back_and_other_tars_see_them() {
    let cairn = Cairn::new();
    let root = cairn.path("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("f"), "x").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let names = ["user.a=b", "user.100%", "user.%3D"];
    for name in names {
        if rustix::fs::lsetxattr(root.join("f"), name, name.as_bytes(), flags).is_err() {
            skip!("no attributes in the temporary directory");
        }
    }
    cairn.import_dir(&root, "signs");
    let archive = cairn.path("out.tar");
    let to = archive.to_str().unwrap();
    cairn.ok(&["export", "signs", "--format", "tar", "-o", to]);
    let other = Cairn::new();
    other.ok(&["import", to, "--name", "signs"]);
    let unpacked = cairn.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let status = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xf", to, "-C"])
        .arg(&unpacked)
        .status();
    assert!(status.unwrap().success());
    for root in [tree(&other, "signs"), unpacked] {
        for name in names {
            let value = overlay_attribute(&root.join("f"), name);
            assert_eq!(
                value.as_deref(),
                Some(name.as_bytes()),
                "{name} in {}",
                root.display()
            );
        }
    }
    if !has("bsdtar") {
        skip!("bsdtar is not installed");
    }
    // libarchive's own form in.
    let status = Command::new("bsdtar")
        .args(["--format=pax", "--xattrs", "-cf"])
        .arg(cairn.path("bsd.tar"))
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status();
    assert!(status.unwrap().success());
    cairn.ok(&[
        "import",
        cairn.path("bsd.tar").to_str().unwrap(),
        "--name",
        "bsd",
    ]);
    let out = tree(&cairn, "bsd");
    for name in names {
        let value = overlay_attribute(&out.join("f"), name);
        assert_eq!(
            value.as_deref(),
            Some(name.as_bytes()),
            "{name} from bsdtar"
        );
    }
}
