//! What refers to an image comes along on request, and goes on where the manifest stays the same.

mod common;
#[path = "common/keys.rs"]
mod keys;
#[path = "common/registry.rs"]
mod registry;

use common::{Cairn, noise, sha256};
use keys::key_pair;
use registry::{Act, Proxy, Registry};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SBOM: &[u8] = br#"{"spdxVersion":"SPDX-2.3"}"#;

/// Pushes the image `app:1` with one layer as `app:1` of the registry; the digest of its manifest.
fn pushed(registry: &Registry) -> String {
    let cairn = Cairn::new();
    let layer = common::Tar::new().file("file", &noise(1, 10_000)).done();
    cairn.import_layers("app:1", &[layer]);
    let to = format!("{}/app:1", registry.host());
    let pushed = cairn.json(&["push", "app:1", &to]);
    pushed["digest"].as_str().unwrap().to_owned()
}

/// The manifest of something with one blob.
fn artifact(registry: &Registry, kind: &str, content: &[u8], subject: Option<&str>) -> Value {
    let blob = registry.put_blob("app", content);
    let config = registry.put_blob("app", b"{}");
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": kind, "digest": blob, "size": content.len()}],
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    }
    manifest
}

fn descriptor(kind: &str, manifest: &Value) -> Value {
    let text = manifest.to_string();
    let digest = sha256(text.as_bytes());
    json!({"mediaType": kind, "digest": digest, "size": text.len()})
}

/// The image with a description of it by tag, a signature in the list of referrers, and a signature of that one.
fn with_referrers(registry: &Registry) -> String {
    let digest = pushed(registry);
    let tag = digest.replace(':', "-");
    let sbom = artifact(registry, "text/spdx+json", SBOM, None);
    registry.put_manifest("app", Some(&format!("{tag}.sbom")), &sbom);
    let first = artifact(
        registry,
        "application/x.signature",
        b"signed",
        Some(&digest),
    );
    let of_image = registry.put_manifest("app", None, &first);
    let second = artifact(
        registry,
        "application/x.countersignature",
        b"and again",
        Some(&of_image),
    );
    registry.put_manifest("app", None, &second);
    for (subject, manifest) in [(tag, &first), (of_image.replace(':', "-"), &second)] {
        let mut listed = descriptor(MANIFEST, manifest);
        listed["artifactType"] = manifest["artifactType"].clone();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]});
        registry.put_manifest("app", Some(&subject), &index);
    }
    digest
}

fn kinds(inspected: &Value) -> Vec<&str> {
    let all = inspected["referrers"].as_array().unwrap().iter();
    let mut kinds: Vec<&str> = all
        .map(|of| of["artifact_type"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn what_refers_to_an_image_comes_goes_on_and_goes_with_it() {
    let registry = registry!();
    let digest = with_referrers(&registry);
    let cairn = Cairn::new();
    let from = format!("{}/app:1", registry.host());
    assert_eq!(cairn.json(&["pull", &from])[0]["referrers"], Value::Null);
    let pulled = cairn.json(&["pull", "--referrers", &from]);
    assert_eq!(pulled[0]["referrers"], 3, "{pulled}");
    let inspected = cairn.json(&["inspect", &from]);
    let expected = [
        "application/x.countersignature",
        "application/x.signature",
        "text/spdx+json",
    ];
    assert_eq!(kinds(&inspected), expected);
    let sbom = sha256(SBOM);
    assert_eq!(
        cairn
            .ok(&["inspect", &from, "--document", &sbom])
            .as_bytes(),
        SBOM
    );
    let other = sha256(b"other");
    let refused = ["inspect", &from, "--document", &other];
    cairn.fails(&refused, 1, "is no document that is kept beside image");

    // In another repository of the registry.
    let to = format!("{}/copy:1", registry.host());
    let pushed = cairn.json(&["push", &from, &to]);
    assert_eq!(pushed["digest"], digest.as_str());
    assert_eq!(
        pushed["referrers"],
        json!({"carried": 3, "left": 0, "why": null})
    );
    let again = Cairn::new();
    again.ok(&["pull", "--referrers", &to]);
    assert_eq!(kinds(&again.json(&["inspect", &to])), expected);

    // In a registry that has nothing of it: Cairn compressed the layer, and compresses it to the same again.
    let elsewhere = registry!();
    let to = format!("{}/far:1", elsewhere.host());
    let pushed = cairn.json(&["push", &from, &to]);
    assert_eq!(pushed["digest"], digest.as_str());
    assert_eq!(pushed["referrers"]["carried"], 3);
    let far = Cairn::new();
    far.ok(&["pull", "--referrers", &to]);
    assert_eq!(kinds(&far.json(&["inspect", &to])), expected);
    let packed = cairn.json(&["push", &from, &to, "--compression", "zstd"]);
    assert_ne!(packed["digest"], digest.as_str());
    assert_eq!(packed["referrers"]["left"], 3);
    let why = packed["referrers"]["why"].as_str().unwrap();
    assert!(why.contains("compressed anew"), "{why}");

    // In a layout, which is an ordinary one.
    let layout = cairn.path("layout");
    let layout = layout.to_str().unwrap();
    cairn.ok(&["export", &from, "--format", "oci", "-o", layout]);
    let index = std::fs::read(format!("{layout}/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let listed: Vec<&Value> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 4);
    assert_eq!(listed[0]["digest"], digest.as_str());
    let found = std::fs::read(format!("{layout}/blobs/{}", sha256(SBOM).replace(':', "/")));
    assert_eq!(found.unwrap(), SBOM);
    let third = Cairn::new();
    third.ok(&["import", layout]);
    assert_eq!(third.image_names().len(), 1);
    let zstd = cairn.path("zstd.tar");
    let output = cairn
        .command(&[
            "export",
            &from,
            "--format",
            "oci-archive",
            "--compression",
            "zstd",
            "-o",
        ])
        .arg(&zstd)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && err.contains("compressed anew"),
        "{err}"
    );

    // It is no part of the packs, and goes with the image.
    assert!(cairn.json(&["check"])["sound"].as_bool().unwrap());
    let copy = cairn.path("copy");
    cairn.ok(&["backup", copy.to_str().unwrap()]);
    let kept = |root: &std::path::Path| std::fs::read_dir(root.join("referrers")).unwrap().count();
    assert_eq!((kept(&cairn.root()), kept(&copy)), (1, 1));
    cairn.ok(&["rmi", &from]);
    assert_eq!(kept(&cairn.root()), 0);
    cairn.ok(&["backup", copy.to_str().unwrap()]);
    assert_eq!(kept(&copy), 0);
}

#[test]
fn what_is_damaged_is_named_and_pulled_again_and_the_image_is_as_good_as_ever() {
    let registry = registry!();
    with_referrers(&registry);
    let cairn = Cairn::new();
    let from = format!("{}/app:1", registry.host());
    cairn.ok(&["pull", "--referrers", &from]);
    let directory = std::fs::read_dir(cairn.root().join("referrers"))
        .unwrap()
        .next();
    let directory = directory.unwrap().unwrap().path();
    for name in [sha256(SBOM).replace("sha256:", ""), "list.json".to_owned()] {
        std::fs::write(directory.join(&name), b"something else").unwrap();
        let checked = cairn.output(&["--json", "check"]);
        assert_eq!(checked.status.code(), Some(3));
        let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert!(
            report["faults"].to_string().contains("pull --referrers"),
            "{report}"
        );
        let to = format!("{}/copy:1", registry.host());
        let pushed = cairn.output(&["push", &from, &to]);
        let err = String::from_utf8_lossy(&pushed.stderr);
        assert!(
            pushed.status.success() && err.contains("pull --referrers"),
            "{err}"
        );
        cairn.ok(&["inspect", &from]);
        cairn.ok(&[
            "export",
            &from,
            "-o",
            cairn.path("app.tar").to_str().unwrap(),
        ]);
        cairn.ok(&["pull", "--referrers", &from]);
        assert!(cairn.json(&["check"])["sound"].as_bool().unwrap());
    }
    std::fs::remove_file(directory.join("list.json")).unwrap();
    std::fs::write(directory.join("list.json"), b"{}").unwrap();
    let repaired = cairn.ok(&["check", "--repair"]);
    assert!(repaired.contains("dropped"), "{repaired}");
    assert!(!directory.exists());
    cairn.ok(&["pull", "--referrers", &from]);
    // Nobody needs what belongs to no image, or was never finished.
    let stray = cairn.root().join("referrers").join("ab".repeat(32));
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("file"), [0; 100]).unwrap();
    let unfinished = |name: &str, days: u64| {
        let place = cairn.root().join("referrers").join(name);
        std::fs::create_dir(&place).unwrap();
        let when = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        std::fs::File::open(&place)
            .unwrap()
            .set_modified(when)
            .unwrap();
        place
    };
    let (old, new) = (unfinished(".new-old", 2), unfinished(".new-new", 0));
    assert_eq!(cairn.json(&["gc", "--dry-run"])["referrer_bytes"], 100);
    assert_eq!(cairn.json(&["gc"])["referrer_bytes"], 100);
    assert!(!stray.exists() && !old.exists() && new.exists() && directory.exists());
}

#[test]
fn an_index_whose_attestations_are_here_goes_along() {
    let registry = registry!();
    let digest = pushed(&registry);
    let statement = artifact(&registry, "application/vnd.in-toto+json", b"built so", None);
    registry.put_manifest("app", None, &statement);
    let (status, bytes) = registry.send("GET", &format!("/v2/app/manifests/{digest}"));
    assert_eq!(status, 200);
    let platform = Cairn::new();
    let from = format!("{}/app:1", registry.host());
    platform.ok(&["pull", &from]);
    let (os, architecture) = {
        let inspected = platform.json(&["inspect", &from]);
        let platform = inspected["platform"].as_str().unwrap().to_owned();
        let (os, architecture) = platform.split_once('/').unwrap();
        (os.to_owned(), architecture.to_owned())
    };
    let mut attestation = descriptor(MANIFEST, &statement);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": digest,
    });
    let image = json!({
        "mediaType": MANIFEST, "digest": digest, "size": bytes.len(),
        "platform": {"os": os, "architecture": architecture},
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image, &attestation]});
    let top = registry.put_manifest("app", Some("built"), &index);
    let statement_digest = attestation["digest"].as_str().unwrap();
    let cairn = Cairn::new();
    let from = format!("{}/app:built", registry.host());
    cairn.ok(&["pull", "--referrers", &from]);
    let inspected = cairn.json(&["inspect", &from]);
    assert_eq!(
        kinds(&inspected),
        ["application/vnd.docker.attestation.manifest.v1+json"]
    );
    let to = format!("{}/copy:built", registry.host());
    let pushed = cairn.json(&["push", &from, &to]);
    assert_eq!(pushed["digest"], top.as_str());
    let (status, found) = registry.send("GET", "/v2/copy/manifests/built");
    assert_eq!((status, found), (200, index.to_string().into_bytes()));
    let archive = cairn.path("app.tar");
    let archive = archive.to_str().unwrap();
    cairn.ok(&["export", &from, "--format", "oci-archive", "-o", archive]);
    let mut members = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let names = members.entries().unwrap().map(|entry| {
        let path = entry.unwrap().path().unwrap().into_owned();
        path.to_str().unwrap().to_owned()
    });
    let names: Vec<String> = names.collect();
    for digest in [&top, statement_digest] {
        let name = format!("blobs/{}", digest.replace(':', "/"));
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let again = Cairn::new();
    again.ok(&["import", archive]);
    assert_eq!(again.image_names().len(), 1);
    // What the tag leads to is signed, and found by who verifies.
    let (key, public) = key_pair(&cairn, "own");
    let signed = format!("{}/signed:1", registry.host());
    cairn.ok(&["push", &from, &signed, "--sign-by", &key]);
    cairn.ok(&["verify", &signed, "--key", &public]);
    cairn.ok(&["push", &from, &signed]);
    cairn.ok(&["verify", &signed, "--key", &public]);
}

/// A registry that says anything: what it lists is passed over where it is not what it should be, and a pull goes on.
#[test]
fn what_is_listed_wrongly_is_passed_over() {
    let registry = registry!();
    let digest = pushed(&registry);
    let other = format!("sha256:{}", "0".repeat(64));
    let good = artifact(&registry, "application/x.good", b"good", Some(&digest));
    let mut long = artifact(&registry, "application/x.long", b"long", Some(&digest));
    long["artifactType"] = json!("x".repeat(300));
    let wrong = [
        artifact(&registry, "application/x.other", b"other", Some(&other)),
        artifact(&registry, "application/x.none", b"none", None),
        long,
    ];
    let mut listed = vec![
        json!({"mediaType": MANIFEST, "digest": other, "size": 7, "artifactType": "application/x.gone"}),
    ];
    for manifest in wrong.iter().chain([&good]) {
        registry.put_manifest("app", None, manifest);
        let mut of = descriptor(MANIFEST, manifest);
        of["artifactType"] = manifest["artifactType"].clone();
        listed.push(of);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).to_string();
    let path = format!("/v2/app/referrers/{digest}");
    let proxy = Proxy::start(Some(&registry), move |asked| match asked.path == path {
        true => Act::status("200 OK", &format!("Content-Type: {INDEX}\r\n"), &index),
        false => Act::Pass,
    });
    let cairn = Cairn::new();
    let from = format!("{}/app:1", proxy.host());
    let output = cairn.output(&["--json", "pull", "--referrers", &from]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    for words in ["does not say that it refers", "no name of a type", &other] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert_eq!(
        kinds(&cairn.json(&["inspect", &from])),
        ["application/x.good"]
    );
    assert!(cairn.json(&["check"])["sound"].as_bool().unwrap());
}
