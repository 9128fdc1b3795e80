//! Signatures of images and policies: cosign's form, checked by OpenSSL, and no yes to what is not understood.

mod common;
#[path = "common/keys.rs"]
mod keys;
#[path = "common/registry.rs"]
mod registry;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Cairn, has, noise, sha256};
use keys::{key_pair, openssl};
use registry::{Act, Asked, Proxy, Registry};
use serde_json::{Value, json};

macro_rules! registry {
    () => {
        match Registry::start() {
            Some(registry) if has("skopeo") && openssl(&["version"]) => registry,
            _ => skip!("docker-registry, skopeo or openssl is not installed"),
        }
    };
}

/// A repository with the image `app:1`, pushed to a registry as `REPOSITORY:1`; the digest of its manifest.
fn pushed(registry: &Registry, repository: &str, options: &[&str]) -> (Cairn, String) {
    let cairn = Cairn::new();
    let layer = common::Tar::new().file("file", &noise(1, 10_000)).done();
    cairn.import_layers("app:1", &[layer]);
    let to = format!("{}/{repository}:1", registry.host());
    let pushed = cairn.json(&[&["push", "app:1", &to], options].concat());
    let digest = pushed["digest"].as_str().unwrap().to_owned();
    (cairn, digest)
}

fn get(registry: &Registry, path: &str) -> Vec<u8> {
    let (status, body) = registry.send("GET", path);
    assert_eq!(status, 200, "{path}");
    body
}

/// The one signature of a manifest, with what is signed.
fn signature(registry: &Registry, repository: &str, digest: &str) -> (Vec<u8>, Vec<u8>) {
    let tag = digest.replace(':', "-");
    let manifest = get(registry, &format!("/v2/{repository}/manifests/{tag}.sig"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let layer = layers.last().unwrap();
    let text = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str();
    let blob = layer["digest"].as_str().unwrap();
    let document = get(registry, &format!("/v2/{repository}/blobs/{blob}"));
    (document, STANDARD.decode(text.unwrap()).unwrap())
}

/// Where a pull finds a policy.
fn policy(cairn: &Cairn, policy: &Value) -> PathBuf {
    let home = cairn.path("config");
    std::fs::create_dir_all(home.join("containers")).unwrap();
    std::fs::write(home.join("containers/policy.json"), policy.to_string()).unwrap();
    home
}

fn pull(cairn: &Cairn, home: &Path, reference: &str) -> (bool, String) {
    let mut command = cairn.command(&["pull", reference]);
    let output = command.env("XDG_CONFIG_HOME", home).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), err)
}

#[test]
fn what_cairn_signs_openssl_verifies_and_the_document_is_that_of_cosign() {
    let registry = registry!();
    let (cairn, digest) = pushed(&registry, "app", &[]);
    let (key, public) = key_pair(&cairn, "own");
    let reference = format!("{}/app:1", registry.host());
    cairn.fails(
        &["verify", &reference, "--key", &public],
        1,
        "it has no signature",
    );
    cairn.ok(&["sign", &reference, "--key", &key]);
    let (document, bytes) = signature(&registry, "app", &digest);
    let critical: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(
        critical["critical"],
        json!({
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        })
    );
    let (signed, text) = (cairn.path("signature"), cairn.path("document"));
    std::fs::write(&signed, bytes).unwrap();
    std::fs::write(&text, document).unwrap();
    let args = ["dgst", "-sha256", "-verify", &public, "-signature"];
    let files = [signed.to_str().unwrap(), text.to_str().unwrap()];
    assert!(openssl(&[&args[..], &files].concat()));
    let out = cairn.ok(&["verify", &reference, "--key", &public]);
    assert!(out.contains(&digest), "{out}");
    // By digest, too; signed again it has one signature, by another key two.
    let pinned = format!("{}/app@{digest}", registry.host());
    cairn.ok(&["verify", &pinned, "--key", &public]);
    cairn.ok(&["sign", &reference, "--key", &key]);
    let (other_key, other) = key_pair(&cairn, "other");
    cairn.fails(
        &["verify", &reference, "--key", &other],
        1,
        "none of its signatures (1)",
    );
    cairn.ok(&["sign", &reference, "--key", &other_key]);
    for public in [&public, &other] {
        cairn.ok(&["verify", &reference, "--key", public]);
    }
    let tag = digest.replace(':', "-");
    let manifest = get(&registry, &format!("/v2/app/manifests/{tag}.sig"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
}

/// What a registry says of one signature, in either form.
struct Made {
    document: Vec<u8>,
    manifest: String,
    list: String,
}

impl Made {
    fn new(document: Vec<u8>, signature: &[u8]) -> Self {
        let layer = json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": sha256(&document), "size": document.len(),
            "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signature)},
        });
        let manifest = json!({"schemaVersion": 2, "config": {}, "layers": [layer]}).to_string();
        let list = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": sha256(manifest.as_bytes()), "size": manifest.len(),
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        }]});
        Self {
            document,
            manifest,
            list: list.to_string(),
        }
    }

    fn answer(&self, asked: &Asked, as_referrer: bool) -> Act {
        let say = |body: &[u8]| {
            let kind = "application/vnd.oci.image.index.v1+json";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            Act::Say([head.as_bytes(), body].concat())
        };
        match asked.path.rsplit('/').next().unwrap_or_default() {
            last if last.ends_with(".sig") && !as_referrer => say(self.manifest.as_bytes()),
            _ if asked.path.contains("/referrers/") && as_referrer => say(self.list.as_bytes()),
            last if last == sha256(self.manifest.as_bytes()) => say(self.manifest.as_bytes()),
            last if last == sha256(&self.document) => say(&self.document),
            _ => Act::Pass,
        }
    }
}

/// A document as cosign writes it, signed by OpenSSL.
fn signed_by_openssl(directory: &Path, name: &str, digest: &str) -> Made {
    let document = json!({"critical": {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }, "optional": {"creator": "test"}});
    let document = document.to_string().into_bytes();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (text, out, key) = (file("document"), file("signature"), file("own.key"));
    std::fs::write(&text, &document).unwrap();
    assert!(openssl(&[
        "dgst", "-sha256", "-sign", &key, "-out", &out, &text
    ]));
    Made::new(document, &std::fs::read(out).unwrap())
}

#[test]
fn what_openssl_signs_cairn_verifies_in_both_forms() {
    let registry = registry!();
    let (cairn, digest) = pushed(&registry, "app", &[]);
    let (_, public) = key_pair(&cairn, "own");
    let other = format!("sha256:{}", "0".repeat(64));
    for as_referrer in [false, true] {
        for (repository, digest, words) in [
            ("app", &digest, None),
            ("app:1", &digest, None),
            ("other", &digest, Some("it is signed as")),
            ("app", &other, Some("the signature is one of sha256:0000")),
        ] {
            let made = OnceLock::new();
            let (directory, digest) = (cairn.dir.path().to_owned(), digest.clone());
            let proxy = Proxy::start(Some(&registry), move |asked| {
                // The name of the registry is part of what is signed.
                let host = asked.header("host").unwrap_or_default();
                let name = format!("{host}/{repository}");
                let made = made.get_or_init(|| signed_by_openssl(&directory, &name, &digest));
                made.answer(asked, as_referrer)
            });
            let reference = format!("{}/app:1", proxy.host());
            let args = ["verify", &reference, "--key", &public];
            match words {
                None => drop(cairn.ok(&args)),
                Some(words) => drop(cairn.fails(&args, 1, words)),
            }
        }
    }
}

#[test]
fn a_policy_is_followed_before_anything_is_published() {
    let registry = registry!();
    let (source, _) = pushed(&registry, "plain", &[]);
    let (key, public) = key_pair(&source, "own");
    let (_, other) = key_pair(&source, "other");
    pushed(&registry, "signed", &["--sign-by", &key]);
    let host = registry.host();
    let (plain, signed) = (format!("{host}/plain:1"), format!("{host}/signed:1"));
    let wants = |key: &str| json!({"type": "sigstoreSigned", "keyPath": key});
    let cairn = Cairn::new();
    let check = |requirement: Value, reference: &str, refused: Option<&str>| {
        let scopes = json!({host.as_str(): [requirement]});
        let document = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
        let home = policy(&cairn, &document);
        let (done, err) = pull(&cairn, &home, reference);
        match refused {
            None => assert!(done, "{err}"),
            Some(words) => {
                assert!(!done && err.contains(words), "{requirement}: {err}");
                assert!(cairn.output(&["inspect", reference]).status.code() == Some(1));
            }
        }
    };
    check(json!({"type": "reject"}), &plain, Some("is rejected by"));
    check(wants(&public), &plain, Some("it has no signature"));
    check(wants(&other), &signed, Some("none of its signatures (1)"));
    check(
        wants("/nonexistent"),
        &signed,
        Some("cannot open the key /nonexistent"),
    );
    check(
        json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}),
        &signed,
        Some("\"signedBy\" are not supported"),
    );
    let elsewhere = json!({"type": "exactRepository", "dockerRepository": "h/other"});
    let mut foreign = wants(&public);
    foreign["signedIdentity"] = elsewhere;
    check(foreign, &signed, Some("it is signed as"));
    check(wants(&public), &signed, None);
    check(json!({"type": "insecureAcceptAnything"}), &plain, None);
    // A policy that is none refuses everything.
    let home = policy(&cairn, &json!({"default": []}));
    let (done, err) = pull(&cairn, &home, &plain);
    assert!(!done && err.contains("policy.json"), "{err}");
}

#[test]
fn keys_that_cannot_be_used_are_told_of() {
    let registry = registry!();
    let (cairn, _) = pushed(&registry, "app", &[]);
    let reference = format!("{}/app:1", registry.host());
    let file = cairn.path("key");
    let path = file.to_str().unwrap();
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", path]));
    cairn.fails(
        &["sign", &reference, "--key", path],
        1,
        "not one of ECDSA over P-256",
    );
    std::fs::write(&file, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nYQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n").unwrap();
    cairn.fails(&["sign", &reference, "--key", path], 1, "it is encrypted");
    std::fs::write(&file, "words").unwrap();
    for command in ["sign", "verify"] {
        cairn.fails(&[command, &reference, "--key", path], 1, "not a PEM file");
    }
}
