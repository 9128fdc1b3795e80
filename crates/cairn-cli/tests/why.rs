//! `cairn why` and `cairn orphans`: what keeps something, and what nobody asks for.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

fn import(cairn: &Cairn, name: &str, layers: &[u64]) {
    let layer = |seed: &u64| Tar::new().file("file", &noise(*seed, 100_000)).done();
    let layers: Vec<Vec<u8>> = layers.iter().map(layer).collect();
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive(name, &layers, |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
}

/// Each way as words.
fn ways(found: &Value) -> Vec<String> {
    let ways = found[0]["ways"].as_array().unwrap().iter();
    let mut ways: Vec<String> = ways
        .map(|way| {
            let steps = way.as_array().unwrap().iter();
            let words = |step: &Value| {
                format!(
                    "{} {}",
                    step["kind"].as_str().unwrap(),
                    step["name"].as_str().unwrap()
                )
            };
            steps.map(words).collect::<Vec<_>>().join(" > ")
        })
        .collect();
    ways.sort();
    ways
}

#[test]
fn the_ways_to_a_layer_and_a_blob_lead_through_all_that_stands_on_it() {
    let cairn = Cairn::new();
    import(&cairn, "base:1", &[1]);
    import(&cairn, "app:1", &[1, 2]);
    cairn.ok(&["snapshot", "prepare", "mine", "app:1"]);
    let layers = cairn.json(&["inspect", "app:1"])["layers"].clone();
    let lowest = layers[0]["id"].as_str().unwrap().to_owned();
    let chain: Vec<String> = cairn
        .json(&["snapshot", "ls"])
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["kind"] == "committed")
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    let base = cairn.json(&["inspect", "base:1"])["top_snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    let top = cairn.json(&["inspect", "app:1"])["top_snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(chain.len(), 2);
    let found = ways(&cairn.json(&["why", &lowest]));
    let expected = [
        format!("image app:1 > snapshot {top} > snapshot {base}"),
        format!("image base:1 > snapshot {base}"),
        format!("snapshot mine > snapshot {top} > snapshot {base}"),
    ];
    assert_eq!(found, expected);
    // A younger child keeps what its image's name does not any more.
    cairn.ok(&["rmi", "base:1"]);
    let text = cairn.ok(&["why", &base]);
    assert!(
        text.contains("image app:1 > ") && !text.contains("base:1"),
        "{text}"
    );
    // The file that has a blob is at the end of its way.
    let layer = cairn.json(&["which", "--in", "app:1", "/file"]);
    assert!(layer.is_array());
    let manifest = layers[1]["id"].as_str().unwrap();
    assert!(!ways(&cairn.json(&["why", manifest])).is_empty());
    // Names, images and containers.
    assert!(cairn.ok(&["why", "app:1"]).contains("name app:1"));
    assert!(
        cairn
            .ok(&["why", "mine"])
            .contains("itself, until it is removed")
    );
    cairn.fails(&["why", "nosuch"], 1, "nosuch");
    cairn.fails(&["why", "00000000deadbeef"], 1, "00000000deadbeef");
}

#[test]
fn what_a_collection_would_take_has_no_way() {
    let cairn = Cairn::new();
    import(&cairn, "app:1", &[1, 2]);
    let layers = cairn.json(&["inspect", "app:1"])["layers"].clone();
    let layer = layers[1]["diff_id"].as_str().unwrap().to_owned();
    cairn.ok(&["rmi", "app:1"]);
    let text = cairn.ok(&["why", &layer]);
    assert!(text.contains("is needed by nothing"), "{text}");
    cairn.ok(&["gc"]);
    cairn.fails(&["why", &layer], 1, "");
}

#[test]
fn orphans_are_named_with_what_removes_them() {
    let cairn = Cairn::new();
    import(&cairn, "app:1", &[1]);
    assert_eq!(cairn.json(&["orphans"]), serde_json::json!([]));
    import(&cairn, "app:1", &[2]);
    cairn.ok(&["snapshot", "prepare", "mine", "app:1"]);
    let found = cairn.json(&["orphans"]);
    let kinds: Vec<&str> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["image", "snapshot"], "{found}");
    // What it says to run does what it says to free.
    let freed = found[0]["bytes"].as_u64().unwrap();
    let remove: Vec<&str> = found[0]["remove"]
        .as_str()
        .unwrap()
        .split(' ')
        .skip(1)
        .collect();
    cairn.ok(&remove);
    assert_eq!(cairn.json(&["orphans"])[1]["kind"], "data");
    assert_eq!(cairn.json(&["gc"])["freed_bytes"].as_u64().unwrap(), freed);
    cairn.ok(&["snapshot", "rm", "mine"]);
    assert_eq!(cairn.json(&["orphans"]), serde_json::json!([]));
}
