//! What is taken for an archive of images, what in it for an image, and where an export may go.

mod common;

use std::os::unix::fs::{FileExt, FileTypeExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Cairn, Tar, docker_archive, noise, sha256};
use serde_json::{Value, json};

fn layer(content: &str) -> Vec<u8> {
    Tar::new().file("file", content.as_bytes()).done()
}

/// An OCI layout, built blob by blob.
struct Layout<'a> {
    root: &'a Path,
    manifests: Vec<Value>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl<'a> Layout<'a> {
    fn new(root: &'a Path) -> Self {
        let _ = std::fs::remove_dir_all(root);
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self {
            root,
            manifests: Vec::new(),
        }
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        std::fs::write(self.root.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// Descriptor and id of an image for a platform, whose layer says which.
    fn image(&self, os: &str, architecture: &str, variant: &str) -> (Value, String) {
        let layer = layer(&format!("{os}/{architecture}/{variant}"));
        let mut config = json!({"os": os, "architecture": architecture, "config": {},
                                "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]}});
        if !variant.is_empty() {
            config["variant"] = json!(variant);
        }
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": self.blob(CONFIG, &config), "layers": [self.blob(LAYER, &layer)]});
        (
            self.blob(MANIFEST, manifest.to_string().as_bytes()),
            sha256(&config),
        )
    }

    fn add(&mut self, mut descriptor: Value, name: &str) {
        if !name.is_empty() {
            descriptor["annotations"] = json!({"io.containerd.image.name": name});
        }
        self.manifests.push(descriptor);
    }

    fn done(&self) -> &str {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        std::fs::write(self.root.join("index.json"), index.to_string()).unwrap();
        self.root.to_str().unwrap()
    }
}

fn ids(done: &Value) -> Vec<String> {
    let ids = done.as_array().unwrap().iter();
    ids.map(|image| image["id"].as_str().unwrap().to_owned())
        .collect()
}

/// cosign#3316, zarf#3113
#[test]
fn what_is_no_image_is_passed_over_and_named() {
    let cairn = Cairn::new();
    let root = cairn.path("layout");
    let mut layout = Layout::new(&root);
    let others = [
        (
            "signature",
            json!({"config": layout.blob(CONFIG, b"{\"rootfs\":{}}"), "layers": [layout.blob("application/vnd.dev.cosign.simplesigning.v1+json", b"{}")]}),
        ),
        (
            "sbom",
            json!({"artifactType": "application/spdx+json", "config": layout.blob("application/vnd.oci.empty.v1+json", b"{}"), "layers": [layout.blob("application/spdx+json", b"sbom")]}),
        ),
        (
            "chart",
            json!({"config": layout.blob("application/vnd.cncf.helm.config.v1+json", b"[1]"), "layers": []}),
        ),
        (
            "empty",
            json!({"config": layout.blob(CONFIG, b"{}"), "layers": [layout.blob(LAYER, b"x")]}),
        ),
        (
            "lost",
            json!({"config": {"mediaType": "x/y", "digest": "sha512:00", "size": 1}, "layers": [{"mediaType": "x/z", "digest": "md5:1", "size": 7}]}),
        ),
    ];
    for (name, manifest) in others {
        let descriptor = layout.blob(MANIFEST, manifest.to_string().as_bytes());
        layout.add(descriptor, name);
    }
    layout.add(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:00", "size": 1}), "stray");
    let said = cairn.fails(&["import", layout.done()], 1, "contains no image");
    assert!(said.contains("signature"), "{said}");
    let (image, id) = layout.image("linux", "amd64", "");
    layout.add(image, "app:1");
    let mut attestation = layout.image("unknown", "unknown", "").0;
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    layout.add(attestation, "attestation");
    let output = cairn.output(&[
        "--json",
        "import",
        "--platform",
        "linux/amd64",
        layout.done(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(ids(&serde_json::from_slice(&output.stdout).unwrap()), [id]);
    for name in [
        "signature",
        "sbom",
        "chart",
        "empty",
        "lost",
        "stray",
        "attestation",
    ] {
        let line = format!("skipped {name}: ");
        assert_eq!(said.matches(&line).count(), 1, "{name}: {said}");
    }
    assert_eq!(cairn.image_names(), ["app:1"]);
}

/// image-spec#581
#[test]
fn of_several_platforms_under_one_name_the_best_is_taken() {
    let cairn = Cairn::new();
    let root = cairn.path("layout");
    let platforms = [
        ("linux", "arm64", "v8"),
        ("linux", "amd64", "v3"),
        ("linux", "amd64", ""),
        ("linux", "amd64", "v2"),
        ("linux", "arm", "v6"),
        ("linux", "arm", "v7"),
        ("windows", "amd64", ""),
    ];
    // Stated by the descriptor, by nobody but the configuration, partly, and in another spelling.
    for stated in ["descriptor", "config", "partial", "alias"] {
        for nested in [false, true] {
            let mut layout = Layout::new(&root);
            let mut all = Vec::new();
            for (os, architecture, variant) in platforms {
                let (mut descriptor, id) = match (stated, architecture) {
                    ("alias", "amd64") => layout.image(os, "x86_64", variant),
                    ("alias", "arm64") => layout.image(os, "aarch64", "8"),
                    _ => layout.image(os, architecture, variant),
                };
                descriptor["platform"] = match stated {
                    "descriptor" => {
                        json!({"os": os, "architecture": architecture, "variant": variant})
                    }
                    "partial" => json!({"os": os, "architecture": ""}),
                    _ => Value::Null,
                };
                all.push((descriptor, id));
            }
            if nested {
                let manifests: Vec<&Value> = all.iter().map(|(d, _)| d).collect();
                let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
                let descriptor =
                    layout.blob("application/vnd.oci.image.index.v1+json", index.as_bytes());
                layout.add(descriptor, "app:1");
            } else {
                for (descriptor, _) in &all {
                    layout.add(descriptor.clone(), "app:1");
                }
            }
            let path = layout.done();
            for (wanted, best) in [
                ("linux/amd64", 2),
                ("linux/x86_64", 2),
                ("linux/amd64/v2", 3),
                ("linux/amd64/v4", 1),
                ("linux/arm64", 0),
                ("linux/arm64/v8", 0),
                ("linux/aarch64", 0),
                ("linux/arm", 5),
                ("linux/arm/v7", 5),
                ("linux/arm/v6", 4),
                ("windows/amd64", 6),
            ] {
                let done = cairn.json(&["import", "--platform", wanted, path]);
                assert_eq!(
                    ids(&done),
                    [all[best].1.clone()],
                    "{wanted} {stated} {nested}"
                );
                assert_eq!(done[0]["names"], json!(["app:1"]));
            }
            cairn.fails(
                &["import", "--platform", "linux/s390x", path],
                1,
                "linux/arm64",
            );
            cairn.fails(
                &["import", "--platform", "linux/arm/v5", path],
                1,
                "linux/arm/v6",
            );
        }
    }
    // The only image under its name is wanted, whatever it is for.
    let mut layout = Layout::new(&root);
    let (descriptor, id) = layout.image("linux", "s390x", "");
    layout.add(descriptor, "big:1");
    assert_eq!(ids(&cairn.json(&["import", layout.done()])), [id]);
}

#[test]
fn null_absent_and_empty_are_one_in_documents_of_others() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let config = br#"{"os":null,"architecture":"amd64","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
    let config_name = format!("{}.json", &sha256(config)[7..]);
    for fields in [
        r#""RepoTags":null,"Layers":null"#,
        r#""RepoTags":["a:1"]"#,
        r#""Layers":[]"#,
    ] {
        let manifest = format!(r#"[{{"Config":"{config_name}",{fields}}}]"#);
        let tar = Tar::new()
            .file(&config_name, config)
            .file("manifest.json", manifest.as_bytes());
        std::fs::write(&file, tar.done()).unwrap();
        assert_eq!(
            ids(&cairn.json(&["import", file.to_str().unwrap()])),
            [sha256(config)]
        );
    }
    let root = cairn.path("layout");
    let mut layout = Layout::new(&root);
    let manifest = json!({"schemaVersion": 2, "config": layout.blob(CONFIG, config), "layers": null, "annotations": null});
    let mut descriptor = layout.blob(MANIFEST, manifest.to_string().as_bytes());
    for (key, value) in [
        ("annotations", json!(null)),
        ("platform", json!({})),
        ("size", json!(null)),
        ("urls", json!(null)),
    ] {
        descriptor[key] = value;
    }
    layout.add(descriptor.clone(), "");
    assert_eq!(
        ids(&cairn.json(&["import", layout.done()])),
        [sha256(config)]
    );
    descriptor["mediaType"] = Value::Null;
    layout.manifests = vec![descriptor];
    assert_eq!(
        ids(&cairn.json(&["import", layout.done()])),
        [sha256(config)]
    );
}

#[test]
fn a_root_file_system_may_have_the_files_of_an_archive() {
    let cairn = Cairn::new();
    let file = cairn.path("root.tar");
    let path = file.to_str().unwrap();
    for (name, content) in [
        ("manifest.json", r#"{"name":"app","icons":[]}"#),
        ("manifest.json", r#"[{"name":"app"}]"#),
        ("manifest.json", "not json"),
        ("manifest.json", "[]"),
        ("repositories", "deb http://example"),
        ("oci-layout", "a text"),
        ("index.json", "{}"),
        ("version", "1.0"),
        ("BZh91AY", "x"),
        ("\u{1f}\u{8b}x", "x"),
        ("(\u{b5}/x", "x"),
    ] {
        std::fs::write(&file, Tar::new().file(name, content.as_bytes()).done()).unwrap();
        let done = cairn.json(&["import", path, "--name", "tar"]);
        assert_eq!(
            (done.as_array().unwrap().len(), &done[0]["layers"]),
            (1, &json!(1)),
            "{name}"
        );
        let tree = cairn.path("tree");
        let _ = std::fs::remove_dir_all(&tree);
        std::fs::create_dir(&tree).unwrap();
        if !name.contains('/') {
            std::fs::write(tree.join(name), content).unwrap();
            let done = cairn.json(&["import", tree.to_str().unwrap(), "--name", "dir"]);
            let id = done[0]["id"].as_str().unwrap().to_owned();
            let out = cairn.path("out");
            let _ = std::fs::remove_dir_all(&out);
            cairn.ok(&[
                "export",
                &id,
                "--format",
                "dir",
                "-o",
                out.to_str().unwrap(),
            ]);
            assert_eq!(
                std::fs::read(out.join(name)).unwrap(),
                content.as_bytes(),
                "{name}"
            );
        }
    }
}

/// What the walk that looks for documents does not understand is no reason to refuse a root file system.
#[test]
fn a_root_tar_is_judged_by_the_reader_of_layers_alone() {
    let cairn = Cairn::new();
    let file = cairn.path("root.tar");
    let link = |path: &str, target: &str| Tar::new().link(path, target, tar::EntryType::Symlink);
    for (what, tar) in [
        (
            "a link with more .. than depth",
            link("a/b", "../../../../etc/passwd").file("c", b""),
        ),
        (
            "a link to an absolute path",
            link("a", "/etc/passwd").file("c", b""),
        ),
        (
            "two pax headers",
            Tar::new()
                .pax(&[("mtime", b"1.5")])
                .pax(&[("path", b"long")])
                .file("short", b"x"),
        ),
    ] {
        std::fs::write(&file, tar.done()).unwrap();
        let output = cairn.output(&["import", file.to_str().unwrap(), "--name", "x"]);
        assert!(
            output.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_long_name_costs_no_memory() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let layers = [layer("x")];
    // Beside an image, a file with a name of 2 GiB, which is a hole of the archive.
    let name = Tar::header("././@LongLink", tar::EntryType::GNULongName, 2 << 30);
    let named = Tar::header("x", tar::EntryType::Regular, 0);
    let archive = docker_archive("app:1", &layers, |_| ());
    let out = std::fs::File::create(&file).unwrap();
    out.write_all_at(name.as_bytes(), 0).unwrap();
    let rest = [named.as_bytes(), &archive[..]].concat();
    out.write_all_at(&rest, 512 + (2 << 30)).unwrap();
    let command = cairn.command(&[]);
    let limited = format!(
        "ulimit -v 1500000; exec {:?} --root {:?} import {:?}",
        command.get_program(),
        cairn.root(),
        file
    );
    let output = Command::new("sh").arg("-c").arg(limited).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("extended header"), "{said}");
    assert_eq!(cairn.image_names(), Vec::<String>::new());
}

#[test]
fn a_document_is_bounded_before_it_is_parsed() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let path = file.to_str().unwrap();
    for (junk, words) in [
        (format!("[{}0]", "{\"\":0},".repeat(9 << 20)), "are allowed"),
        (format!("[{}0]", "{\"\":0},".repeat(1 << 19)), "values"),
    ] {
        let config = format!(r#"{{"rootfs":{{"diff_ids":[]}},"junk":{junk}}}"#);
        let name = format!("{}.json", &sha256(config.as_bytes())[7..]);
        let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["app:1"],"Layers":[]}}]"#);
        let tar = Tar::new()
            .file(&name, config.as_bytes())
            .file("manifest.json", manifest.as_bytes());
        std::fs::write(&file, tar.done()).unwrap();
        cairn.fails(&["import", path], 1, words);
    }
    for change in [
        json!({"Env": (0..100_000).map(|i| format!("A{i}=b")).collect::<Vec<_>>()}),
        json!({"WorkingDir": "/".to_owned() + &"w".repeat(400_000)}),
        json!({"Volumes": (0..3000).map(|i| (format!("/v{i}"), json!({}))).collect::<serde_json::Map<_, _>>()}),
    ] {
        let archive = docker_archive("app:1", &[layer("x")], |config| config["config"] = change);
        std::fs::write(&file, archive).unwrap();
        cairn.fails(&["import", path], 1, "image configuration is not valid");
    }
    assert_eq!(cairn.image_names(), Vec::<String>::new());
}

#[test]
fn what_is_spooled_counts_against_max_bytes() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let tar = docker_archive(
        "app:1",
        &[Tar::new().file("zeros", &vec![0; 4 << 20]).done()],
        |_| (),
    );
    std::fs::write(&file, &tar).unwrap();
    let gz = Command::new("gzip")
        .arg("-c")
        .arg(&file)
        .output()
        .unwrap()
        .stdout;
    let packed = cairn.path("in.tar.gz");
    std::fs::write(&packed, gz).unwrap();
    cairn.fails(
        &["import", packed.to_str().unwrap(), "--max-bytes", "1000000"],
        1,
        "--max-bytes",
    );
    let stream = format!(
        "exec \"$0\" --root {:?} import - --max-bytes 1000000 < {file:?}",
        cairn.root()
    );
    let program = cairn.command(&[]).get_program().to_owned();
    let output = Command::new("sh")
        .arg("-c")
        .arg(stream)
        .arg(program)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--max-bytes"));
    assert_eq!(
        std::fs::read_dir(cairn.root().join("tmp")).unwrap().count(),
        0
    );
    cairn.ok(&["import", packed.to_str().unwrap()]);
}

#[test]
fn an_unpacked_archive_is_an_archive() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    std::fs::write(&file, docker_archive("app:1", &[layer("x")], |_| ())).unwrap();
    let unpacked = cairn.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = |directory: &Path| {
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&file)
            .arg("-C")
            .arg(directory)
            .status();
        assert!(status.unwrap().success());
    };
    tar(&unpacked);
    let whole = ids(&cairn.json(&["import", file.to_str().unwrap()]));
    assert_eq!(
        ids(&cairn.json(&["import", unpacked.to_str().unwrap()])),
        whole
    );
    // Half of one is told, and does not become a root file system.
    std::fs::write(unpacked.join("manifest.json"), "[{").unwrap();
    cairn.fails(
        &["import", unpacked.to_str().unwrap()],
        1,
        "manifest.json is not valid",
    );
    std::fs::remove_file(unpacked.join("manifest.json")).unwrap();
    std::fs::write(unpacked.join("repositories"), "{}").unwrap();
    cairn.fails(&["import", unpacked.to_str().unwrap()], 1, "before 1.10");
}

#[test]
fn a_directory_of_skopeo_is_an_image() {
    let cairn = Cairn::new();
    let root = cairn.path("layout");
    let layout = Layout::new(&root);
    let (descriptor, id) = layout.image("linux", "amd64", "");
    let directory = cairn.path("dir");
    std::fs::create_dir(&directory).unwrap();
    let digest = descriptor["digest"].as_str().unwrap()[7..].to_owned();
    for blob in std::fs::read_dir(root.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let is_manifest = blob.file_name().to_str() == Some(&digest);
        let name = if is_manifest {
            "manifest.json".into()
        } else {
            blob.file_name()
        };
        std::fs::copy(blob.path(), directory.join(name)).unwrap();
    }
    std::fs::write(
        directory.join("version"),
        "Directory Transport Version: 1.1\n",
    )
    .unwrap();
    let path = directory.to_str().unwrap();
    assert_eq!(
        ids(&cairn.json(&["import", path, "--name", "x"])),
        std::slice::from_ref(&id)
    );
    // The same with all platforms: a list, and a manifest for each.
    let manifest = std::fs::read(directory.join("manifest.json")).unwrap();
    std::fs::write(directory.join(format!("{digest}.manifest.json")), &manifest).unwrap();
    let mut listed = descriptor;
    listed["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let list = json!({"schemaVersion": 2, "manifests": [listed]}).to_string();
    std::fs::write(directory.join("manifest.json"), list).unwrap();
    let fresh = Cairn::new();
    assert_eq!(
        ids(&fresh.json(&["import", path, "--platform", "linux/amd64"])),
        [id]
    );
}

/// Passwords end up in build arguments and ENV, and so in the history.
#[test]
fn history_hides_the_values_of_variables() {
    let cairn = Cairn::new();
    let archive = common::docker_archive("app:1", &[Tar::new().file("f", b"x").done()], |config| {
        config["history"] = json!([{"created_by": "RUN |1 TOKEN=hunter2 /bin/sh -c make # buildkit"},
            {"created_by": "ENV PASSWORD=hunter2", "empty_layer": true}]);
    });
    std::fs::write(cairn.path("a.tar"), archive).unwrap();
    cairn.ok(&["import", cairn.path("a.tar").to_str().unwrap()]);
    let page = cairn.path("page.html");
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    let told = [
        cairn.ok(&["history", "app:1"]),
        cairn.ok(&["--json", "history", "app:1"]),
        cairn.ok(&["inspect", "app:1"]),
        std::fs::read_to_string(page).unwrap(),
    ];
    for text in told {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let shown = cairn.ok(&["history", "--show-env", "app:1"]);
    assert_eq!(shown.matches("hunter2").count(), 2, "{shown}");
    assert!(
        cairn
            .ok(&["inspect", "--show-env", "app:1"])
            .contains("hunter2")
    );
}

#[test]
fn history_keeps_its_lines_beside_their_layers() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let layers: Vec<Vec<u8>> = [10, 200, 3000]
        .iter()
        .map(|n| Tar::new().file("file", &vec![b'x'; *n]).done())
        .collect();
    let archive = docker_archive("app:1", &layers, |config| {
        config["history"] = json!([{"created_by": "a"}, {"created_by": 5}, {"created_by": "e", "empty_layer": true}, null]);
    });
    std::fs::write(&file, archive).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    let history = cairn.json(&["history", "app:1"]);
    let sizes: Vec<&Value> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["content_bytes"])
        .collect();
    assert_eq!(sizes, [&json!(10), &json!(200), &json!(null), &json!(3000)]);
}

#[test]
fn read_all_reads_layers_that_are_present() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let path = file.to_str().unwrap();
    let secret = layer("secret");
    std::fs::write(
        &file,
        docker_archive("app:1", std::slice::from_ref(&secret), |_| ()),
    )
    .unwrap();
    cairn.ok(&["import", path]);
    let again = cairn.json(&["import", path, "--read-all"]);
    assert_eq!(again[0]["layers_present"], 0);
    // Who knows a digest can have its layer without having it: not with --read-all.
    let claims = json!([sha256(&secret)]);
    let lie = |config: &mut Value| config["rootfs"]["diff_ids"] = claims.clone();
    std::fs::write(&file, docker_archive("app:2", &[Vec::new()], lie)).unwrap();
    cairn.fails(&["import", path, "--read-all"], 1, "diff id");
    assert_eq!(cairn.image_names(), ["app:1"]);
}

#[test]
fn an_export_goes_where_the_name_leads() {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let tar = Tar::new().file("file", &noise(1, 1 << 20)).done();
    std::fs::write(&file, docker_archive("app:1", &[tar], |_| ())).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    let plain = cairn.path("plain.tar");
    cairn.ok(&["export", "app:1", "-o", plain.to_str().unwrap()]);
    let expected = std::fs::read(&plain).unwrap();
    let out = cairn.path("out");
    std::fs::create_dir(&out).unwrap();

    // A link is followed and stays one, also one that leads to nothing yet.
    for target in ["there.tar", "new.tar"] {
        let link = out.join(format!("link-{target}"));
        symlink(target, &link).unwrap();
        if target == "there.tar" {
            std::fs::write(out.join(target), "old").unwrap();
        }
        cairn.ok(&["export", "app:1", "-o", link.to_str().unwrap()]);
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(out.join(target)).unwrap(), expected);
    }

    // A pipe takes what is written.
    let fifo = out.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::read(fifo).unwrap())
    };
    cairn.ok(&["export", "app:1", "-o", fifo.to_str().unwrap()]);
    assert_eq!(reader.join().unwrap(), expected);
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());

    // Standard output by its name, into a file and into a pipe.
    let mut command = cairn.command(&["export", "app:1", "-o", "/dev/stdout"]);
    assert_eq!(command.output().unwrap().stdout, expected);
    let captured = std::fs::File::create(out.join("captured")).unwrap();
    assert!(
        command
            .stdout(Stdio::from(captured))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(std::fs::read(out.join("captured")).unwrap(), expected);

    cairn.fails(
        &["export", "app:1", "-o", out.to_str().unwrap()],
        1,
        "is a directory",
    );
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "captured",
            "fifo",
            "link-new.tar",
            "link-there.tar",
            "new.tar",
            "there.tar"
        ]
    );
}

/// A device of one's own, so that the machine's is in no danger.
#[test]
fn an_export_into_a_device_leaves_the_device() {
    if !common::is_root() {
        skip!("making a device needs root");
    }
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let tar = Tar::new().file("file", &noise(1, 1 << 20)).done();
    std::fs::write(&file, docker_archive("app:1", &[tar], |_| ())).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    let out = cairn.path("out");
    std::fs::create_dir(&out).unwrap();
    for (name, minor) in [("null", "3"), ("full", "7")] {
        let made = Command::new("mknod")
            .arg(out.join(name))
            .args(["c", "1", minor])
            .status();
        if !made.unwrap().success() {
            skip!("devices cannot be made here");
        }
    }
    for format in ["docker", "oci-archive", "tar"] {
        let to = |name: &str| out.join(name).to_str().unwrap().to_owned();
        cairn.ok(&["export", "app:1", "--format", format, "-o", &to("null")]);
        let said = cairn.fails(
            &["export", "app:1", "--format", format, "-o", &to("full")],
            1,
            "No space",
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        for name in ["null", "full"] {
            assert!(
                out.join(name)
                    .symlink_metadata()
                    .unwrap()
                    .file_type()
                    .is_char_device()
            );
        }
        let stdout = std::fs::File::options()
            .write(true)
            .open(out.join("full"))
            .unwrap();
        let mut command = cairn.command(&["export", "app:1", "--format", format, "-o", "-"]);
        let output = command
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
}

/// A full disk is one line and leaves nothing.
#[test]
fn an_export_to_a_full_disk_leaves_nothing() {
    if !common::is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let tar = Tar::new().file("file", &noise(1, 4 << 20)).done();
    std::fs::write(&file, docker_archive("app:1", &[tar], |_| ())).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    let small = cairn.path("small");
    std::fs::create_dir(&small).unwrap();
    // In a mount namespace of its own, which ends with the shell.
    let script = "mount -t tmpfs -o size=1m none \"$1\" || exit 77; cd \"$1\"; \"$0\" --root \"$2\" export app:1 --format \"$3\" -o out.tar; echo code $?; ls -A";
    for format in ["docker", "oci-archive", "tar"] {
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(cairn.command(&[]).get_program())
            .arg(&small)
            .arg(cairn.root())
            .arg(format)
            .output()
            .unwrap();
        if output.status.code() == Some(77) {
            skip!("mounting does not work here");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "code 1\n",
            "{format}: {said}"
        );
        assert!(
            said.lines().count() == 1 && said.contains("No space"),
            "{format}: {said}"
        );
    }
}

/// Holes stay holes in a root tar, for every reader.
#[test]
fn a_root_tar_has_no_zeros_for_holes() {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = std::fs::File::create(tree.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"in the middle", 20 << 20).unwrap();
    std::fs::write(tree.join("after"), b"after").unwrap();
    let expected = std::fs::read(tree.join("sparse")).unwrap();
    cairn.import_dir(&tree, "sparse:1");
    let archive = cairn.path("root.tar");
    let archive = archive.to_str().unwrap();
    cairn.ok(&["export", "sparse:1", "--format", "tar", "-o", archive]);
    assert!(std::fs::metadata(archive).unwrap().len() < 1 << 20);
    for reader in ["tar", "bsdtar"] {
        if !common::has(reader) {
            skip!("{reader} is not installed");
        }
        let out = cairn.path(reader);
        std::fs::create_dir(&out).unwrap();
        let done = Command::new(reader)
            .args(["-xf", archive, "-C"])
            .arg(&out)
            .status();
        assert!(done.unwrap().success());
        assert!(
            std::fs::read(out.join("sparse")).unwrap() == expected,
            "{reader}"
        );
        assert_eq!(std::fs::read(out.join("after")).unwrap(), b"after");
    }
    let trees = |cairn: &Cairn| cairn.json(&["inspect", "sparse:1"])["layers"][0]["id"].clone();
    let other = Cairn::new();
    other.ok(&["import", archive, "--name", "sparse:1"]);
    assert_eq!(trees(&other), trees(&cairn));
}
