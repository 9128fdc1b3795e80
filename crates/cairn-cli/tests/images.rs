//! Images in and out, honest and hostile.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Cairn, Tar, docker_archive, has, is_root, noise, odd_tree, sha256, survey};
use serde_json::json;

/// Two layers with whiteouts, links, long names, pax times and xattrs, a sparse file in each GNU form,
/// and trailing bytes after the end mark.
fn layers() -> Vec<Vec<u8>> {
    let long = format!("dir/{}", "long-name-".repeat(25));
    let below = Tar::new()
        .file("dir/keep", b"kept")
        .file("dir/gone", b"goes")
        .file("old/a", b"hidden")
        .file("big", &noise(7, 400_000))
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"1700000000.123456789"),
            ("SCHILY.xattr.user.x", b"a\nb\0c"),
        ])
        .file("short", b"long name")
        .link("dir/hard", "big", tar::EntryType::Link)
        .link("sym", "/dir/keep", tar::EntryType::Symlink)
        .done();
    let sparse = [
        b"2\n0\n3\n1000000\n4\n".to_vec(),
        vec![0; 512 - 16],
        b"abcdefg".to_vec(),
    ]
    .concat();
    let mut above = Tar::new()
        .file("dir/.wh.gone", b"")
        .file("old/.wh..wh..opq", b"")
        .file("old/new", b"shown")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"2000000"),
            ("GNU.sparse.name", b"sparse1"),
        ])
        .file("GNUSparseFile.0/sparse1", &sparse)
        .pax(&[
            ("GNU.sparse.map", b"5,3,100,2"),
            ("GNU.sparse.size", b"200"),
            ("GNU.sparse.name", b"sparse01"),
        ])
        .file("x", b"abcde")
        .pax(&[("uid", b"3000000000"), ("mtime", b"-5.25")])
        .file("old/owned", b"")
        .done();
    above.extend_from_slice(&[0; 9000]);
    above.extend_from_slice(b"trailing words");
    vec![below, above]
}

#[test]
fn a_docker_archive_comes_out_as_it_went_in() {
    let cairn = Cairn::new();
    let layers = layers();
    std::fs::write(
        cairn.path("in.tar"),
        docker_archive("app:1", &layers, |_| ()),
    )
    .unwrap();
    cairn.ok(&["import", cairn.path("in.tar").to_str().unwrap()]);
    cairn.ok(&[
        "export",
        "app:1",
        "-o",
        cairn.path("out.tar").to_str().unwrap(),
    ]);
    let out = std::fs::read(cairn.path("out.tar")).unwrap();
    let mut found = 0;
    let mut config = None;
    for entry in tar::Archive::new(&out[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if let Some(layer) = layers
            .iter()
            .find(|layer| name == format!("{}.tar", &sha256(layer)[7..]))
        {
            assert!(bytes == *layer, "{name} differs");
            found += 1;
        } else if name != "manifest.json" {
            config = Some(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
        }
    }
    assert_eq!(found, 2);
    assert_eq!(
        config.unwrap()["custom"],
        json!({"kept": [1, 2.5]}),
        "unknown fields survive"
    );
}

#[test]
fn the_merged_tree_is_what_the_layers_say() {
    let cairn = Cairn::new();
    std::fs::write(
        cairn.path("in.tar"),
        docker_archive("app:1", &layers(), |_| ()),
    )
    .unwrap();
    cairn.ok(&["import", cairn.path("in.tar").to_str().unwrap()]);
    cairn.ok(&[
        "export",
        "app:1",
        "--format",
        "dir",
        "-o",
        cairn.path("out").to_str().unwrap(),
    ]);
    let out = cairn.path("out");
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    assert!(!out.join("dir/gone").exists() && !out.join("old/a").exists());
    assert_eq!(
        (read("dir/keep"), read("old/new")),
        (b"kept".to_vec(), b"shown".to_vec())
    );
    let mut sparse = vec![0; 2_000_000];
    sparse[..3].copy_from_slice(b"abc");
    sparse[1_000_000..1_000_004].copy_from_slice(b"defg");
    assert!(read("sparse1") == sparse);
    let mut sparse = vec![0; 200];
    sparse[5..8].copy_from_slice(b"abc");
    sparse[100..102].copy_from_slice(b"de");
    assert_eq!(read("sparse01"), sparse);
    let stat =
        |name: &str| std::os::unix::fs::MetadataExt::nlink(&out.join(name).metadata().unwrap());
    assert_eq!((stat("big"), stat("dir/hard")), (2, 2));
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        let owned = out.join("old/owned").metadata().unwrap();
        assert_eq!(
            (owned.uid(), owned.mtime(), owned.mtime_nsec()),
            (3_000_000_000, -6, 750_000_000)
        );
    }
}

#[test]
fn a_directory_with_everything_comes_back_through_every_format() {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    odd_tree(&tree);
    let before = survey(&tree);
    cairn.import_dir(&tree, "odd");
    for (format, name) in [
        ("docker", "d.tar"),
        ("oci-archive", "o.tar"),
        ("oci", "layout"),
        ("tar", "r.tar"),
    ] {
        let out = cairn.path(name);
        cairn.ok(&[
            "export",
            "odd",
            "--format",
            format,
            "-o",
            out.to_str().unwrap(),
        ]);
        let again = Cairn::new();
        again.ok(&["import", out.to_str().unwrap(), "--name", "odd"]);
        if format != "tar" {
            let digest = cairn.json(&["inspect", "odd"])["digest"].clone();
            let id = again.json(&["images"])[0]["id"].clone();
            assert_eq!(id, digest, "{format} has the digest that is told");
        }
        let back = again.path("back");
        again.ok(&[
            "export",
            "odd",
            "--format",
            "dir",
            "--devices",
            "-o",
            back.to_str().unwrap(),
        ]);
        for (path, text) in &survey(&back) {
            assert_eq!(Some(text), before.get(path), "{path:?} through {format}");
        }
        assert_eq!(survey(&back).len(), before.len(), "{format}");
        use std::os::unix::fs::MetadataExt;
        assert!(
            back.join("sparse").metadata().unwrap().blocks() * 512 < 1_000_000,
            "holes stay holes through {format}"
        );
    }
}

#[test]
fn compressed_archives_streams_and_layers_are_read() {
    let cairn = Cairn::new();
    let plain = docker_archive("app:1", &layers(), |_| ());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    std::fs::write(cairn.path("in.tar.gz"), &gzip).unwrap();
    cairn.ok(&["import", cairn.path("in.tar.gz").to_str().unwrap()]);
    let first = cairn.json(&["images"])[0]["id"].clone();
    cairn.ok(&["rmi", "app:1"]);
    let mut child = cairn
        .command(&["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&plain).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(cairn.json(&["images"])[0]["id"], first);
    for compression in ["none", "gzip", "zstd"] {
        let out = cairn.path(compression);
        cairn.ok(&[
            "export",
            "app:1",
            "--format",
            "oci",
            "--compression",
            compression,
            "-o",
            out.to_str().unwrap(),
        ]);
        let again = Cairn::new();
        again.ok(&["import", out.to_str().unwrap()]);
        assert_eq!(again.json(&["images"])[0]["id"], first, "{compression}");
    }
}

#[test]
fn present_layers_are_not_read_again() {
    let cairn = Cairn::new();
    let layers = layers();
    std::fs::write(
        cairn.path("a.tar"),
        docker_archive("a", &layers[..1], |_| ()),
    )
    .unwrap();
    std::fs::write(cairn.path("b.tar"), docker_archive("b", &layers, |_| ())).unwrap();
    cairn.ok(&["import", cairn.path("a.tar").to_str().unwrap()]);
    let report = cairn.json(&["import", cairn.path("b.tar").to_str().unwrap()]);
    assert_eq!(
        (&report[0]["layers"], &report[0]["layers_present"]),
        (&json!(2), &json!(1))
    );
    assert!(
        report[0]["bytes_read"].as_u64().unwrap() < 100_000,
        "{report}"
    );
}

/// Two images in one archive that share a layer: both come, or neither does.
#[test]
fn several_images_come_together_or_not_at_all() {
    let cairn = Cairn::new();
    let [below, above] = layers().try_into().unwrap();
    let config = |ids: &[String]| {
        json!({"architecture": "amd64", "os": "linux", "config": {},
               "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
    };
    let archive = |last: String| {
        let one = config(&[sha256(&below)]);
        let two = config(&[sha256(&below), last]);
        let name = |config: &str| format!("{}.json", &sha256(config.as_bytes())[7..]);
        let manifest = json!([
            {"Config": name(&one), "RepoTags": ["one:1"], "Layers": ["a.tar"]},
            {"Config": name(&two), "RepoTags": ["two:1"], "Layers": ["a.tar", "b.tar"]},
        ]);
        Tar::new()
            .file("a.tar", &below)
            .file("b.tar", &above)
            .file(&name(&one), one.as_bytes())
            .file(&name(&two), two.as_bytes())
            .file("manifest.json", manifest.to_string().as_bytes())
            .done()
    };
    let path = cairn.path("two.tar");
    std::fs::write(&path, archive(sha256(b"lie"))).unwrap();
    cairn.fails(&["import", path.to_str().unwrap()], 1, "diff id");
    assert_eq!(cairn.json(&["images"]), json!([]));
    std::fs::write(&path, archive(sha256(&above))).unwrap();
    let report = cairn.json(&["import", path.to_str().unwrap()]);
    assert_eq!(
        (&report[0]["layers_present"], &report[1]["layers_present"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(cairn.image_names(), ["one:1", "two:1"]);
    cairn.ok(&["check"]);
    cairn.fails(
        &["import", "--name", "x", path.to_str().unwrap()],
        1,
        "2 images",
    );
}

#[test]
fn names_tags_and_removal() {
    let cairn = Cairn::new();
    std::fs::write(
        cairn.path("a.tar"),
        docker_archive("app:1", &layers(), |_| ()),
    )
    .unwrap();
    cairn.ok(&["import", cairn.path("a.tar").to_str().unwrap()]);
    cairn.ok(&["tag", "app:1", "other/name:2"]);
    assert_eq!(cairn.image_names(), ["app:1", "other/name:2"]);
    let id = cairn.json(&["images"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(cairn.ok(&["inspect", &id[7..15]]).contains(&id));
    let shown = cairn.ok(&["inspect", "app:1"]);
    assert!(
        !shown.contains("hunter2") && shown.contains("SECRET=<hidden"),
        "{shown}"
    );
    assert!(
        cairn
            .ok(&["inspect", "--show-env", "app:1"])
            .contains("hunter2")
    );
    assert_eq!(
        cairn.json(&["history", "app:1"]).as_array().unwrap().len(),
        2
    );
    cairn.ok(&["rmi", "app:1"]);
    assert_eq!(cairn.image_names(), ["other/name:2"]);
    cairn.ok(&["rmi", "other/name:2"]);
    assert_eq!(cairn.json(&["images"]), json!([]));
    assert_eq!(cairn.json(&["snapshot", "ls"]), json!([]));
    cairn.fails(&["rmi", "app:1"], 1, "does not exist");
    cairn.fails(&["tag", "nothing", "x"], 1, "does not exist");
    cairn.fails(&["import", "/nonexistent"], 1, "/nonexistent");
    assert_eq!(
        cairn
            .output(&["import", "x", "--name", "a b"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn an_empty_image_is_an_image() {
    let cairn = Cairn::new();
    for (name, layers) in [
        ("none", vec![]),
        ("empty", vec![vec![0; 1024]]),
        ("twice", vec![vec![0; 1024], vec![0; 1024]]),
    ] {
        std::fs::write(cairn.path("e.tar"), docker_archive(name, &layers, |_| ())).unwrap();
        cairn.ok(&["import", cairn.path("e.tar").to_str().unwrap()]);
        cairn.ok(&["export", name, "-o", cairn.path(name).to_str().unwrap()]);
    }
    cairn.ok(&["check"]);
}

/// Each of these must fail with a clear error, publish nothing, and leave nothing that gc does not find.
#[test]
fn hostile_archives_publish_nothing() {
    let cairn = Cairn::new();
    let good = layers();
    let layer = |tar: Tar| docker_archive("bad", &[tar.done()], |_| ());
    let whole = docker_archive("bad", &good, |_| ());
    let mut flipped = whole.clone();
    let at = flipped.windows(4).position(|w| w == b"kept").unwrap();
    flipped[at] ^= 1;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "path that leaves the root",
            layer(Tar::new().file("a/../../etc/passwd", b"x")),
            "..",
        ),
        (
            "hard link to nowhere",
            layer(Tar::new().link("a", "b", tar::EntryType::Link)),
            "not there",
        ),
        (
            "hard link out of the root",
            layer(Tar::new().link("a", "../b", tar::EntryType::Link)),
            "..",
        ),
        (
            "path through a file",
            layer(Tar::new().file("a", b"").file("a/b", b"")),
            "not a directory",
        ),
        (
            "whiteout device",
            layer(Tar::new().link("a", "", tar::EntryType::Char)),
            "0:0",
        ),
        (
            "unknown type",
            layer(Tar::new().link("a", "", tar::EntryType::new(b'Z'))),
            "not supported",
        ),
        (
            "sparse map past the end",
            layer(
                Tar::new()
                    .pax(&[
                        ("GNU.sparse.map", b"0,1,9999,4"),
                        ("GNU.sparse.size", b"10"),
                    ])
                    .file("a", b"abcde"),
            ),
            "sparse",
        ),
        (
            "pax size beyond the file",
            layer(
                Tar::new()
                    .pax(&[("size", b"99999999999")])
                    .file("a", b"abc"),
            ),
            "ends inside",
        ),
        (
            "no symlink target",
            layer(Tar::new().link("a", "", tar::EntryType::Symlink)),
            "no target",
        ),
        (
            "lying diff id",
            docker_archive("bad", &good, |c| {
                c["rootfs"]["diff_ids"][1] = json!(sha256(b"lie"))
            }),
            "diff id",
        ),
        (
            "too few layers",
            docker_archive("bad", &good, |c| c["rootfs"]["diff_ids"] = json!([])),
            "manifest",
        ),
        (
            "bad document",
            docker_archive("bad", &good, |c| *c = json!([1])),
            "not valid",
        ),
        ("flipped bit", flipped, "diff id"),
        ("no archive", noise(3, 100_000), "not valid"),
        ("empty file", Vec::new(), "empty"),
    ];
    for (what, bytes, words) in cases {
        std::fs::write(cairn.path("bad.tar"), bytes).unwrap();
        let said = cairn.fails(
            &["import", cairn.path("bad.tar").to_str().unwrap()],
            1,
            words,
        );
        assert!(said.lines().count() == 1, "{what}: {said}");
        assert_eq!(cairn.json(&["images"]), json!([]), "{what}");
        assert_eq!(cairn.json(&["snapshot", "ls"]), json!([]), "{what}");
    }
    for cut in (0..whole.len() - 14_000).step_by(50_021) {
        std::fs::write(cairn.path("bad.tar"), &whole[..cut]).unwrap();
        assert_eq!(
            cairn
                .output(&["import", cairn.path("bad.tar").to_str().unwrap()])
                .status
                .code(),
            Some(1),
            "cut at {cut}"
        );
    }
    let root_tar = Tar::new().file("a", b"abc").done();
    std::fs::write(cairn.path("cut.tar"), &root_tar[..1024]).unwrap();
    cairn.fails(
        &["import", cairn.path("cut.tar").to_str().unwrap()],
        1,
        "truncated",
    );
    std::fs::write(cairn.path("many.tar"), docker_archive("m", &good, |_| ())).unwrap();
    cairn.fails(
        &[
            "import",
            "--max-entries",
            "3",
            cairn.path("many.tar").to_str().unwrap(),
        ],
        1,
        "--max-entries",
    );
    cairn.fails(
        &[
            "import",
            "--max-bytes",
            "1000",
            cairn.path("many.tar").to_str().unwrap(),
        ],
        1,
        "--max-bytes",
    );
    cairn.ok(&["gc"]);
    cairn.ok(&["check"]);
    assert_eq!(
        std::fs::read_dir(cairn.root().join("packs"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        std::fs::read_dir(cairn.root().join("tmp")).unwrap().count(),
        0
    );
}

#[test]
fn a_compressed_layer_is_checked_against_its_digest() {
    let cairn = Cairn::new();
    std::fs::write(
        cairn.path("in.tar"),
        docker_archive("app:1", &layers(), |_| ()),
    )
    .unwrap();
    cairn.ok(&["import", cairn.path("in.tar").to_str().unwrap()]);
    let layout = cairn.path("layout");
    cairn.ok(&[
        "export",
        "app:1",
        "--format",
        "oci",
        "-o",
        layout.to_str().unwrap(),
    ]);
    let blobs: Vec<_> = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    for blob in blobs {
        let good = std::fs::read(&blob).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 0x40;
        std::fs::write(&blob, &bad).unwrap();
        let fresh = Cairn::new();
        let output = fresh.output(&["import", layout.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{blob:?}");
        assert_eq!(fresh.json(&["images"]), json!([]));
        std::fs::write(&blob, &good).unwrap();
    }
}

#[test]
fn skopeo_and_umoci_take_the_exports() {
    if !is_root() || !has("skopeo") || !has("umoci") {
        skip!("needs root, skopeo and umoci");
    }
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    common::shell_tree(&tree);
    cairn.import_dir(&tree, "shell:1");
    let (archive, layout) = (cairn.path("a.tar"), cairn.path("layout"));
    cairn.ok(&["export", "shell:1", "-o", archive.to_str().unwrap()]);
    cairn.ok(&[
        "export",
        "shell:1",
        "--format",
        "oci",
        "-o",
        layout.to_str().unwrap(),
    ]);
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    for source in [
        format!("docker-archive:{}", archive.display()),
        format!("oci:{}:1", layout.display()),
    ] {
        let config = run(
            "skopeo",
            &["--insecure-policy", "inspect", "--config", "--raw", &source],
        );
        assert_eq!(
            sha256(&config),
            cairn.json(&["inspect", "shell:1"])["digest"]
                .as_str()
                .unwrap(),
            "{source}"
        );
    }
    let bundle = cairn.path("bundle");
    run(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:1", layout.display()),
            bundle.to_str().unwrap(),
        ],
    );
    let unpacked = survey(&bundle.join("rootfs"));
    let original = survey(&tree);
    assert_eq!(unpacked.len(), original.len());
    for (path, text) in original {
        assert_eq!(unpacked.get(&path), Some(&text), "{path:?}");
    }
    // And back: what umoci and skopeo write is read.
    let copied = cairn.path("copied");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            &format!("oci:{}:1", layout.display()),
            &format!("dir:{}", copied.display()),
        ],
    );
    let archive2 = cairn.path("b.tar");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            &format!("oci:{}:1", layout.display()),
            &format!("docker-archive:{}:again:1", archive2.display()),
        ],
    );
    let report = cairn.json(&["import", archive2.to_str().unwrap()]);
    assert_eq!(
        report[0]["id"],
        cairn.json(&["inspect", "shell:1"])["digest"]
    );
}

/// An index over manifests: the platform decides, and a missing one is named with those there are.
#[test]
fn a_multi_platform_index_gives_the_platform_asked_for() {
    let cairn = Cairn::new();
    let layout = cairn.path("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(layout.join("blobs/sha256").join(&sha256(bytes)[7..]), bytes).unwrap();
        json!({"digest": sha256(bytes), "size": bytes.len()})
    };
    let mut manifests = Vec::new();
    let mut ids = Vec::new();
    for architecture in ["amd64", "arm64", "s390x"] {
        let layer = Tar::new().file("arch", architecture.as_bytes()).done();
        let config = json!({"architecture": architecture, "os": "linux", "config": {},
                            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]}});
        let config = config.to_string();
        ids.push(sha256(config.as_bytes()));
        let manifest =
            json!({"schemaVersion": 2, "config": put(config.as_bytes()), "layers": [put(&layer)]})
                .to_string();
        let mut descriptor = put(manifest.as_bytes());
        descriptor["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(descriptor);
    }
    let inner = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    let mut descriptor = put(inner.as_bytes());
    descriptor["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "multi"});
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    for (architecture, id) in ["amd64", "arm64", "s390x"].iter().zip(&ids) {
        let fresh = Cairn::new();
        let platform = format!("linux/{architecture}");
        fresh.ok(&["import", layout.to_str().unwrap(), "--platform", &platform]);
        let image = fresh.json(&["images"])[0].clone();
        let shown = (&image["id"], &image["platform"], &image["names"]);
        assert_eq!(
            shown,
            (&json!(id), &json!(platform), &json!(["multi:latest"]))
        );
    }
    let riscv = [
        "import",
        layout.to_str().unwrap(),
        "--platform",
        "linux/riscv64",
    ];
    cairn.fails(&riscv, 1, "linux/s390x");
    assert_eq!(
        cairn
            .output(&["import", "x", "--platform", "linux"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn what_did_not_change_keeps_its_image_id() {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(1, 5000)).unwrap();
    let import = |more: &[&str]| {
        let mut args = vec!["import", tree.to_str().unwrap()];
        args.extend(more);
        cairn.json(&args)[0]["id"].clone()
    };
    let first = import(&["--name", "a:1"]);
    assert!(first.is_string(), "{first}");
    // The date in the document has seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for more in [
        &["--name", "a:1"][..],
        &["--name", "b:1"],
        &["--name", "a:1", "--read-all"],
        &[],
    ] {
        assert_eq!(import(more), first, "{more:?}");
    }
    std::fs::write(tree.join("file"), noise(2, 5000)).unwrap();
    assert_ne!(import(&["--name", "a:1"]), first);
    std::fs::write(tree.join("file"), noise(1, 5000)).unwrap();
    // The file has another time, and so is another.
    assert_ne!(import(&["--name", "a:1"]), first);
}
