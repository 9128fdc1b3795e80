//! The page of `stats --html`, in a real browser: its figures are those of the command, keys do everything, and what
//! images are called does nothing.

mod common;

use std::process::Command;

use common::{Cairn, Tar, docker_archive, has, noise};
use serde_json::{Value, json};

/// Names that would do something if they were more than text.
const HOSTILE: [&[u8]; 7] = [
    b"x</script><script>pwned=1</script>",
    b"x<img src=x onerror=pwned=1>",
    b"x<!--<script>",
    "x\u{2028}pwned=1\u{2029}".as_bytes(),
    "x\u{202e}gpj.exe".as_bytes(),
    b"x\xff\xfe.bin",
    b"=cmd|' /C calc'!A0",
];

/// Images that share layers, files and chunks, with names of all kinds.
fn repository() -> Cairn {
    let cairn = Cairn::new();
    let base = Tar::new()
        .file("usr/lib/libbase.so.1", &noise(1, 300_000))
        .file("usr/bin/tool", &noise(2, 40_000))
        .file("etc/base.conf", b"base")
        .done();
    for (n, name) in ["a:1", "b:1", "c:1"].iter().enumerate() {
        let seed = 10 + n as u64;
        let mut own = Tar::new()
            .file("app/main.py", &noise(seed, 20_000))
            .file("app/node_modules/left/index.js", &noise(7, 9_000))
            .file(
                "app/data.bin",
                &[noise(3, 400_000), noise(seed, 90_000)].concat(),
            )
            .file("etc/base.conf", format!("own {n}").as_bytes());
        for hostile in HOSTILE {
            let content = noise(seed * 31 + hostile.len() as u64, 500);
            own = file_named(own, &[b"app/", hostile].concat(), &content);
        }
        let archive = cairn.path("archive.tar");
        std::fs::write(
            &archive,
            docker_archive(name, &[base.clone(), own.done()], |_| ()),
        )
        .unwrap();
        cairn.ok(&["import", archive.to_str().unwrap()]);
    }
    cairn
}

fn file_named(mut tar: Tar, path: &[u8], content: &[u8]) -> Tar {
    let mut header = Tar::header("", tar::EntryType::Regular, content.len() as u64);
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_cksum();
    tar.0.append(&header, content).unwrap();
    tar
}

/// What the command says, for the page to be compared with.
fn expected(cairn: &Cairn) -> Value {
    let sets = [
        &["a:1"][..],
        &["a:1", "b:1"],
        &["b:1", "c:1"],
        &["a:1", "b:1", "c:1"],
    ];
    let name = |short: &str| {
        let stats = cairn.json(&["stats"]);
        let images = stats["images"].as_array().unwrap().clone();
        let mut names = images
            .iter()
            .map(|image| image["name"].as_str().unwrap().to_owned());
        names.find(|name| name.ends_with(short)).unwrap()
    };
    let removal = |set: &&[&str]| {
        let answer = cairn.json(&["stats", "--what-if-removed", &set.join(",")]);
        let images: Vec<String> = set.iter().map(|short| name(short)).collect();
        json!({ "images": images, "bytes": answer["unneeded_bytes"] })
    };
    let removals: Vec<Value> = sets.iter().map(removal).collect();
    json!({
        "stats": cairn.json(&["stats"]),
        "removals": removals,
        "word": "left",
        "paths": [
            "/app/x</script><script>pwned=1</script>",
            "/app/x<img src=x onerror=pwned=1>",
            "/app/x\\u{2028}pwned=1\\u{2029}",
            "/app/x\\u{202e}gpj.exe",
            "/app/x\\xff\\xfe.bin",
        ],
    })
}

#[test]
fn the_page_says_what_the_command_says_and_does_nothing_else() {
    if !has("node") || !has("chromium") {
        skip!("the page needs node and chromium");
    }
    let cairn = repository();
    let (page, wanted) = (cairn.path("page.html"), cairn.path("expected.json"));
    std::fs::write(&wanted, expected(&cairn).to_string()).unwrap();
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/page/check.mjs");
    let mut check = Command::new("node");
    check.arg(script).args([&page, &wanted]);
    if let Some(shots) = std::env::var_os("CAIRN_SHOTS") {
        check.arg(shots);
    }
    let done = check.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

#[test]
fn the_page_is_replaced_at_once_or_not_at_all() {
    let cairn = repository();
    let page = cairn.path("page.html");
    std::fs::write(&page, "before").unwrap();
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"));
    assert!(!text.contains("pwned=1</script>"));
    let nowhere = cairn.path("nowhere/page.html");
    cairn.fails(
        &["stats", "--html", nowhere.to_str().unwrap()],
        1,
        "nowhere",
    );
    cairn.fails(&["stats", "--html", "x", "--by", "path"], 2, "");
}
