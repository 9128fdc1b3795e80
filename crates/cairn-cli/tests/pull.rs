//! Images from a registry: names, platforms, digests, credentials, and what is not fetched.

mod common;
#[path = "common/registry.rs"]
mod registry;

use common::{Cairn, sha256};
use registry::{Act, Asked, Proxy, Registry, guard, oci};
use serde_json::json;

/// A repository with the image `name`, of two layers, and an OCI archive of it.
fn two_layers(name: &str) -> (Cairn, std::path::PathBuf) {
    let cairn = common::two_layers(name);
    let out = cairn.path("oci.tar");
    cairn.ok(&[
        "export",
        name,
        "-o",
        out.to_str().unwrap(),
        "--format",
        "oci-archive",
    ]);
    (cairn, out)
}

#[test]
fn what_skopeo_pushed_is_pulled_and_is_the_same_image() {
    let registry = registry!("skopeo");
    let (source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "example/app:1");
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let reference = format!("{}/example/app:1", proxy.host());
    let cairn = Cairn::new();
    let out = cairn.ok(&["pull", &reference]);
    assert!(out.contains("2 layers, 0 already present"), "{out}");
    assert_eq!(cairn.image_names(), std::slice::from_ref(&reference));
    let id = |cairn: &Cairn, name: &str| cairn.json(&["inspect", name])["id"].clone();
    assert_eq!(id(&cairn, &reference), id(&source, "app:1"));
    assert_eq!(proxy.count(Asked::is_blob), 3);
    // What is there is not fetched again, whatever it is called; a second name of the image is one.
    proxy.forget();
    registry.fill(&oci(&archive), "example/other:2");
    let other = format!("{}/example/other:2", proxy.host());
    let pulled = cairn.json(&["pull", &other, &reference]);
    assert_eq!(pulled[0]["layers_present"], 2);
    assert_eq!(pulled[0]["names"], json!([other]));
    assert_eq!(proxy.count(Asked::is_blob), 2, "only the documents");
    assert_eq!(cairn.image_names().len(), 2);
    assert!(
        cairn.ok(&["check"]).contains("no damage") || cairn.output(&["check"]).status.success()
    );
}

#[test]
fn a_digest_pins_an_image_and_leaves_its_name_alone() {
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    let cairn = Cairn::new();
    let host = registry.host();
    let digest = cairn.json(&["pull", &format!("{host}/a:1")])[0]["digest"].clone();
    let digest = digest.as_str().unwrap();
    let other = Cairn::new();
    let pulled = other.json(&["pull", &format!("{host}/a@{digest}")]);
    assert_eq!(pulled[0]["names"], json!([]));
    let pulled = other.json(&["pull", &format!("{host}/a:5@{digest}")]);
    assert_eq!(pulled[0]["names"], json!([format!("{host}/a:5")]));
    // It names the image that is there, and pulls one that is not.
    let pinned = format!("{host}/a@{digest}");
    let id = other.json(&["inspect", &format!("{host}/a:5")])["id"].clone();
    assert_eq!(other.json(&["inspect", &pinned])["id"], id);
    let out = other.path("out.tar");
    let export = ["export", &pinned, "-o", out.to_str().unwrap(), "--pull"];
    let fresh = Cairn::new();
    fresh.ok(&[&export[..], &["missing"]].concat());
    assert_eq!(fresh.json(&["inspect", &pinned])["id"], id);
    fresh.ok(&["rmi", &pinned]);
    fresh.fails(&["inspect", &pinned], 1, "");
    fresh.ok(&["check"]);
    let wrong = format!("{host}/a@sha256:{}", "0".repeat(64));
    other.fails(&["pull", &wrong], 1, "the registry does not have it");
}

#[test]
fn the_others_are_pulled_where_one_cannot_be() {
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    let host = registry.host();
    let cairn = Cairn::new();
    let (missing, bad, good) = (
        format!("{host}/b:1"),
        "A/b".to_owned(),
        format!("{host}/a:1"),
    );
    let output = cairn.output(&["--json", "pull", &missing, &bad, &good]);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains(&format!(
            "manifest 1 of {host}/b: the registry does not have it"
        )),
        "{err}"
    );
    let lines: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(lines[0]["error"].is_string() && lines[1]["error"].is_string());
    assert!(lines[2]["error"].is_null() && lines[2]["id"].is_string());
    assert_eq!(cairn.image_names(), [good]);
}

/// A registry that has one repository: documents and blobs by name.
fn canned(documents: Vec<(String, Vec<u8>)>) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked: &Asked| {
        let name = asked.path.rsplit('/').next().unwrap_or_default();
        match documents.iter().find(|(n, _)| n == name) {
            Some((_, body)) => {
                let header = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                Act::Say([header.as_bytes(), body].concat())
            }
            None => Act::status(
                "404 Not Found",
                "",
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such \u001b[31mthing"}]}"#,
            ),
        }
    }
}

/// Configuration, layer and manifest of an image for `architecture`.
fn image_for(architecture: &str) -> (Vec<(String, Vec<u8>)>, serde_json::Value) {
    let layer = common::Tar::new()
        .file("arch", architecture.as_bytes())
        .done();
    let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(&layer), "size": layer.len()}],
    });
    let bytes = manifest.to_string().into_bytes();
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": sha256(&bytes), "size": bytes.len(),
        "platform": {"os": "linux", "architecture": architecture},
    });
    let blobs = [bytes, config, layer].map(|bytes| (sha256(&bytes), bytes));
    (blobs.to_vec(), descriptor)
}

#[test]
fn an_index_leads_to_the_image_of_the_platform() {
    let (mut all, amd) = image_for("amd64");
    let (more, arm) = image_for("arm64");
    all.extend(more);
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(b"x"), "size": 1,
        "platform": {"os": "unknown", "architecture": "unknown"}});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [attestation, amd, arm]});
    all.push(("1".into(), index.to_string().into_bytes()));
    let proxy = Proxy::start(None, canned(all));
    let reference = format!("{}/a:1", proxy.host());
    for (platform, expected) in [
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/amd64", "linux/amd64"),
    ] {
        let cairn = Cairn::new();
        cairn.ok(&["pull", "--platform", platform, &reference]);
        assert_eq!(cairn.json(&["inspect", &reference])["platform"], expected);
    }
    // What is here for another platform will not do.
    let cairn = Cairn::new();
    let prepare = |key, platform: &[&str]| {
        let common = ["snapshot", "prepare", key, &reference];
        cairn.output(&[&common[..], platform].concat())
    };
    let arm = ["--platform", "linux/arm64"];
    let pull = ["--pull", "missing"];
    cairn.ok(&["pull", "--platform", "linux/amd64", &reference]);
    let refused = prepare("a", &arm);
    let err = String::from_utf8_lossy(&refused.stderr);
    let expected = "is present, but not for linux/arm64";
    assert!(!refused.status.success() && err.contains(expected), "{err}");
    for (key, platform) in [("a", "linux/arm64"), ("b", "linux/amd64")] {
        let options = [&pull[..], &["--platform", platform]].concat();
        assert!(prepare(key, &options).status.success());
        assert_eq!(cairn.json(&["inspect", &reference])["platform"], platform);
    }
    let cairn = Cairn::new();
    cairn.fails(
        &["pull", "--platform", "linux/s390x", &reference],
        1,
        "has no image for linux/s390x, only for linux/amd64, linux/arm64",
    );
    // What a registry says does not steer a terminal.
    let err = cairn.fails(&["pull", &format!("{}/a:2", proxy.host())], 1, "no such");
    assert!(!err.contains('\u{1b}'), "{err}");
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let (all, _) = image_for("amd64");
    let manifest: serde_json::Value = serde_json::from_slice(&all[0].1).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        let mut all = all.clone();
        all.push(("1".into(), manifest.to_string().into_bytes()));
        let proxy = Proxy::start(None, canned(all));
        let cairn = Cairn::new();
        cairn.ok(&["init"]);
        cairn.ok(&["config", "set", "registry.retries", "0"]);
        let output = cairn.output(&["pull", &format!("{}/a:1", proxy.host())]);
        assert_eq!(output.status.code(), Some(1));
        assert!(cairn.image_names().is_empty());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let chart =
        with(&|m| m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"));
    assert!(
        chart.contains("it is not an image but of type application/vnd.cncf.helm.config.v1+json"),
        "{chart}"
    );
    let both = with(&|m| m["manifests"] = json!([]));
    assert!(
        both.contains("it is an index and an image manifest at once"),
        "{both}"
    );
    let old = with(&|m| m["fsLayers"] = json!([]));
    assert!(old.contains("it is of schema 1"), "{old}");
    let few = with(&|m| m["layers"] = json!([]));
    assert!(few.contains("lists 1 layers and its manifest 0"), "{few}");
    let short = with(&|m| m["layers"][0]["size"] = json!(7));
    assert!(short.contains("instead of 7"), "{short}");
    let none = with(&|m| m["layers"][0]["size"] = json!(null));
    assert!(none.contains("it states no size"), "{none}");
    let other = with(&|m| m["layers"][0]["digest"] = m["config"]["digest"].clone());
    assert!(other.contains("instead of"), "{other}");
    let huge = with(&|m| m["config"]["size"] = json!(u64::MAX));
    assert!(huge.contains("a document may have at most"), "{huge}");
    let elsewhere = with(&|m| m["config"]["digest"] = json!("sha256:../../../etc/passwd"));
    assert!(elsewhere.contains("descriptor is not valid"), "{elsewhere}");
}

#[test]
fn a_token_is_fetched_where_one_is_wanted_and_only_the_scope_that_is_needed() {
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a/b:1");
    let proxy = Proxy::start(Some(&registry), |asked| {
        let authorization = asked.header("authorization");
        if asked.path.starts_with("/token") {
            assert!(
                asked.path.contains("service=my%20registry"),
                "{}",
                asked.path
            );
            assert!(
                asked.path.ends_with("scope=repository:a/b:pull"),
                "{}",
                asked.path
            );
            return Act::status("200 OK", "", r#"{"access_token":"good","expires_in":300}"#);
        }
        if authorization == Some("Bearer good") {
            return Act::Pass;
        }
        let host = asked.header("host").unwrap_or_default();
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"my registry\",scope=\"repository:other:push\"\r\n"
        );
        Act::status("401 Unauthorized", &challenge, "{}")
    });
    let cairn = Cairn::new();
    cairn.ok(&["pull", &format!("{}/a/b:1", proxy.host())]);
    assert_eq!(proxy.count(|asked| asked.path.starts_with("/token")), 1);
}

#[test]
fn who_is_denied_is_told_so() {
    let plans: [fn(&Asked) -> Act; 4] = [
        |_| {
            Act::status(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"x\"\r\n",
                "",
            )
        },
        |_| {
            Act::status(
                "403 Forbidden",
                "",
                r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#,
            )
        },
        // A token that is never good enough does not make an endless loop.
        |asked| match asked.path.starts_with("/token") {
            true => Act::status("200 OK", "", r#"{"token":"t"}"#),
            false => {
                let host = asked.header("host").unwrap_or_default();
                let challenge =
                    format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                Act::status("401 Unauthorized", &challenge, "")
            }
        },
        |_| Act::status("401 Unauthorized", "", ""),
    ];
    for plan in plans {
        let proxy = Proxy::start(None, plan);
        let cairn = Cairn::new();
        cairn.fails(
            &["pull", &format!("{}/a", proxy.host())],
            1,
            "denies access",
        );
        assert!(proxy.asked().len() <= 6, "{:?}", proxy.asked());
    }
}

#[test]
fn commands_pull_what_is_missing_always_or_never() {
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let reference = format!("{}/a:1", proxy.host());
    let asked = || {
        let asked = proxy.asked().len();
        proxy.forget();
        asked
    };
    let cairn = Cairn::new();
    // A machine that has never seen anything.
    cairn.fails(
        &["create", "--pull", "never", &reference],
        1,
        "there is no Cairn repository",
    );
    assert_eq!(asked(), 0);
    cairn.ok(&["create", "--pull", "missing", "--name", "one", &reference]);
    assert!(asked() > 0);
    cairn.ok(&["create", "--pull", "missing", "--name", "two", &reference]);
    cairn.ok(&["create", "--pull", "never", "--name", "three", &reference]);
    cairn.ok(&[
        "snapshot", "prepare", "--pull", "missing", "key", &reference,
    ]);
    assert_eq!(asked(), 0, "what is there is not asked for");
    cairn.ok(&["create", "--pull", "always", "--name", "four", &reference]);
    assert!(asked() > 0);
    // What is named by its id, or is a snapshot, is no registry's business.
    let id = cairn.json(&["inspect", &reference])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [&id, &id[7..], &id[7..20], "key"] {
        let out = cairn.path("out.tar");
        let args = [
            "export",
            "--pull",
            "always",
            name,
            "-o",
            out.to_str().unwrap(),
        ];
        assert_eq!(cairn.output(&args).status.success(), name != "key");
    }
    assert_eq!(asked(), 0);
    let missing = format!("{}/b:1", proxy.host());
    cairn.fails(
        &["create", "--pull", "missing", &missing],
        1,
        "is not present, and cannot be pulled",
    );
    cairn.fails(
        &["run", "--pull", "missing", &missing],
        125,
        "the registry does not have it",
    );
    assert!(asked() > 0);
    cairn.fails(
        &["create", "--pull", "never", &missing],
        1,
        "no image or snapshot named",
    );
    let mut default = cairn.command(&["create", &missing]);
    let output = default.env_remove("CAIRN_PULL").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be pulled"));
    // An export or a snapshot of another one is pulled for it.
    let other = Cairn::new();
    let out = other.path("out.tar");
    other.fails(&["export", &reference, "-o", out.to_str().unwrap()], 1, "");
    other.ok(&[
        "export",
        "--pull",
        "missing",
        &reference,
        "-o",
        out.to_str().unwrap(),
    ]);
    let third = Cairn::new();
    third.ok(&[
        "snapshot", "prepare", "--pull", "missing", "key", &reference,
    ]);
}

/// A proxy that wants user and password, and gives a token for them or takes them as they are.
fn guarded(registry: &Registry, with_token: bool) -> Proxy {
    Proxy::start(Some(registry), move |asked| {
        guard(asked, with_token, Act::Pass)
    })
}

#[test]
fn credentials_of_docker_podman_and_helpers_are_used() {
    use std::os::unix::fs::PermissionsExt;
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    for with_token in [false, true] {
        let proxy = guarded(&registry, with_token);
        let (host, reference) = (proxy.host(), format!("{}/a:1", proxy.host()));
        let cairn = Cairn::new();
        let file = cairn.path("auth.json");
        let helper = cairn.path("docker-credential-test");
        std::fs::write(&helper, format!("#!/bin/sh\n[ \"$1\" = get ] && read host\n[ \"$host\" = {host} ] && echo '{{\"ServerURL\":\"\",\"Username\":\"me\",\"Secret\":\"secret\"}}' || {{ echo credentials not found; exit 1; }}\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!(
            "{}:{}",
            cairn.dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let pull = |document: serde_json::Value| {
            std::fs::write(&file, document.to_string()).unwrap();
            let mut command = cairn.command(&["pull", &reference]);
            let output = command
                .env("REGISTRY_AUTH_FILE", &file)
                .env("PATH", &path)
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!err.contains("secret") && !err.contains("bWU6"), "{err}");
            (output.status.code(), err)
        };
        let auth = |text: &str| json!({"auths": {&host: {"auth": text}}});
        for document in [
            auth("bWU6c2VjcmV0"),
            json!({"credHelpers": {&host: "test"}}),
            json!({"credsStore": "test"}),
        ] {
            assert_eq!(pull(document).0, Some(0));
            cairn.ok(&["rmi", &reference]);
        }
        // Wrong ones, none, and a helper that knows nothing.
        for document in [
            auth("bWU6d3Jvbmc="),
            json!({}),
            json!({"credHelpers": {"other": "test"}}),
        ] {
            let (code, err) = pull(document);
            assert_eq!(code, Some(1));
            assert!(err.contains("denies access"), "{err}");
        }
        let (code, err) = pull(json!({"credsStore": "not-there"}));
        assert_eq!(code, Some(1));
        assert!(
            err.contains("docker-credential-not-there: it is not installed"),
            "{err}"
        );
    }
}

#[test]
fn all_tags_of_a_repository_are_pulled_page_after_page() {
    let (all, _) = image_for("amd64");
    let mut documents = all.clone();
    for tag in ["1", "2", "3"] {
        documents.push((tag.to_owned(), all[0].1.clone()));
    }
    let rest = canned(documents);
    let proxy = Proxy::start(None, move |asked| match asked.path.as_str() {
        "/v2/a/tags/list" => Act::status(
            "200 OK",
            "Link: </v2/a/tags/list?last=2>; rel=\"next\"\r\n",
            r#"{"name":"a","tags":["1","2"]}"#,
        ),
        "/v2/a/tags/list?last=2" => Act::status("200 OK", "", r#"{"name":"a","tags":["3"]}"#),
        // A list that leads back to itself has an end, and one without tags is none.
        "/v2/b/tags/list" => Act::status("200 OK", "Link: </v2/b/tags/list>; rel=next\r\n", "{}"),
        "/v2/c/tags/list" => Act::status("200 OK", "", "[1"),
        _ => rest(asked),
    });
    let cairn = Cairn::new();
    let repository = format!("{}/a", proxy.host());
    let pulled = cairn.json(&["pull", "--all-tags", &repository]);
    let references: Vec<_> = pulled
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["reference"])
        .collect();
    let expected = ["1", "2", "3"].map(|tag| json!(format!("{repository}:{tag}")));
    assert_eq!(references, expected.iter().collect::<Vec<_>>());
    assert_eq!(cairn.image_names().len(), 3);
    for (name, words, code) in [
        ("b", "more than", 1),
        ("c", "no list of tags", 1),
        ("a:1", "names one image", 2),
    ] {
        let name = format!("{}/{name}", proxy.host());
        cairn.fails(&["pull", "--all-tags", &name], code, words);
    }
}

#[test]
fn a_digest_is_pulled_run_and_exported_and_asked_for_once() {
    let registry = registry!("skopeo");
    let (_source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let repository = format!("{}/a", proxy.host());
    let first = Cairn::new();
    let digest = first.json(&["pull", &format!("{repository}:1")])[0]["digest"].clone();
    let digest = digest.as_str().unwrap();
    for pinned in [
        format!("{repository}@{digest}"),
        format!("{repository}:7@{digest}"),
    ] {
        let cairn = Cairn::new();
        cairn.ok(&["create", "--pull", "missing", "--name", "one", &pinned]);
        proxy.forget();
        for when in ["missing", "always", "never"] {
            cairn.ok(&["create", "--pull", when, "--name", when, &pinned]);
        }
        let out = cairn.path("out.tar");
        cairn.ok(&[
            "export",
            "--pull",
            "missing",
            &pinned,
            "-o",
            out.to_str().unwrap(),
        ]);
        assert!(
            proxy.asked().is_empty(),
            "a digest leads to one image for ever"
        );
    }
    let other = format!("{repository}@sha256:{}", "0".repeat(64));
    first.fails(
        &["create", "--pull", "missing", &other],
        1,
        "the registry does not have it",
    );
    first.fails(
        &["create", "--pull", "never", &other],
        1,
        "no image or snapshot",
    );
    // It goes with the image.
    let pinned = format!("{repository}@{digest}");
    first.ok(&["inspect", &pinned]);
    first.ok(&["rmi", &format!("{repository}:1")]);
    first.fails(&["inspect", &pinned], 1, "");
    first.ok(&["check"]);
}

#[test]
fn progress_is_told_as_events_one_a_line() {
    let registry = registry!("skopeo");
    let (source, archive) = two_layers("app:1");
    registry.fill(&oci(&archive), "a:1");
    let reference = format!("{}/a:1", registry.host());
    let cairn = Cairn::new();
    let events = |cairn: &Cairn, args: &[&str]| -> Vec<serde_json::Value> {
        let output = cairn.output(&[args, &["--progress", "json"]].concat());
        assert!(output.status.success());
        let err = String::from_utf8(output.stderr).unwrap();
        let lines = err.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let with = |events: &[serde_json::Value], state: &str| {
        let of = |event: &&serde_json::Value| event["state"] == state;
        events.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let told = events(&cairn, &["pull", &reference]);
    let done = with(&told, "done");
    assert_eq!((done.len(), with(&told, "present").len()), (2, 0));
    assert!(!with(&told, "moving").is_empty());
    assert!(
        told.iter()
            .all(|event| event["event"] == "transfer" && event["reference"] == reference.as_str())
    );
    assert!(
        done.iter()
            .all(|event| event["bytes"] == event["total_bytes"]
                && event["bytes"].as_u64() > Some(300_000))
    );
    assert_eq!(
        with(&events(&cairn, &["pull", &reference]), "present").len(),
        2
    );
    let to = format!("{}/b:1", registry.host());
    let told = events(&source, &["push", "app:1", &to]);
    assert_eq!(
        with(&told, "done").len(),
        3,
        "two layers and the configuration"
    );
    // In a pipe nothing is told of itself.
    assert!(cairn.output(&["pull", &reference]).stderr.is_empty());
}
