//! Large layers, whose pieces come over several connections, and pulls and pushes that are killed again and again.

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Cairn, noise};
use registry::{Act, Asked, Proxy, Registry};

const MB: usize = 1 << 20;

/// A repository with the image `app:1` of layers of these sizes, which do not compress.
fn source(layers: &[usize]) -> Cairn {
    let cairn = Cairn::new();
    let layer = |(number, bytes): (usize, &usize)| {
        let name = format!("layer{number}");
        common::Tar::new()
            .file(&name, &noise(number as u64 + 1, *bytes))
            .done()
    };
    let layers: Vec<_> = layers.iter().enumerate().map(layer).collect();
    std::fs::remove_file(cairn.import_layers("app:1", &layers)).unwrap();
    cairn
}

/// The same in a registry, as `a:1`; the image's id.
fn fill(registry: &Registry, layers: &[usize]) -> String {
    let cairn = source(layers);
    let reference = format!("{}/a:1", registry.host());
    cairn.ok(&["push", "app:1", &reference, "--compression", "none"]);
    id(&cairn, "app:1")
}

fn id(cairn: &Cairn, name: &str) -> String {
    cairn.json(&["inspect", name])["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn kept(cairn: &Cairn) -> u64 {
    let entries = std::fs::read_dir(cairn.root().join("downloads"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|e| e.metadata().unwrap().len()).sum()
}

/// Starts of the ranges that were asked for, of blobs that came in parts.
fn starts(proxy: &Proxy) -> BTreeSet<u64> {
    let start = |asked: &Asked| {
        let range = asked.header("range")?.strip_prefix("bytes=")?.to_owned();
        range.split('-').next()?.parse().ok()
    };
    proxy.asked().iter().filter_map(start).collect()
}

#[test]
fn a_large_layer_comes_in_pieces_over_several_connections() {
    let registry = registry!();
    let expected = fill(&registry, &[20 * MB, 1000]);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = most.clone();
    let proxy = Proxy::start(Some(&registry), move |asked| {
        if asked.header("range").is_some() {
            highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        Act::Pass
    });
    let reference = format!("{}/a:1", proxy.host());
    let cairn = Cairn::new();
    cairn.ok(&["pull", &reference]);
    assert_eq!(id(&cairn, &reference), expected);
    assert_eq!((starts(&proxy).len(), kept(&cairn)), (3, 0));
    assert!(most.load(Ordering::SeqCst) > 1, "at the same time");
    assert!(proxy.sent() < 21 * MB as u64, "{}", proxy.sent());
    cairn.ok(&["check"]);
    // One connection, if that is wanted.
    most.store(0, Ordering::SeqCst);
    proxy.forget();
    let cairn = Cairn::new();
    cairn.ok(&["pull", "--jobs", "1", &reference]);
    assert_eq!(starts(&proxy).len(), 0);
}

#[test]
fn pieces_that_are_cut_lie_or_are_not_to_be_had_still_make_the_layer() {
    let registry = registry!();
    let expected = fill(&registry, &[20 * MB]);
    let cut = by_pieces(&registry, &expected, |_, number| match number % 2 {
        0 => Act::CutBody(3 * MB),
        _ => Act::Pass,
    });
    assert!(cut.sent() < 21 * MB as u64, "{}", cut.sent());
    by_pieces(&registry, &expected, |_, number| match number < 4 {
        true => Act::status("503 Service Unavailable", "", ""),
        false => Act::Pass,
    });
    // A registry that knows no ranges sends all of it.
    let port = registry.port;
    by_pieces(&registry, &expected, move |asked, _| {
        Act::Say(whole(port, &asked.path))
    });
}

/// Pulls through a proxy that acts so on each request for a part, given how many there were; it must work.
fn by_pieces(
    registry: &Registry,
    expected: &str,
    act: impl Fn(&Asked, usize) -> Act + Send + Sync + 'static,
) -> Proxy {
    let count = AtomicUsize::new(0);
    let proxy = Proxy::start(Some(registry), move |asked| match asked.header("range") {
        Some(_) => act(asked, count.fetch_add(1, Ordering::SeqCst)),
        None => Act::Pass,
    });
    let reference = format!("{}/a:1", proxy.host());
    let cairn = Cairn::new();
    cairn.ok(&["pull", &reference]);
    assert_eq!(id(&cairn, &reference), expected);
    assert_eq!(kept(&cairn), 0);
    cairn.ok(&["check"]);
    proxy
}

/// The answer to a request for all of something.
fn whole(port: u16, path: &str) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut upstream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    upstream.write_all(question.as_bytes()).unwrap();
    let mut out = Vec::new();
    upstream.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn a_wrong_byte_in_a_piece_is_found_and_the_layer_fetched_once_more_where_that_can_help() {
    let registry = registry!();
    let expected = fill(&registry, &[20 * MB]);
    let flip = |asked: &Asked| match asked.header("range") {
        Some(_) => Act::Change(Box::new(|header, mut body| {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            (header, body)
        })),
        None => Act::Pass,
    };
    let lying = Proxy::start(Some(&registry), flip);
    let cairn = Cairn::new();
    let reference = format!("{}/a:1", lying.host());
    let output = cairn.output(&["pull", &reference]);
    assert!(!output.status.success() && cairn.image_names().is_empty());
    assert!(
        lying.sent() < 25 * MB as u64,
        "its own bytes get no second chance"
    );
    // What an earlier pull left may be wrong after a power cut.
    let slow = Proxy::start(Some(&registry), |_| {
        Act::Slowly(1 << 14, Duration::from_millis(2))
    });
    let mut pull = start(&cairn, &["pull", &format!("{}/a:1", slow.host())]);
    common::eventually("pieces are kept", || kept(&cairn) > MB as u64);
    pull.kill().unwrap();
    pull.wait().unwrap();
    for entry in std::fs::read_dir(cairn.root().join("downloads")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let good = format!("{}/a:1", registry.host());
    cairn.ok(&["pull", &good]);
    assert_eq!((id(&cairn, &good), kept(&cairn)), (expected, 0));
}

#[test]
fn a_slow_drip_is_asked_anew_and_ends_in_an_error_that_says_so() {
    let registry = registry!();
    fill(&registry, &[MB]);
    let proxy = Proxy::start(Some(&registry), |asked| match asked.is_blob() {
        true => Act::Slowly(100, Duration::from_millis(50)),
        false => Act::Pass,
    });
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    cairn.ok(&["config", "set", "registry.timeout", "1"]);
    cairn.ok(&["config", "set", "registry.retries", "1"]);
    let err = cairn.fails(&["pull", &format!("{}/a:1", proxy.host())], 1, "too slowly");
    assert!(
        err.contains("blob sha256:") && err.contains("(2 attempts)"),
        "{err}"
    );
    assert!(cairn.image_names().is_empty());
}

#[test]
fn a_wait_that_the_registry_asks_for_is_kept() {
    let registry = registry!();
    fill(&registry, &[1000]);
    let asked_at: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = asked_at.clone();
    let proxy = Proxy::start(Some(&registry), move |_| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        match times.len() {
            1 => Act::status("429 Too Many Requests", "Retry-After: 2\r\n", ""),
            _ => Act::Pass,
        }
    });
    Cairn::new().ok(&["pull", &format!("{}/a:1", proxy.host())]);
    let times = asked_at.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(2));
}

fn start(cairn: &Cairn, args: &[&str]) -> Child {
    let mut command = cairn.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// How often a pull or push is killed: a few times, and 200 times where `CAIRN_KILL_ROUNDS=200` says so.
fn rounds() -> usize {
    let given = std::env::var("CAIRN_KILL_ROUNDS").ok();
    given.and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// Numbers below a bound, always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

#[test]
fn a_pull_that_is_killed_again_and_again_publishes_nothing_wrong_and_fetches_little_twice() {
    let registry = registry!();
    // So large that each round has its share.
    let rounds = rounds();
    let layers = [rounds.max(20) * MB, 3 * MB, 3 * MB, 1000];
    let expected = fill(&registry, &layers);
    let size = layers.iter().sum::<usize>() as u64;
    let cuts = Mutex::new(Dice(7));
    let proxy = Proxy::start(Some(&registry), move |asked| {
        match asked.is_blob() && cuts.lock().unwrap().below(5) == 0 {
            true => Act::CutBody(100_000),
            false => Act::Slowly(1 << 12, Duration::from_millis(2)),
        }
    });
    let reference = format!("{}/a:1", proxy.host());
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    let (mut dice, mut killed) = (Dice(1), 0);
    for round in 0..rounds {
        let share = dice.below(size / rounds as u64) + 1;
        let until = proxy.sent() + share;
        let mut pull = start(&cairn, &["pull", &reference]);
        let ended = loop {
            if let Some(status) = pull.try_wait().unwrap() {
                break Some(status);
            }
            if proxy.sent() >= until {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        match ended {
            Some(status) => assert!(status.success(), "round {round}"),
            None => {
                pull.kill().unwrap();
                killed += usize::from(!pull.wait().unwrap().success());
                let names = cairn.image_names();
                assert!(names.is_empty() || id(&cairn, &reference) == expected);
            }
        }
        if round % 10 == 0 {
            cairn.ok(&["check"]);
        }
    }
    cairn.ok(&["pull", &reference]);
    assert_eq!((id(&cairn, &reference), kept(&cairn)), (expected, 0));
    cairn.ok(&["check"]);
    let share = proxy.sent() as f64 / size as f64;
    println!("{rounds} rounds, {killed} killed: {share:.3} of the image's {size} bytes were sent");
    assert!(
        killed * 2 > rounds && share <= 1.1,
        "{killed} of {rounds}: {share:.3}"
    );
}

#[test]
fn a_push_that_is_killed_again_and_again_leaves_nothing_wrong_under_the_tag() {
    let registry = registry!();
    let cairn = source(&[18 * MB, 300_000, 1000]);
    let expected = id(&cairn, "app:1");
    let proxy = Proxy::start(Some(&registry), |asked| match asked.method.as_str() {
        "PATCH" => Act::Slowly(10, Duration::from_millis(5)),
        _ => Act::Pass,
    });
    let (mut dice, mut killed) = (Dice(3), 0);
    let rounds = rounds();
    for round in 0..rounds {
        // Half of the time what was pushed before is no help.
        let name = format!("b{}:1", round / 2);
        let (to, from) = (
            format!("{}/{name}", proxy.host()),
            format!("{}/{name}", registry.host()),
        );
        let until = proxy.asked().len() + 1 + dice.below(18) as usize;
        let mut push = start(&cairn, &["push", "app:1", &to, "--compression", "none"]);
        while push.try_wait().unwrap().is_none() && proxy.asked().len() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        push.kill().unwrap();
        killed += usize::from(!push.wait().unwrap().success());
        let reader = Cairn::new();
        let output = reader.output(&["pull", &from]);
        let err = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => assert_eq!(id(&reader, &from), expected),
            false => assert!(err.contains("the registry does not have it"), "{err}"),
        }
    }
    let last = format!("{}/last:1", proxy.host());
    cairn.ok(&["push", "app:1", &last, "--compression", "none"]);
    cairn.ok(&["check"]);
    let reader = Cairn::new();
    reader.ok(&["pull", &last]);
    assert_eq!(id(&reader, &last), expected);
    println!("{rounds} rounds, {killed} killed");
    assert!(killed * 3 > rounds, "{killed} of {rounds}");
}

#[test]
fn an_upload_that_is_cut_goes_on_at_the_range_that_the_registry_reports() {
    let registry = registry!();
    let cairn = source(&[40 * MB]);
    let patches = AtomicUsize::new(0);
    // The second part does not get through.
    let proxy = Proxy::start(Some(&registry), move |asked| match asked.method.as_str() {
        "PATCH" if patches.fetch_add(1, Ordering::SeqCst) == 1 => {
            Act::status("503 Service Unavailable", "", "")
        }
        _ => Act::Pass,
    });
    let reference = format!("{}/a:1", proxy.host());
    cairn.ok(&["push", "app:1", &reference, "--compression", "none"]);
    let bodies: usize = proxy.asked().iter().map(|asked| asked.body.len()).sum();
    assert!(
        bodies < 57 * MB,
        "{bodies}: only what did not get through is sent again"
    );
    let part = |asked: &Asked| asked.header("content-range").map(str::to_owned);
    let parts: Vec<_> = proxy.asked().iter().filter_map(part).take(3).collect();
    assert_eq!(parts[1], parts[2], "{parts:?}");
    let reader = Cairn::new();
    reader.ok(&["pull", &reference]);
    assert_eq!(id(&reader, &reference), id(&cairn, "app:1"));
}
