//! Commands that change something say with `--json` what they did, and go on after a bad name.

mod common;

use common::{Cairn, is_root, noise};

fn prepared() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(4, 9000)).unwrap();
    cairn.import_dir(&tree, "img:1");
    cairn
}

#[test]
fn every_command_that_changes_something_prints_an_object_of_what_it_did() {
    let cairn = prepared();
    let image = cairn.json(&["inspect", "img:1"])["id"].clone();
    let tagged = cairn.json(&["tag", "img:1", "other:2"]);
    assert_eq!(tagged["id"], image);
    assert!(tagged["name"].as_str().unwrap().ends_with("other:2"));
    for key in ["a", "b", "c"] {
        let plan = cairn.json(&["snapshot", "prepare", key, "img:1"]);
        assert!(plan["driver"].is_string());
    }
    assert_eq!(
        cairn.json(&["snapshot", "label", "a", "x=y"])["labels"]["x"],
        "y"
    );
    let committed = cairn.json(&["snapshot", "commit", "done", "a"]);
    assert_eq!(committed["name"], "done");
    assert_eq!(committed["kind"], "committed");
    let removed = cairn.json(&["snapshot", "rm", "b", "done"]);
    assert_eq!(removed["removed"], serde_json::json!(["b", "done"]));
    let out = cairn.path("out.tar");
    let exported = cairn.json(&["export", "img:1", "-o", out.to_str().unwrap()]);
    assert_eq!(exported["images"], serde_json::json!([image]));
    assert_eq!(exported["output"], out.to_str().unwrap());
    let out = cairn.path("out");
    let args = [
        "export",
        "img:1",
        "--format",
        "dir",
        "-o",
        out.to_str().unwrap(),
    ];
    assert_eq!(cairn.json(&args)["left_out"], serde_json::json!([]));
    if !is_root() {
        return;
    }
    let place = cairn.path("place");
    std::fs::create_dir(&place).unwrap();
    let at = place.to_str().unwrap();
    let mounted = cairn.json(&["mount", "c", at]);
    assert_eq!(mounted["snapshot"], "c");
    let unmounted = cairn.json(&["unmount", at]);
    assert_eq!(unmounted["snapshots"], serde_json::json!(["c"]));
}

#[test]
fn snapshot_rm_goes_on_after_a_bad_name_and_exits_1() {
    let cairn = prepared();
    for key in ["a", "b"] {
        cairn.ok(&["snapshot", "prepare", key, "img:1"]);
    }
    let args = ["snapshot", "rm", "a", "nosuch", "b", "neither"];
    let err = cairn.fails(&args, 1, "nosuch");
    assert!(err.contains("neither"), "{err}");
    assert_eq!(err.lines().count(), 2, "{err}");
    assert_eq!(cairn.json(&["snapshot", "ls"]).as_array().unwrap().len(), 1);
    cairn.ok(&["snapshot", "prepare", "a", "img:1"]);
    let output = cairn.output(&["--json", "snapshot", "rm", "nosuch", "a"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["removed"], serde_json::json!(["a"]));
    assert_eq!(json["errors"][0]["name"], "nosuch");
}
