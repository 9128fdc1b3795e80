//! Images to a registry: what others read of it, what is not sent again, and lines that break.

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Cairn, two_layers};
use registry::{Act, Asked, Proxy};
use serde_json::Value;

/// What skopeo sees: the manifest, and the digest of the configuration that a whole copy of it has.
fn by_skopeo(cairn: &Cairn, reference: &str) -> (Value, String) {
    let out = cairn.path("copied");
    let _ = std::fs::remove_dir_all(&out);
    let run = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        output.stdout
    };
    let source = format!("docker://{reference}");
    run(&[
        "copy",
        "--insecure-policy",
        "--src-tls-verify=false",
        &source,
        &format!("dir:{}", out.display()),
    ]);
    let manifest = run(&["inspect", "--raw", "--tls-verify=false", &source]);
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    (manifest, config)
}

fn id(cairn: &Cairn, name: &str) -> String {
    cairn.json(&["inspect", name])["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn is_upload(asked: &Asked) -> bool {
    ["POST", "PATCH"].contains(&asked.method.as_str())
}

#[test]
fn what_is_pushed_is_the_same_image_for_others() {
    let registry = registry!("skopeo");
    let cairn = two_layers("app:1");
    for (number, (args, kind)) in [
        (&[][..], "application/vnd.oci.image.layer.v1.tar+gzip"),
        (
            &["--compression", "zstd:1"],
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
        (
            &["--compression", "none"],
            "application/vnd.oci.image.layer.v1.tar",
        ),
        (
            &["--compression", "gzip:9"],
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
    ]
    .iter()
    .enumerate()
    {
        let reference = format!("{}/example/app{number}:1", registry.host());
        let pushed = cairn.json(&[&["push", "app:1", &reference], *args].concat());
        // The last time there is a form of this kind, which the registry takes from another repository.
        let present = if number == 3 { 2 } else { 0 };
        assert_eq!(pushed["layers_present"], present);
        // 1.9 of skopeo copies zstd as it is and does not know its type.
        let (manifest, config) = by_skopeo(&cairn, &reference);
        assert_eq!(manifest["layers"][0]["mediaType"], *kind);
        assert_eq!(config, id(&cairn, "app:1"));
        let other = Cairn::new();
        let pulled = other.json(&["pull", &reference]);
        assert_eq!(pulled[0]["id"], config);
        assert_eq!(pulled[0]["digest"], pushed["digest"]);
    }
    cairn.fails(
        &[
            "push",
            "app:1",
            &format!("{}/x", registry.host()),
            "--compression",
            "xz",
        ],
        2,
        "unknown compression",
    );
    cairn.fails(&["push", &id(&cairn, "app:1")], 2, "say where to push it");
}

#[test]
fn what_the_registry_has_is_not_sent_again() {
    let registry = registry!("skopeo");
    let cairn = two_layers("app:1");
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let (one, two) = (
        format!("{}/one:1", proxy.host()),
        format!("{}/two:1", proxy.host()),
    );
    let first = cairn.json(&["push", "app:1", &one]);
    assert!(first["bytes_sent"].as_u64().unwrap() > 600_000);
    proxy.forget();
    let again = cairn.json(&["push", "app:1", &one]);
    assert_eq!(
        (&again["bytes_sent"], &again["layers_present"]),
        (&0.into(), &2.into())
    );
    assert_eq!(again["digest"], first["digest"]);
    assert_eq!(proxy.count(is_upload), 0);
    // Another repository of the registry takes the layers from the first one.
    let mounted = cairn.json(&["push", "app:1", &two]);
    assert!(mounted["bytes_sent"].as_u64().unwrap() < 2000);
    assert_eq!(mounted["layers_present"], 2);
    assert_eq!(mounted["digest"], first["digest"]);
    assert_eq!(
        proxy.count(|asked| asked.method == "POST" && asked.path.contains("mount=")),
        2
    );
}

#[test]
fn an_unchanged_layer_is_pushed_as_the_very_blob_it_was_pulled_as() {
    let registry = registry!("skopeo");
    let source = two_layers("app:1");
    let original = format!("{}/original:1", registry.host());
    source.ok(&["push", "app:1", &original, "--compression", "gzip:1"]);
    let (before, _) = by_skopeo(&source, &original);
    let cairn = Cairn::new();
    cairn.ok(&["pull", &original]);
    let copy = format!("{}/copy:1", registry.host());
    let pushed = cairn.json(&["push", &original, &copy]);
    assert_eq!(pushed["layers_present"], 2);
    let (after, _) = by_skopeo(&cairn, &copy);
    assert_eq!(
        after["layers"], before["layers"],
        "gzip of another level than the usual one"
    );
    // Asked for another form, it is made: the same for everybody.
    let zstd = |cairn: &Cairn, name: &str, to: &str| {
        let reference = format!("{}/{to}:1", registry.host());
        cairn.json(&["push", name, &reference, "--compression", "zstd"])["digest"].clone()
    };
    assert_eq!(zstd(&cairn, &original, "a"), zstd(&source, "app:1", "b"));
    // What is forgotten is only slower.
    cairn.ok(&["rmi", &original]);
    cairn.ok(&["gc"]);
    cairn.ok(&["check"]);
}

#[test]
fn an_upload_that_breaks_is_taken_up_again() {
    let registry = registry!("skopeo");
    let cairn = two_layers("app:1");
    let acts: [fn() -> Act; 5] = [
        // Before anything of the answer came: what was sent may have arrived.
        || Act::Cut(0),
        || Act::Cut(30),
        || Act::status("500 Internal Server Error", "", ""),
        || Act::status("416 Requested Range Not Satisfiable", "", ""),
        || {
            Act::status(
                "404 Not Found",
                "",
                r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#,
            )
        },
    ];
    for (number, act) in acts.into_iter().enumerate() {
        for method in ["POST", "PATCH", "PUT"] {
            // A manifest that is unknown is none of a registry's to come.
            if method != "PATCH" && number >= 3 {
                continue;
            }
            let failures = Arc::new(AtomicUsize::new(0));
            let count = failures.clone();
            let proxy = Proxy::start(Some(&registry), move |asked| {
                match asked.method == method && count.fetch_add(1, Ordering::SeqCst) < 2 {
                    true => act(),
                    false => Act::Pass,
                }
            });
            let reference = format!("{}/broken{number}{}:1", proxy.host(), method.to_lowercase());
            cairn.ok(&["push", "app:1", &reference]);
            assert!(failures.load(Ordering::SeqCst) >= 2);
            let (_, config) = by_skopeo(&cairn, &reference);
            assert_eq!(config, id(&cairn, "app:1"));
        }
    }
}

#[test]
fn a_registry_that_lies_or_refuses_is_told_of() {
    let registry = registry!("skopeo");
    let cairn = two_layers("app:1");
    cairn.ok(&["config", "set", "registry.retries", "1"]);
    let refused = |act: fn(&Asked) -> Act, words: &str| {
        let proxy = Proxy::start(Some(&registry), act);
        let reference = format!("{}/refused{}:1", proxy.host(), proxy.port);
        cairn.fails(&["push", "app:1", &reference], 1, words);
        proxy
    };
    refused(
        |asked| match asked.is_manifest() && asked.method == "PUT" {
            true => Act::status(
                "201 Created",
                &format!("Docker-Content-Digest: sha256:{}\r\n", "0".repeat(64)),
                "",
            ),
            false => Act::Pass,
        },
        "the registry stored sha256:0000",
    );
    refused(
        |asked| match asked.is_manifest() && asked.method == "PUT" {
            true => Act::status(
                "404 Not Found",
                "",
                r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#,
            ),
            false => Act::Pass,
        },
        "blob unknown",
    );
    refused(
        |asked| match asked.method == "HEAD" {
            true => Act::status("200 OK", "", "12345"),
            false => Act::Pass,
        },
        "the registry has 5 bytes under this digest instead of",
    );
    refused(
        |asked| match asked.method == "POST" {
            true => Act::status("202 Accepted", "Location: gopher://x/\r\n", ""),
            false => Act::Pass,
        },
        "cannot be followed",
    );
    refused(|_| Act::status("403 Forbidden", "", ""), "denies access");
    // One place for all uploads: the registry finds that they are not what they should be.
    let place = Arc::new(std::sync::OnceLock::new());
    let proxy = Proxy::start(Some(&registry), move |asked| {
        let place = place.clone();
        match asked.method == "POST" {
            true => Act::Change(Box::new(move |header, body| {
                let own = header
                    .lines()
                    .find(|line| line.to_lowercase().starts_with("location:"));
                let own = own.unwrap_or_default().to_owned();
                let first: &String = place.get_or_init(|| own.clone());
                (header.replace(&own, first), body)
            })),
            false => Act::Pass,
        }
    });
    let output = cairn.output(&["push", "app:1", &format!("{}/reused:1", proxy.host())]);
    assert_eq!(output.status.code(), Some(1));
    cairn.fails(
        &["pull", &format!("{}/reused:1", registry.host())],
        1,
        "the registry does not have it",
    );
    cairn.ok(&["push", "app:1", &format!("{}/reused:1", registry.host())]);
}

#[test]
fn an_upload_that_is_sent_elsewhere_takes_no_credentials_along() {
    let registry = registry!("skopeo");
    let cairn = two_layers("app:1");
    let elsewhere = Arc::new(Proxy::start(Some(&registry), |_| Act::Pass));
    let host = elsewhere.host();
    let proxy = Proxy::start(Some(&registry), move |asked| {
        if asked.path.starts_with("/token") {
            assert!(
                asked.path.contains("scope=repository:a:pull%2Cpush"),
                "{}",
                asked.path
            );
            return Act::status("200 OK", "", r#"{"token":"t"}"#);
        }
        let own = asked.header("host").unwrap_or_default().to_owned();
        if asked.header("authorization") != Some("Bearer t") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{own}/token\"\r\n");
            return Act::status("401 Unauthorized", &challenge, "");
        }
        let host = host.clone();
        match asked.method == "POST" {
            true => Act::Change(Box::new(move |header, body| {
                (header.replace(&own, &host), body)
            })),
            false => Act::Pass,
        }
    });
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["push", "app:1", &reference]);
    assert!(elsewhere.count(|asked| asked.method == "PATCH") >= 3);
    assert_eq!(
        elsewhere.count(|asked| asked.header("authorization").is_some()),
        0
    );
}
