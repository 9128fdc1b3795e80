//! `cairn diff IMAGE IMAGE`: paths, what they take, and packages.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

fn import(cairn: &Cairn, name: &str, layer: Vec<u8>) {
    let path = cairn.path("archive.tar");
    std::fs::write(&path, docker_archive(name, &[layer], |_| ())).unwrap();
    cairn.ok(&["import", path.to_str().unwrap()]);
}

fn two() -> Cairn {
    let cairn = Cairn::new();
    let dpkg = |version: &str| {
        format!(
            "Package: bash\nStatus: install ok installed\nVersion: {version}\n\nPackage: tzdata\nVersion: 2024a\n"
        )
    };
    let old = Tar::new()
        .file("var/lib/dpkg/status", dpkg("5.1").as_bytes())
        .file(
            "srv/node_modules/left-pad/package.json",
            br#"{"name":"left-pad","version":"1.0.0"}"#,
        )
        .file("data/grows", &noise(1, 600_000))
        .file("data/goes", &noise(2, 100_000))
        .done();
    let mut grown = noise(1, 600_000);
    grown.extend(noise(3, 50_000));
    let new = Tar::new()
        .file("var/lib/dpkg/status", dpkg("5.2").as_bytes())
        .file(
            "usr/lib/python3/six.dist-info/METADATA",
            b"Name: six\nVersion: 1.16.0\n\ntext\n",
        )
        .file("data/grows", &grown)
        .file("data/came", &noise(4, 200_000))
        .done();
    import(&cairn, "app:1", old);
    import(&cairn, "app:2", new);
    cairn
}

fn file<'a>(found: &'a Value, path: &str) -> &'a Value {
    let all = found["files"].as_array().unwrap();
    all.iter()
        .find(|file| file["path"] == path)
        .unwrap_or_else(|| panic!("{path}: {found:#}"))
}

#[test]
fn paths_and_what_they_add_to_what_is_stored() {
    let cairn = two();
    let found = cairn.json(&["diff", "app:1", "app:2"]);
    assert_eq!(file(&found, "/data/came")["change"], "added");
    assert_eq!(file(&found, "/data/goes")["change"], "deleted");
    assert_eq!(file(&found, "/data/goes")["stored_bytes"], 0);
    let grows = file(&found, "/data/grows");
    assert_eq!(
        (&grows["old_bytes"], &grows["new_bytes"]),
        (&600_000.into(), &650_000.into())
    );
    // What is the same at its beginning is stored once.
    assert!(grows["stored_bytes"].as_u64().unwrap() < 400_000, "{grows}");
    let came = file(&found, "/data/came")["stored_bytes"].as_u64().unwrap();
    assert!((200_000..210_000).contains(&came), "{came}");
    let sum: u64 = found["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["stored_bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(found["stored_bytes"], sum);
    let none = cairn.json(&["diff", "app:1", "app:1"]);
    assert_eq!(none["files"], serde_json::json!([]));
}

#[test]
fn versions_of_packages() {
    let cairn = two();
    let found = cairn.json(&["diff", "app:1", "app:2"]);
    let change = |manager: &str, name: &str, old: &[&str], new: &[&str]| serde_json::json!({"manager": manager, "name": name, "old": old, "new": new});
    let expected = [
        change("dpkg", "bash", &["5.1"], &["5.2"]),
        change("python", "six", &[], &["1.16.0"]),
        change("node", "left-pad", &["1.0.0"], &[]),
    ];
    assert_eq!(found["packages"], serde_json::json!(expected));
    let text = cairn.ok(&["diff", "app:1", "app:2", "--packages"]);
    assert!(text.contains("bash") && !text.contains("/data/"), "{text}");
}

#[test]
fn text_can_be_sorted_and_one_argument_is_still_a_container() {
    let cairn = two();
    let text = cairn.ok(&["diff", "app:1", "app:2", "--sort", "stored"]);
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    assert!(at("/data/came") < at("/data/goes"), "{text}");
    cairn.fails(&["diff", "app:1"], 1, "container app:1 does not exist");
    cairn.fails(&["diff", "web", "--packages"], 2, "two images");
    cairn.fails(&["diff", "app:1", "nosuch:1"], 1, "nosuch:1");
}
