//! Blobs shared through a registry: the next version of an image costs what changed in it, and whatever is wrong with
//! the artifact costs no more than the whole layers.

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{Cairn, noise, sha256};
use registry::{Act, Asked, Proxy, Registry};
use serde_json::{Value, json};

const FILES: u64 = 60;
const FILE_BYTES: usize = 100_000;

/// The tar of an image's one layer: in each version another two of its files are new.
fn layer(version: u64) -> Vec<u8> {
    let tar = common::versioned("usr/lib/file", FILES, version);
    tar.file("version", version.to_string().as_bytes()).done()
}

/// Gives a repository the image `app:VERSION`.
fn import(cairn: &Cairn, version: u64) {
    cairn.import_layers(&format!("app:{version}"), &[layer(version)]);
}

/// A registry's repository with the versions up to this one, and who pushed them.
fn pushed(registry: &Registry, repository: &str, versions: u64) -> Cairn {
    let cairn = Cairn::new();
    for version in 1..=versions {
        import(&cairn, version);
        push(&cairn, &registry.host(), repository, version);
    }
    cairn
}

fn push(cairn: &Cairn, host: &str, repository: &str, version: u64) -> Value {
    let (name, to) = (
        format!("app:{version}"),
        format!("{host}/{repository}:{version}"),
    );
    cairn.json(&["push", "--chunks", &name, &to])
}

fn id(cairn: &Cairn, name: &str) -> Value {
    cairn.json(&["inspect", name])["id"].clone()
}

fn whole(cairn: &Cairn) {
    cairn.ok(&["check"]);
}

#[test]
fn the_next_version_of_an_image_costs_what_changed_in_it() {
    let registry = registry!("skopeo");
    let source = pushed(&registry, "app", 1);
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let host = proxy.host();
    let cairn = Cairn::new();
    let first = cairn.json(&["pull", &format!("{host}/app:1")]);
    assert_eq!(first[0]["chunks"], Value::Null, "nothing is there to share");
    import(&source, 2);
    proxy.forget();
    let sent = push(&source, &host, "app", 2);
    assert_eq!(sent["chunks"]["layers"], 1);
    assert!(
        sent["chunks"]["bytes_sent"].as_u64().unwrap() < 400_000,
        "{sent}"
    );
    proxy.forget();
    let second = cairn.json(&["pull", &format!("{host}/app:2")]);
    let whole_bytes = FILES * FILE_BYTES as u64;
    eprintln!(
        "version 2: {} bytes over the wire, its layer has {whole_bytes}",
        proxy.sent()
    );
    assert!(proxy.sent() < whole_bytes / 4, "{}", proxy.sent());
    assert_eq!(second[0]["chunks"]["layers"], 1);
    let name = format!("{host}/app:2");
    assert_eq!(id(&cairn, &name), id(&source, "app:2"));
    whole(&cairn);
    // What came as blobs goes out as the very same layer.
    let (one, two) = (cairn.path("one"), source.path("two"));
    cairn.ok(&[
        "export",
        &name,
        "--format",
        "tar",
        "-o",
        one.to_str().unwrap(),
    ]);
    source.ok(&[
        "export",
        "app:2",
        "--format",
        "tar",
        "-o",
        two.to_str().unwrap(),
    ]);
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    // For others it is an ordinary image.
    let inspected = std::process::Command::new("skopeo")
        .args(["inspect", "--tls-verify=false"])
        .arg(format!("docker://{}/app:2", registry.host()))
        .output()
        .unwrap();
    assert!(inspected.status.success());
}

#[test]
fn a_push_uses_packs_of_earlier_versions_and_the_setting_makes_it_the_default() {
    let registry = registry!("skopeo");
    let source = pushed(&registry, "app", 3);
    // Somebody else, who has nothing of the earlier pushes but what the registry has.
    let other = Cairn::new();
    import(&other, 4);
    let host = registry.host();
    other.ok(&["config", "set", "push.chunks", "yes"]);
    let to = format!("{host}/app:4");
    let sent = other.json(&["push", "app:4", &to]);
    let chunks = &sent["chunks"];
    let (all, present) = (chunks["blobs"].as_u64(), chunks["blobs_present"].as_u64());
    assert!(present.unwrap() + 12 > all.unwrap(), "{sent}");
    let again = other.json(&["push", "app:4", &to]);
    assert_eq!(again["chunks"]["digest"], chunks["digest"]);
    assert_eq!(again["chunks"]["bytes_sent"], 0);
    let without = other.json(&["push", "--no-chunks", "app:4", &to]);
    assert_eq!(without["chunks"], Value::Null);
    let consumer = Cairn::new();
    consumer.ok(&["pull", &format!("{host}/app:1")]);
    let pulled = consumer.json(&["pull", &to]);
    assert_eq!(pulled[0]["chunks"]["layers"], 1);
    assert_eq!(id(&consumer, &to), id(&other, "app:4"));
    drop(source);
}

/// Whatever is wrong with the chunks: the image comes.
fn comes_whole(registry: &Registry, plan: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
    let proxy = Proxy::start(Some(registry), plan);
    let cairn = Cairn::new();
    cairn.ok(&["pull", &format!("{}/app:1", registry.host())]);
    cairn.ok(&["config", "set", "registry.retries", "1"]);
    let name = format!("{}/app:2", proxy.host());
    let pulled = cairn.json(&["pull", &name]);
    assert_eq!(pulled[0]["layers_present"], 0, "{pulled}");
    let rebuilt = &pulled[0]["chunks"]["layers"];
    assert!(rebuilt.is_null() || *rebuilt == 0, "{pulled}");
    whole(&cairn);
}

fn is_part(asked: &Asked) -> bool {
    asked.is_blob()
        && asked
            .header("range")
            .is_some_and(|range| !range.ends_with('-'))
}

fn is_list(asked: &Asked) -> bool {
    asked.path.contains("/manifests/sha256-")
}

#[test]
fn parts_of_packs_that_are_wrong_are_not_believed() {
    let registry = registry!("skopeo");
    pushed(&registry, "app", 2);
    let acts: [fn() -> Act; 7] = [
        || {
            Act::Change(Box::new(|header, mut body| {
                let at = body.len() / 2;
                body[at] ^= 1;
                (header, body)
            }))
        },
        || Act::status("404 Not Found", "", ""),
        || Act::status("416 Requested Range Not Satisfiable", "", ""),
        || Act::status("200 OK", "", "all of it"),
        || {
            Act::status(
                "206 Partial Content",
                "Content-Range: bytes 0-8/9\r\n",
                "all of it",
            )
        },
        || Act::CutBody(1000),
        || Act::Endless(b"HTTP/1.1 206 Partial Content\r\n\r\n".to_vec()),
    ];
    for act in acts {
        // The table, or what comes after it.
        for from in [0, 1] {
            let parts = AtomicUsize::new(0);
            comes_whole(&registry, move |asked| {
                match is_part(asked) && parts.fetch_add(1, Ordering::SeqCst) >= from {
                    true => act(),
                    false => Act::Pass,
                }
            });
        }
    }
}

#[test]
fn lists_and_artifacts_that_are_wrong_are_passed_over() {
    let registry = registry!("skopeo");
    pushed(&registry, "app", 2);
    let acts: [fn() -> Act; 6] = [
        || Act::status("404 Not Found", "", ""),
        || Act::status("200 OK", "", "{"),
        || Act::status("200 OK", "", r#"{"manifests":[{"digest":"x"}]}"#),
        || Act::status("500 Internal Server Error", "", ""),
        || Act::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        || {
            let digest = "0".repeat(64);
            let list = json!({"manifests": [{"digest": format!("sha256:{digest}"), "artifactType": "application/vnd.cairn.chunks.v1"}]});
            Act::status("200 OK", "", &list.to_string())
        },
    ];
    for act in acts {
        comes_whole(&registry, move |asked| match is_list(asked) {
            true => act(),
            false => Act::Pass,
        });
    }
}

/// The artifact of version 2 of `app`: its manifest, and its one table.
fn artifact(registry: &Registry) -> (Value, Vec<u8>) {
    let get = |path: String| {
        let (status, body) = registry.send("GET", &path);
        assert_eq!(status, 200, "{path}");
        body
    };
    let image = get("/v2/app/manifests/2".to_owned());
    let hex = sha256(&image).replace("sha256:", "");
    let list: Value =
        serde_json::from_slice(&get(format!("/v2/app/manifests/sha256-{hex}"))).unwrap();
    let digest = list["manifests"][0]["digest"].as_str().unwrap();
    let manifest: Value =
        serde_json::from_slice(&get(format!("/v2/app/manifests/{digest}"))).unwrap();
    let table = manifest["layers"][0]["digest"].as_str().unwrap();
    let table = get(format!("/v2/app/blobs/{table}"));
    (manifest, table)
}

#[test]
fn an_artifact_that_somebody_else_made_is_not_believed() {
    let registry = registry!("skopeo");
    let host = registry.host();
    let source = pushed(&registry, "app", 2);
    let (manifest, table) = artifact(&registry);
    assert_eq!(&table[..8], b"CAIRNTBL");
    let changed = |at: usize, with: &[u8]| {
        let mut table = table.clone();
        table[at..at + with.len()].copy_from_slice(with);
        table
    };
    // The layer's id, which is the hash of its manifest; a length without end; a manifest that is elsewhere.
    let tables = [
        changed(12 + 32, &[7; 32]),
        changed(12 + 64, &[253, 255, 255, 255, 255, 255, 255, 255, 255]),
        changed(12, &[9; 32]),
        table[..table.len() - 1].to_vec(),
        [&table[..], b"more"].concat(),
        b"CAIRNTBL".to_vec(),
        Vec::new(),
    ];
    for hostile in tables {
        let mut manifest = manifest.clone();
        manifest["layers"][0]["digest"] = json!(sha256(&hostile));
        manifest["layers"][0]["size"] = json!(hostile.len());
        let bytes = manifest.to_string();
        let list = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": sha256(bytes.as_bytes()), "size": bytes.len(),
            "artifactType": "application/vnd.cairn.chunks.v1",
        }]})
        .to_string();
        let (digest, blob) = (sha256(bytes.as_bytes()), sha256(&hostile));
        comes_whole(&registry, move |asked| {
            let body = |bytes: &[u8]| {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    bytes.len()
                );
                Act::Say([head.as_bytes(), bytes].concat())
            };
            match asked.path.rsplit('/').next().unwrap_or_default() {
                name if name.starts_with("sha256-") => body(list.as_bytes()),
                name if name == digest => body(bytes.as_bytes()),
                name if name == blob => body(&hostile),
                _ => Act::Pass,
            }
        });
    }
    drop((source, host));
}

#[test]
fn a_pull_of_chunks_goes_on_where_the_last_stopped() {
    let registry = registry!("skopeo");
    let source = Cairn::new();
    let archive = |seed: u64| {
        let mut tar = common::Tar::new().file("kept", &noise(1, 12_000_000));
        for file in 0..12 {
            tar = tar.file(&format!("new{file}"), &noise(seed + file, 1_000_000));
        }
        common::docker_archive("app:1", &[tar.done()], |_| {})
    };
    let path = source.path("docker.tar");
    for (seed, tag) in [(100, 1), (200, 2)] {
        std::fs::write(&path, archive(seed)).unwrap();
        source.ok(&[
            "import",
            path.to_str().unwrap(),
            "--name",
            &format!("app:{tag}"),
        ]);
        push(&source, &registry.host(), "app", tag);
    }
    let cut = Arc::new(AtomicBool::new(true));
    let (parts, cutting) = (Arc::new(AtomicUsize::new(0)), cut.clone());
    let proxy = Proxy::start(Some(&registry), move |asked| {
        let is_cut = cutting.load(Ordering::SeqCst);
        match is_part(asked) {
            true if is_cut && parts.fetch_add(1, Ordering::SeqCst) >= 3 => {
                Act::status("503 Service Unavailable", "", "")
            }
            // Nor does the whole layer come.
            false if is_cut && asked.is_blob() && asked.header("range").is_none() => {
                Act::CutBody(20_000)
            }
            _ => Act::Pass,
        }
    });
    let cairn = Cairn::new();
    cairn.ok(&["pull", &format!("{}/app:1", registry.host())]);
    cairn.ok(&["config", "set", "registry.retries", "0"]);
    let name = format!("{}/app:2", proxy.host());
    cairn.fails(&["pull", &name], 1, "");
    assert_eq!(cairn.image_names().len(), 1);
    cut.store(false, Ordering::SeqCst);
    proxy.forget();
    let pulled = cairn.json(&["pull", &name]);
    assert_eq!(pulled[0]["chunks"]["layers"], 1);
    let bytes = pulled[0]["chunks"]["bytes"].as_u64().unwrap();
    assert!(
        (1_000_000..10_000_000).contains(&bytes),
        "{bytes} of twelve million"
    );
    assert_eq!(id(&cairn, &name), id(&source, "app:2"));
    whole(&cairn);
}

#[test]
fn what_no_artifact_names_is_freed_by_the_registry() {
    let registry = registry!("skopeo");
    let source = Cairn::new();
    for version in [1, 29] {
        import(&source, version);
        push(&source, &registry.host(), "app", version);
    }
    let before = registry.collect();
    let (_, image) = registry.send("GET", "/v2/app/manifests/1");
    let digest = sha256(&image);
    let tag = digest.replace(':', "-");
    let (_, list) = registry.send("GET", &format!("/v2/app/manifests/{tag}"));
    let artifacts: Value = serde_json::from_slice(&list).unwrap();
    let artifact = artifacts["manifests"][0]["digest"].as_str().unwrap();
    for digest in [&digest, &sha256(&list), artifact] {
        let (status, _) = registry.send("DELETE", &format!("/v2/app/manifests/{digest}"));
        assert_eq!(status, 202);
    }
    let after = registry.collect();
    // Version 29 has so little of version 1 that it does without its pack: that goes, as the layer does.
    assert!(
        before - after > FILE_BYTES as u64 * FILES * 9 / 5,
        "{before} {after}"
    );
    let consumer = Cairn::new();
    import(&consumer, 28);
    let pulled = consumer.json(&["pull", &format!("{}/app:29", registry.host())]);
    assert_eq!(pulled[0]["chunks"]["layers"], 1);
    whole(&consumer);
}
