//! Names of images: one normal form, never an id, and what an archive may do with them.

mod common;

use common::{Cairn, Tar, docker_archive};
use serde_json::{Value, json};

fn layer(content: &str) -> Vec<u8> {
    Tar::new().file("file", content.as_bytes()).done()
}

/// Imports an image of its own content; its id.
fn import(cairn: &Cairn, name: &str, content: &str) -> String {
    let file = cairn.path("in.tar");
    std::fs::write(&file, docker_archive(name, &[layer(content)], |_| ())).unwrap();
    id(&cairn.json(&["import", file.to_str().unwrap()])[0])
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn content(cairn: &Cairn, reference: &str) -> Vec<u8> {
    let out = cairn.path("content");
    let _ = std::fs::remove_dir_all(&out);
    let out = out.to_str().unwrap();
    cairn.ok(&["export", reference, "--format", "dir", "-o", out]);
    std::fs::read(cairn.path("content/file")).unwrap()
}

/// The list of images in a docker archive.
fn manifest(path: &std::path::Path) -> Value {
    let mut tar = tar::Archive::new(std::fs::File::open(path).unwrap());
    let found = tar.entries().unwrap().map(Result::unwrap);
    let mut found = found.filter(|e| e.path().unwrap().as_ref() == "manifest.json");
    serde_json::from_reader(found.next().unwrap()).unwrap()
}

/// moby#46492
#[test]
fn no_image_can_have_the_id_of_another_as_its_name() {
    let cairn = Cairn::new();
    let victim = import(&cairn, "victim:1", "victim");
    let hex = victim[7..].to_owned();
    let short = &hex[..12];
    for name in [
        victim.clone(),
        hex.clone(),
        format!("{hex}:latest"),
        short.to_owned(),
        format!("{short}:latest"),
        format!("sha256:{short}"),
        format!("docker.io/library/{hex}"),
        format!("docker.io/{short}:1"),
        "sha256".to_owned(),
        format!("victim@{victim}"),
    ] {
        // In an archive the name is left out, and said.
        let file = cairn.path("bad.tar");
        std::fs::write(&file, docker_archive(&name, &[layer(&name)], |_| ())).unwrap();
        let output = cairn.output(&["import", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("skipped the name"),
            "{name}: {said}"
        );
        let done = cairn.json(&["import", file.to_str().unwrap()]);
        assert_eq!(done[0]["names"], json!([]), "{name}");
        assert_eq!(done[0]["names_left_out"][0]["name"], json!(name));
        // Nobody else can give it either.
        cairn.fails(&["tag", "victim:1", &name], 2, "not valid");
        cairn.fails(
            &["import", file.to_str().unwrap(), "--name", &name],
            2,
            "not valid",
        );
        cairn.fails(&["commit", "none", &name], 2, "not valid");
        cairn.ok(&["rmi", done[0]["id"].as_str().unwrap()]);
    }
    assert_eq!(cairn.image_names(), ["victim:1"]);
    for reference in [&victim, &hex, &hex[..40].to_owned(), &short.to_owned()] {
        assert_eq!(content(&cairn, reference), b"victim", "{reference}");
    }
    assert_eq!(content(&cairn, &format!("any/name@{victim}")), b"victim");
    assert_eq!(content(&cairn, &format!("sha256:{}", &hex[..8])), b"victim");
    let other = format!("victim@sha256:{}", "0".repeat(64));
    cairn.fails(&["export", &other, "-o", "x"], 1, "does not exist");
}

#[test]
fn every_spelling_of_a_name_leads_to_the_same_image() {
    let cairn = Cairn::new();
    let py = import(&cairn, "docker.io/library/py", "py");
    let app = import(&cairn, "index.docker.io/example/app:1", "app");
    assert_eq!(cairn.image_names(), ["example/app:1", "py:latest"]);
    for (spelling, image) in [
        ("py", &py),
        ("py:latest", &py),
        ("library/py", &py),
        ("docker.io/py", &py),
        ("docker.io/library/py:latest", &py),
        ("example/app:1", &app),
        ("docker.io/example/app:1", &app),
    ] {
        assert_eq!(
            &id(&cairn.json(&["inspect", spelling])),
            image,
            "{spelling}"
        );
    }
    cairn.fails(&["inspect", "example/app"], 1, "does not exist");
    cairn.ok(&["tag", "py", "docker.io/library/py:latest"]);
    cairn.ok(&["tag", "py", "ghcr.example:5000/a/py"]);
    assert_eq!(
        cairn.image_names(),
        [
            "example/app:1",
            "ghcr.example:5000/a/py:latest",
            "py:latest"
        ]
    );
    let table = cairn.ok(&["images"]);
    assert!(
        table.lines().any(|l| l.starts_with("example/app ")),
        "{table}"
    );
    assert!(
        cairn
            .ok(&["rmi", "docker.io/py"])
            .contains("untagged py:latest")
    );
    for bad in ["Upper/x", "a:b:c", "app:1.0+b5", "a//b", "x@sha256:00"] {
        cairn.fails(&["tag", &app, bad], 2, "not valid");
    }
}

#[test]
fn a_name_that_is_none_does_not_keep_an_archive_out() {
    let cairn = Cairn::new();
    for bad in ["app:1.0+b5", "", "Upper/x:1", "a:b:c", "<none>:<none>"] {
        let file = cairn.path("in.tar");
        std::fs::write(&file, docker_archive(bad, &[layer("x")], |_| ())).unwrap();
        let done = cairn.json(&["import", file.to_str().unwrap()]);
        let left_out = &done[0]["names_left_out"];
        assert_eq!(
            (&left_out[0]["name"], &done[0]["names"]),
            (&json!(bad), &json!([]))
        );
    }
    assert_eq!(cairn.json(&["images"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_import_that_takes_a_name_away_says_so() {
    let cairn = Cairn::new();
    let old = import(&cairn, "app:1", "old");
    let file = cairn.path("in.tar");
    std::fs::write(
        &file,
        docker_archive("docker.io/library/app:1", &[layer("new")], |_| ()),
    )
    .unwrap();
    let output = cairn.output(&["import", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("app:1") && said.contains(&old[7..19]),
        "{said}"
    );
    // Again: nothing is taken any more.
    let done = cairn.json(&["import", file.to_str().unwrap()]);
    assert_eq!(done[0]["names_taken"], json!([]));
    std::fs::write(&file, docker_archive("app:1", &[layer("third")], |_| ())).unwrap();
    let taken = cairn.json(&["import", file.to_str().unwrap()])[0]["names_taken"].clone();
    assert_eq!(taken, json!([{"name": "app:1", "from": done[0]["id"]}]));
}

/// docker/cli#5318
#[test]
fn an_export_has_what_was_named_once() {
    let cairn = Cairn::new();
    let one = import(&cairn, "one:1", "one");
    let two = import(&cairn, "two:1", "two");
    cairn.ok(&["tag", "one:1", "one:2"]);
    let out = cairn.path("out.tar");
    let tags = |references: &[&str]| {
        let mut args = vec!["export", "-o", out.to_str().unwrap()];
        args.extend(references);
        cairn.ok(&args);
        let list = manifest(&out);
        let list = list.as_array().unwrap().iter();
        list.map(|image| image["RepoTags"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(tags(&["one:1"]), [json!(["one:1"])]);
    assert_eq!(
        tags(&["one:1", "docker.io/library/one:1"]),
        [json!(["one:1"])]
    );
    assert_eq!(
        tags(&["one:2", "two:1", "one:1"]),
        [json!(["one:2", "one:1"]), json!(["two:1"])]
    );
    assert_eq!(tags(&[&one]), [Value::Null]);
    assert_eq!(
        tags(&[&one[7..], "one:1", &two]),
        [json!(["one:1"]), Value::Null]
    );
    let layout = cairn.path("layout");
    cairn.ok(&[
        "export",
        "one:2",
        "--format",
        "oci",
        "-o",
        layout.to_str().unwrap(),
    ]);
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/library/one:2"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "2");
}

#[test]
fn images_are_counted_and_not_their_tags() {
    let cairn = Cairn::new();
    import(&cairn, "one:1", "one");
    cairn.ok(&["tag", "one:1", "one:2"]);
    for (format, out) in [
        ("oci", "layout"),
        ("oci-archive", "layout.tar"),
        ("docker", "docker.tar"),
    ] {
        let out = cairn.path(out);
        let out = out.to_str().unwrap();
        cairn.ok(&["export", "one:1", "one:2", "--format", format, "-o", out]);
        let fresh = Cairn::new();
        assert_eq!(fresh.json(&["import", out]).as_array().unwrap().len(), 1);
        assert_eq!(fresh.image_names(), ["one:1", "one:2"], "{format}");
        fresh.ok(&["import", out, "--name", "other"]);
        assert_eq!(fresh.image_names(), ["one:1", "one:2", "other:latest"]);
    }
}

#[test]
fn rmi_goes_on_after_a_name_that_does_not_exist() {
    let cairn = Cairn::new();
    let a = import(&cairn, "a:1", "a");
    import(&cairn, "b:1", "b");
    import(&cairn, "c:1", "c");
    cairn.fails(
        &["rmi", "nosuch", "b:1", "Up/x"],
        1,
        "image nosuch does not exist",
    );
    assert_eq!(cairn.image_names(), ["a:1", "c:1"]);
    cairn.ok(&["tag", "c:1", "c:2"]);
    let output = cairn.output(&["--json", "rmi", "a:1", "nosuch", "c:2"]);
    assert_eq!(output.status.code(), Some(1));
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        done[0],
        json!({"image": "a:1", "untagged": null, "removed": a, "error": null})
    );
    assert!(done[1]["error"].as_str().unwrap().contains("nosuch"));
    assert_eq!(done[2]["untagged"], "c:2");
    assert_eq!(cairn.image_names(), ["c:1"]);
}

#[test]
fn a_word_that_is_a_name_and_the_start_of_an_id_is_not_guessed() {
    let cairn = Cairn::new();
    // A content whose image id starts with four hex digits that can be a name.
    let id = import(&cairn, "some:1", "content");
    let word = &id[7..11];
    assert_eq!(content(&cairn, word), b"content");
    let other = import(&cairn, word, "other");
    if other[7..11] != *word {
        cairn.fails(&["rmi", word], 1, "is ambiguous");
        assert_eq!(content(&cairn, &format!("{word}:latest")), b"other");
        assert_eq!(content(&cairn, &id[7..19]), b"content");
    }
}

/// Flips a bit in the one blob of this length (docs/format.md, "Pack").
fn damage_blob(cairn: &Cairn, length: usize) {
    let packs = std::fs::read_dir(cairn.root().join("packs")).unwrap();
    let mut hits = 0;
    for path in packs.map(|pack| pack.unwrap().path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        let end = bytes.len() - 64;
        let directory = number(&bytes[end + 16..end + 20]);
        for at in (directory..end).step_by(44) {
            if number(&bytes[at + 40..at + 44]) & 0xff_ffff == length {
                let offset = number(&bytes[at + 32..at + 36]);
                bytes[offset + 20] ^= 1;
                hits += 1;
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(hits, 1);
}

/// A document that lost its bytes is told of; it does not hide the others.
#[test]
fn one_damaged_document_does_not_hide_the_other_images() {
    let cairn = Cairn::new();
    let mut length = 0;
    let file = cairn.path("in.tar");
    let archive = docker_archive("bad:1", &[layer("bad")], |c| length = c.to_string().len());
    std::fs::write(&file, archive).unwrap();
    let bad = id(&cairn.json(&["import", file.to_str().unwrap()])[0]);
    damage_blob(&cairn, length);
    import(&cairn, "good:1", "good");
    let images = cairn.json(&["images"]);
    let of = |name: &str| {
        let mut images = images.as_array().unwrap().iter();
        images
            .find(|i| i["names"] == json!([name]))
            .unwrap()
            .clone()
    };
    assert_eq!(of("bad:1")["id"], json!(bad));
    assert!(of("bad:1")["damaged"].is_string() && of("bad:1")["layers"].is_null());
    assert_eq!(of("good:1")["layers"], 1);
    assert!(of("good:1").get("damaged").is_none());
    let output = cairn.output(&["images"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("is damaged"),
        "{said}"
    );
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table
            .lines()
            .any(|l| l.starts_with("bad ") && l.ends_with("damaged")),
        "{table}"
    );
    let output = cairn.output(&["stats"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("is damaged"),
        "{said}"
    );
    cairn.fails(&["inspect", "bad:1"], 3, "");
    cairn.ok(&["rmi", "bad:1"]);
    assert_eq!(cairn.image_names(), ["good:1"]);
}

/// What a container changed is not lost with its image's document.
#[test]
fn a_container_of_an_image_with_a_damaged_document_can_be_committed() {
    if !common::is_root() {
        skip!("containers need root here");
    }
    let cairn = Cairn::new();
    let mut length = 0;
    let file = cairn.path("in.tar");
    let archive = docker_archive("bad:1", &[layer("bad")], |c| length = c.to_string().len());
    std::fs::write(&file, archive).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    let program = ["run", "--name", "work", "-e", "A=1", "bad:1", "/nosuch"];
    assert_eq!(cairn.output(&program).status.code(), Some(127));
    damage_blob(&cairn, length);
    let output = cairn.output(&["commit", "work", "good:1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("no history"),
        "{said}"
    );
    let made = cairn.json(&["inspect", "good:1", "--show-env"]);
    assert!(
        made["config"]["config"]["Env"]
            .as_array()
            .unwrap()
            .contains(&json!("A=1"))
    );
    cairn.ok(&["export", "good:1", "-o", file.to_str().unwrap()]);
    let other = Cairn::new();
    other.ok(&["import", file.to_str().unwrap()]);
    assert_eq!(other.image_names(), ["good:1"]);
}

#[test]
fn a_snapshot_called_like_an_images_layer_stands_below_no_image() {
    let cairn = Cairn::new();
    let layer = common::Tar::new().file("f", b"of the image").done();
    let archive = common::docker_archive("img", std::slice::from_ref(&layer), |_| ());
    std::fs::write(cairn.path("img.tar"), archive).unwrap();
    // The chain id of one layer is its diff id.
    let name = common::sha256(&layer);
    cairn.ok(&["init"]);
    cairn.ok(&["snapshot", "prepare", "mine"]);
    cairn.ok(&["snapshot", "commit", &name, "mine"]);
    let import = ["import", cairn.path("img.tar").to_str().unwrap()].map(str::to_owned);
    let import: Vec<&str> = import.iter().map(String::as_str).collect();
    cairn.fails(&import, 1, "cairn snapshot rm sha256:");
    assert!(cairn.image_names().is_empty());
    cairn.ok(&["snapshot", "rm", &name]);
    cairn.ok(&import);
}
