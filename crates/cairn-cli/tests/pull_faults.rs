//! Bad lines and bad registries: what is cut goes on where it was cut, what is wrong is refused by name, and nothing
//! half is ever published.

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Cairn, eventually, has, noise};
use registry::{Act, Asked, Proxy, Registry, oci};

const LAYER_BYTES: usize = 400_000;

/// A registry with the image `a:1` of two layers of noise, or nothing where it cannot be.
fn filled() -> Option<Registry> {
    let registry = Registry::start().filter(|_| has("skopeo"))?;
    let cairn = Cairn::new();
    let layer = |path: &str, seed| {
        common::Tar::new()
            .file(path, &noise(seed, LAYER_BYTES))
            .done()
    };
    let archive = common::docker_archive("a:1", &[layer("lower", 1), layer("upper", 2)], |_| {});
    std::fs::write(cairn.path("docker.tar"), archive).unwrap();
    cairn.ok(&["import", cairn.path("docker.tar").to_str().unwrap()]);
    let out = cairn.path("oci.tar");
    cairn.ok(&[
        "export",
        "a:1",
        "-o",
        out.to_str().unwrap(),
        "--format",
        "oci-archive",
    ]);
    registry.fill(&oci(&out), "a:1");
    Some(registry)
}

macro_rules! filled {
    () => {
        match filled() {
            Some(registry) => registry,
            None => skip!("docker-registry or skopeo is not installed"),
        }
    };
}

/// A repository with settings.
fn with(settings: &[(&str, &str)]) -> Cairn {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    for (key, value) in settings {
        cairn.ok(&["config", "set", key, value]);
    }
    cairn
}

/// True for the first `n` times.
fn first(n: usize) -> impl Fn() -> bool + Send + Sync {
    let count = AtomicUsize::new(0);
    move || count.fetch_add(1, Ordering::SeqCst) < n
}

/// What is kept of downloads.
fn kept(cairn: &Cairn) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(cairn.root().join("downloads"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .map(|e| (e.path(), e.metadata().unwrap().len()))
        .collect()
}

fn is_whole(cairn: &Cairn, reference: &str) {
    cairn.ok(&["check"]);
    assert_eq!(
        cairn.json(&["inspect", reference])["layers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(kept(cairn), [], "nothing is kept of what was published");
}

#[test]
fn a_connection_that_is_cut_anywhere_is_taken_up_again() {
    let registry = filled!();
    // Of headers, at their end, the first byte, in the middle, before the last byte.
    for cut in [0, 1, 20, 200] {
        for wanted in [Asked::is_manifest as fn(&Asked) -> bool, Asked::is_blob] {
            let first = first(2);
            let proxy = Proxy::start(Some(&registry), move |asked| {
                match wanted(asked) && first() {
                    true => Act::Cut(cut),
                    false => Act::Pass,
                }
            });
            let cairn = Cairn::new();
            let reference = format!("{}/a:1", proxy.host());
            cairn.ok(&["pull", &reference]);
            is_whole(&cairn, &reference);
        }
    }
    for cut in [0, 1, LAYER_BYTES / 2, LAYER_BYTES - 1] {
        let first = first(3);
        let proxy = Proxy::start(Some(&registry), move |asked| {
            match asked.is_blob() && first() {
                true => Act::CutBody(cut),
                false => Act::Pass,
            }
        });
        let cairn = Cairn::new();
        let reference = format!("{}/a:1", proxy.host());
        cairn.ok(&["pull", &reference]);
        is_whole(&cairn, &reference);
        // A cut costs what was on its way and no more.
        assert!(
            proxy.sent() < 2 * LAYER_BYTES as u64 + 100_000,
            "{cut}: {}",
            proxy.sent()
        );
    }
}

#[test]
fn a_line_that_is_cut_again_and_again_brings_the_image_bit_by_bit() {
    let registry = filled!();
    let proxy = Proxy::start(Some(&registry), |asked| match asked.is_blob() {
        true => Act::CutBody(70_000),
        false => Act::Pass,
    });
    let cairn = with(&[("registry.retries", "1")]);
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
}

#[test]
fn silence_ends_a_connection_and_not_the_pull() {
    let registry = filled!();
    let first = first(2);
    let proxy = Proxy::start(Some(&registry), move |asked| {
        match asked.is_blob() && first() {
            true => Act::Stall(100),
            false => Act::Pass,
        }
    });
    let cairn = with(&[("registry.timeout", "1")]);
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
    let silent = Proxy::start(Some(&registry), |_| Act::Stall(0));
    let cairn = with(&[("registry.timeout", "1"), ("registry.retries", "0")]);
    cairn.fails(
        &["pull", &format!("{}/a:1", silent.host())],
        1,
        "the registry stopped sending",
    );
}

#[test]
fn a_busy_registry_is_asked_again() {
    let registry = filled!();
    for status in [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "408 Request Timeout",
    ] {
        let first = first(3);
        let proxy = Proxy::start(Some(&registry), move |_| match first() {
            true => Act::status(status, "Retry-After: 0\r\n", "<html>"),
            false => Act::Pass,
        });
        let cairn = Cairn::new();
        cairn.ok(&["pull", &format!("{}/a:1", proxy.host())]);
    }
    let proxy = Proxy::start(None, |_| {
        Act::status("429 Too Many Requests", "Retry-After: 9999\r\n", "")
    });
    let cairn = Cairn::new();
    cairn.fails(
        &["pull", &format!("{}/a:1", proxy.host())],
        1,
        "asks for fewer requests; try again in 9999 s",
    );
    assert_eq!(proxy.asked().len(), 1);
    let proxy = Proxy::start(None, |_| Act::status("500 Internal Server Error", "", ""));
    let cairn = with(&[("registry.retries", "2")]);
    cairn.fails(
        &["pull", &format!("{}/a:1", proxy.host())],
        1,
        "500 Internal Server Error (3 attempts)",
    );
    assert_eq!(proxy.asked().len(), 3);
}

#[test]
fn a_token_that_expires_is_renewed() {
    let registry = filled!();
    let issued = Arc::new(AtomicUsize::new(0));
    let used = AtomicUsize::new(0);
    let proxy = Proxy::start(Some(&registry), move |asked| {
        if asked.path.starts_with("/token") {
            used.store(0, Ordering::SeqCst);
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return Act::status("200 OK", "", &format!(r#"{{"token":"t{number}"}}"#));
        }
        let current = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        // Each token is good for two requests.
        if asked.header("authorization") == Some(&current)
            && used.fetch_add(1, Ordering::SeqCst) < 2
        {
            return Act::CutBody(150_000);
        }
        let host = asked.header("host").unwrap_or_default();
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
        Act::status("401 Unauthorized", &challenge, "")
    });
    let cairn = Cairn::new();
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
    assert!(proxy.count(|asked| asked.path.starts_with("/token")) > 2);
}

/// Pulls through a proxy that acts so on blobs, which must fail with these words; what is there then is nothing, and
/// the same repository gets the image from a good registry.
fn refused(
    registry: &Registry,
    act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    words: &str,
) -> Proxy {
    let proxy = Proxy::start(Some(registry), act);
    let cairn = with(&[("registry.retries", "1")]);
    cairn.fails(&["pull", &format!("{}/a:1", proxy.host())], 1, words);
    assert!(cairn.image_names().is_empty());
    assert_eq!(cairn.json(&["images"]).as_array().unwrap().len(), 0);
    let good = format!("{}/a:1", registry.host());
    cairn.ok(&["pull", &good]);
    is_whole(&cairn, &good);
    proxy
}

fn changed(change: impl Fn(String, Vec<u8>) -> (String, Vec<u8>) + Send + 'static) -> Act {
    Act::Change(Box::new(change))
}

/// A header with this line in the place of the one of this name.
fn with_line(header: &str, name: &str, line: &str) -> String {
    let name = format!("{name}:").to_ascii_lowercase();
    let lines = header.trim_end().split("\r\n");
    let kept: Vec<&str> = lines
        .filter(|l| !l.to_ascii_lowercase().starts_with(&name))
        .collect();
    format!("{}\r\n{line}\r\n", kept.join("\r\n")).replace("\r\n\r\n", "\r\n") + "\r\n"
}

#[test]
fn ranges_are_taken_only_as_they_were_asked_for() {
    let registry = filled!();
    for range in [
        "bytes 7-9/400",
        "bytes 0-1/2",
        "bytes */400",
        "items 1-2/3",
        "",
        "bytes 5-",
        "bytes 100000-99/1",
        "bytes 100000-18446744073709551615/18446744073709551615",
    ] {
        let act = move |asked: &Asked| match (asked.is_blob(), asked.header("range")) {
            (true, None) => Act::CutBody(100_000),
            (true, Some(_)) => changed(move |header, body| {
                (
                    with_line(&header, "content-range", &format!("Content-Range: {range}")),
                    body,
                )
            }),
            _ => Act::Pass,
        };
        refused(&registry, act, "the registry sends the range");
    }
    // A part that was not asked for.
    let act = |asked: &Asked| match asked.is_blob() {
        true => changed(|header, body| (header.replacen("200 OK", "206 Partial Content", 1), body)),
        false => Act::Pass,
    };
    let proxy = Proxy::start(Some(&registry), act);
    let cairn = with(&[("registry.retries", "0")]);
    // The configuration is a document and is taken by its digest; layers are not.
    cairn.fails(
        &["pull", &format!("{}/a:1", proxy.host())],
        1,
        "the registry sends the range",
    );
    // All of it, though the rest was asked for: what is known is skipped.
    let upstream = registry.port;
    let proxy = Proxy::start(Some(&registry), move |asked| {
        match (asked.is_blob(), asked.header("range")) {
            (true, None) => Act::CutBody(100_000),
            (true, Some(_)) => Act::Say(whole(upstream, &asked.path)),
            _ => Act::Pass,
        }
    });
    let cairn = Cairn::new();
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
}

/// The answer to a request for all of something.
fn whole(port: u16, path: &str) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut upstream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        upstream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut out = Vec::new();
    upstream.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn wrong_bytes_and_wrong_lengths_are_refused_and_forgotten() {
    let registry = filled!();
    let is_layer = |asked: &Asked, body: &[u8]| asked.is_blob() && body.len() > 10_000;
    let on_layers = move |change: fn(String, Vec<u8>) -> (String, Vec<u8>)| {
        move |asked: &Asked| {
            let asked = asked.clone();
            changed(move |header, body| match is_layer(&asked, &body) {
                true => change(header, body),
                false => (header, body),
            })
        }
    };
    let flipped = |header: String, mut body: Vec<u8>| {
        let last = body.len() - 20_000;
        body[last] ^= 1;
        (header, body)
    };
    refused(&registry, on_layers(flipped), "layer");
    refused(
        &registry,
        on_layers(|header, body| {
            (
                with_line(&header, "content-length", "Content-Length: 12"),
                body,
            )
        }),
        "the registry sends 12 bytes instead of",
    );
    refused(
        &registry,
        on_layers(|header, mut body| {
            body.extend_from_slice(b"more");
            (with_line(&header, "content-length", "X: y"), body)
        }),
        "the registry sends more than the",
    );
    refused(
        &registry,
        on_layers(|header, body| (with_line(&header, "x", "Content-Encoding: gzip"), body)),
        "in an encoding that was not asked for",
    );
    // Documents: by digest, and by what the registry says of a tag.
    refused(
        &registry,
        |asked| match asked.is_manifest() {
            true => changed(|header, body| {
                (
                    header,
                    [&body[..body.len() - 1], b" }"].concat()[..body.len()].to_vec(),
                )
            }),
            false => Act::Pass,
        },
        "the registry sent sha256:",
    );
}

#[test]
fn endless_and_huge_answers_are_bounded() {
    let registry = filled!();
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    for wanted in [Asked::is_manifest as fn(&Asked) -> bool, Asked::is_blob] {
        let proxy = refused(
            &registry,
            move |asked| match wanted(asked) {
                true => Act::Endless(endless.into()),
                false => Act::Pass,
            },
            "the registry sends more than",
        );
        assert!(proxy.sent() < 60 << 20, "{}", proxy.sent());
    }
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\nConnection: close\r\n\r\n";
    let proxy = refused(
        &registry,
        move |asked| match asked.is_manifest() {
            true => Act::Endless(said.into()),
            false => Act::Pass,
        },
        "the registry sends 104857600 bytes, but at most 8388608 are allowed",
    );
    assert!(proxy.sent() < 60 << 20, "{}", proxy.sent());
    refused(
        &registry,
        |_| Act::Endless("HTTP/1.1 200 OK\r\nX: ".into()),
        "headers of more than",
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5000));
    refused(
        &registry,
        move |_| Act::Say(many.clone().into()),
        "127.0.0.1",
    );
    refused(
        &registry,
        |_| Act::Say(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        "does not speak http",
    );
}

#[test]
fn redirects_carry_no_credentials_and_end() {
    let registry = filled!();
    let elsewhere = Arc::new(Proxy::start(Some(&registry), |asked| {
        assert_eq!(asked.header("authorization"), None);
        Act::Pass
    }));
    let (host, known) = (elsewhere.host(), elsewhere.clone());
    let proxy = Proxy::start(Some(&registry), move |asked| {
        if asked.path.starts_with("/token") {
            return Act::status("200 OK", "", r#"{"token":"t"}"#);
        }
        if asked.header("authorization") != Some("Bearer t") {
            let own = asked.header("host").unwrap_or_default();
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{own}/token\"\r\n");
            return Act::status("401 Unauthorized", &challenge, "");
        }
        match asked.is_blob() {
            true => Act::status(
                "307 Temporary Redirect",
                &format!("Location: http://{host}{}\r\n", asked.path),
                "",
            ),
            false => Act::Pass,
        }
    });
    let cairn = Cairn::new();
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
    assert_eq!(known.count(Asked::is_blob), 3);
    assert_eq!(
        known.count(|asked| asked.header("authorization").is_some()),
        0
    );
    for (to, words) in [
        ("/v2/a/blobs/again", "redirects more than 5 times"),
        ("ftp://127.0.0.1/x", "cannot be followed"),
        ("http://user:secret@127.0.0.1/x", "cannot be followed"),
        ("", "an address that is empty"),
    ] {
        let act = move |asked: &Asked| match asked.path.contains("/blobs/") {
            true => Act::status("302 Found", &format!("Location: {to}\r\n"), ""),
            false => Act::Pass,
        };
        let proxy = refused(&registry, act, words);
        assert!(proxy.asked().len() < 20);
    }
}

#[test]
fn a_layer_that_unpacks_to_more_than_is_allowed_is_refused() {
    use std::io::Write;
    let tar = common::Tar::new()
        .file("zeros", &vec![0; 30_000_000])
        .done();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tar).unwrap();
    let layer = gzip.finish().unwrap();
    assert!(layer.len() < 100_000);
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [common::sha256(&tar)]}}).to_string();
    let manifest = serde_json::json!({"schemaVersion": 2,
        "config": {"digest": common::sha256(config.as_bytes()), "size": config.len()},
        "layers": [{"digest": common::sha256(&layer), "size": layer.len()}]})
    .to_string();
    let blobs = [
        ("1".to_owned(), manifest.into_bytes()),
        (
            common::sha256(config.as_bytes()),
            config.clone().into_bytes(),
        ),
        (common::sha256(&layer), layer),
    ];
    let proxy = Proxy::start(None, move |asked| {
        let found = blobs
            .iter()
            .find(|(name, _)| asked.path.ends_with(&format!("/{name}")));
        let (_, body) = found.unwrap();
        let header = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Act::Say([header.as_bytes(), body].concat())
    });
    let reference = format!("{}/a:1", proxy.host());
    let cairn = with(&[("import.max-bytes", "20M")]);
    cairn.fails(&["pull", &reference], 1, "layer 1");
    assert!(cairn.image_names().is_empty());
    cairn.ok(&["config", "set", "import.max-bytes", "40M"]);
    cairn.ok(&["pull", &reference]);
}

/// A pull that is killed once it has kept something of a blob; bytes that were sent meanwhile.
fn killed(cairn: &Cairn, proxy: &Proxy) {
    let mut command = cairn.command(&["pull", &format!("{}/a:1", proxy.host())]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a part is kept", || {
        kept(cairn).iter().any(|(_, bytes)| *bytes >= 150_000)
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_pull_fetched_is_not_fetched_again() {
    let registry = filled!();
    let stalling = Proxy::start(Some(&registry), |asked| match asked.is_blob() {
        true => Act::Stall(200_000),
        false => Act::Pass,
    });
    let cairn = Cairn::new();
    killed(&cairn, &stalling);
    let before: u64 = kept(&cairn).iter().map(|(_, bytes)| bytes).sum();
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
    let all = 2 * LAYER_BYTES as u64;
    assert!(
        before >= 150_000 && proxy.sent() <= all - before + 20_000,
        "{before} + {}",
        proxy.sent()
    );
}

#[test]
fn a_kept_part_that_a_power_cut_spoiled_is_fetched_again() {
    let registry = filled!();
    let stalling = Proxy::start(Some(&registry), |asked| match asked.is_blob() {
        true => Act::Stall(200_000),
        false => Act::Pass,
    });
    for (from, bytes) in [(100_000, 50_000), (0, 1000), (149_999, 1)] {
        let cairn = Cairn::new();
        killed(&cairn, &stalling);
        for (path, len) in kept(&cairn) {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let zeros = vec![0; bytes.min(len.saturating_sub(from) as usize)];
            std::os::unix::fs::FileExt::write_all_at(&file, &zeros, from).unwrap();
        }
        let reference = format!("{}/a:1", registry.host());
        cairn.ok(&["pull", &reference]);
        is_whole(&cairn, &reference);
    }
}

#[test]
fn unfinished_downloads_are_collected_when_nobody_came_back() {
    let registry = filled!();
    let stalling = Proxy::start(Some(&registry), |asked| match asked.is_blob() {
        true => Act::Stall(200_000),
        false => Act::Pass,
    });
    let cairn = Cairn::new();
    killed(&cairn, &stalling);
    cairn.ok(&["gc"]);
    let before = kept(&cairn);
    assert!(!before.is_empty());
    let (old, _) = &before[0];
    let touched = std::process::Command::new("touch")
        .args(["-d", "8 days ago"])
        .arg(old)
        .status();
    assert!(touched.unwrap().success());
    cairn.ok(&["gc"]);
    assert_eq!(kept(&cairn), before[1..]);
    let bytes: u64 = before[1..].iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(
        cairn.json(&["gc", "--prune-cache"])["download_bytes"],
        bytes
    );
    assert_eq!(kept(&cairn), []);
}

#[test]
fn two_pulls_at_once_fetch_an_image_once() {
    let registry = filled!();
    let proxy = Proxy::start(Some(&registry), |_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Act::Pass
    });
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    let reference = format!("{}/a:1", proxy.host());
    let start = || {
        cairn
            .command(&["pull", &reference])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut pulls = [start(), start(), start()];
    assert!(pulls.iter_mut().all(|pull| pull.wait().unwrap().success()));
    is_whole(&cairn, &reference);
    assert!(
        proxy.sent() < 2 * LAYER_BYTES as u64 + 50_000,
        "{}",
        proxy.sent()
    );
}

#[test]
fn a_tag_that_moves_does_not_mix_two_images() {
    let registry = filled!();
    let count = AtomicUsize::new(0);
    // From the second time on the tag is something else.
    let proxy = Proxy::start(Some(&registry), move |asked| {
        match asked.path.ends_with("/manifests/1") {
            true if count.fetch_add(1, Ordering::SeqCst) > 0 => Act::status("200 OK", "", "{}"),
            _ => Act::Pass,
        }
    });
    let cairn = Cairn::new();
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["pull", &reference]);
    is_whole(&cairn, &reference);
    assert_eq!(proxy.count(|asked| asked.path.ends_with("/manifests/1")), 1);
    cairn.fails(&["pull", &reference], 1, "it is not an image");
    is_whole(&cairn, &reference);
}
