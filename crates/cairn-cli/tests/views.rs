//! Views of what is stored: whatever is asked, columns add up to the lines of `stats`.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

const VIEWS: [&str; 8] = [
    "image", "layer", "snapshot", "path", "file", "type", "package", "time",
];
const COLUMNS: [&str; 3] = ["content_bytes", "unique_bytes", "stored_bytes"];

fn import(cairn: &Cairn, name: &str, layers: &[Vec<u8>]) {
    let archive = cairn.path("archive.tar");
    std::fs::write(&archive, docker_archive(name, layers, |_| ())).unwrap();
    cairn.ok(&["import", archive.to_str().unwrap()]);
}

/// Images that share layers, files and chunks, cover and delete files, and have records of packages.
fn repository() -> Cairn {
    let cairn = Cairn::new();
    let large = noise(5, 700_000);
    let mut changed = large.clone();
    changed[..1000].fill(7);
    let base = Tar::new()
        .file("usr/lib/liba.so.1", &noise(1, 50_000))
        .file("usr/lib/copy.so.1", &noise(1, 50_000))
        .file("usr/share/big", &large)
        .file("var/lib/dpkg/info/liba.list", b"/usr/lib/liba.so.1\n")
        .done();
    let own = Tar::new()
        .file("usr/share/big", &changed)
        .file("app/lib/site-packages/six.py", &noise(2, 8_000))
        .file(
            "app/lib/site-packages/six-1.0.dist-info/RECORD",
            b"six.py,,\n",
        )
        .link("usr/lib/.wh.copy.so.1", "", tar::EntryType::Regular)
        .done();
    let other = Tar::new()
        .file("app/node_modules/left/index.js", &noise(3, 30_000))
        .file("usr/lib/liba.so.1", &noise(1, 50_000))
        .done();
    import(&cairn, "a:1", &[base.clone(), own]);
    import(&cairn, "b:1", &[base, other.clone()]);
    import(&cairn, "c:1", &[other]);
    cairn
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

/// The sum of a column, and that it is what the view says of itself.
fn summed(view: &Value, column: &str) -> u64 {
    let rows = view["rows"].as_array().unwrap();
    let sum = rows.iter().map(|row| number(row, column)).sum();
    assert_eq!(number(&view["total"], column), sum, "{column} of {view}");
    sum
}

fn assert_adds_up(view: &Value) {
    let stored = COLUMNS.map(|column| summed(view, column))[2];
    let exclusive = summed(view, "exclusive_bytes");
    assert_eq!(exclusive + number(view, "several_rows_bytes"), stored);
}

fn row<'a>(view: &'a Value, name: &str) -> &'a Value {
    let mut rows = view["rows"].as_array().unwrap().iter();
    let found = rows.find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {view}"))
}

#[test]
fn columns_of_every_view_add_up_to_the_lines_of_stats() {
    let cairn = repository();
    for step in [
        "all",
        "after a removal",
        "after a collection",
        "after a commit",
    ] {
        let stats = cairn.json(&["stats"]);
        for by in VIEWS {
            let view = cairn.json(&["stats", "--by", by, "--depth", "3"]);
            assert_adds_up(&view);
            let lines = ["logical_bytes", "unique_bytes", "stored_content_bytes"];
            for (column, line) in COLUMNS.iter().zip(lines) {
                assert_eq!(
                    summed(&view, column),
                    number(&stats, line),
                    "{step}: {column} by {by}"
                );
            }
        }
        match step {
            "all" => drop(cairn.ok(&["rmi", "b:1"])),
            "after a removal" => drop(cairn.ok(&["gc", "--all"])),
            _ => {
                cairn.ok(&[
                    "snapshot",
                    "prepare",
                    step.split(' ').next_back().unwrap(),
                    "c:1",
                ]);
            }
        }
    }
}

#[test]
fn the_waterfall_leads_from_content_to_each_piece_once() {
    let cairn = repository();
    let stats = cairn.json(&["stats"]);
    let less = [
        "logical_holes_bytes",
        "same_files_in_image_bytes",
        "same_files_between_images_bytes",
        "same_chunks_bytes",
    ];
    let left =
        number(&stats, "logical_bytes") - less.map(|line| number(&stats, line)).iter().sum::<u64>();
    assert_eq!(left, number(&stats, "unique_bytes"));
    // A copy in the base of each of two images; the base and a library twice; all but the first chunk of a large file.
    assert_eq!(number(&stats, "same_files_in_image_bytes"), 3 * 50_000);
    assert!(number(&stats, "same_files_between_images_bytes") > 780_000);
    assert!(number(&stats, "same_chunks_bytes") > 300_000);
}

#[test]
fn rows_are_what_their_names_say() {
    let cairn = repository();
    let packages = cairn.json(&["stats", "--by", "package"]);
    assert_eq!(number(row(&packages, "deb liba"), "unique_bytes"), 50_000);
    assert_eq!(number(row(&packages, "python six"), "unique_bytes"), 8_000);
    assert_eq!(number(row(&packages, "node left"), "unique_bytes"), 30_000);
    let types = cairn.json(&["stats", "--by", "type"]);
    assert_eq!(
        number(row(&types, "shared library"), "unique_bytes"),
        50_000
    );
    let paths = cairn.json(&["stats", "--by", "path", "--depth", "2"]);
    row(&paths, "/usr/lib");
    let files = cairn.json(&["stats", "--by", "file"]);
    row(&files, "/app/node_modules/left/index.js");
    let top = cairn.json(&["stats", "--by", "file", "--top", "1"]);
    assert_eq!(top["rows"].as_array().unwrap().len(), 2);
    assert_adds_up(&top);
    cairn.ok(&["snapshot", "prepare", "mine", "a:1"]);
    let heads = cairn.json(&["stats", "--by", "head"]);
    row(&heads, "mine");
    assert_adds_up(&heads);
}

#[test]
fn one_image_has_what_it_needs_and_alone_what_nobody_else_needs() {
    let cairn = repository();
    let stats = cairn.json(&["stats"]);
    for image in stats["images"].as_array().unwrap() {
        let name = image["name"].as_str().unwrap();
        let of_image = |by: &str| cairn.json(&["stats", "--by", by, "--image", name]);
        let (paths, whole) = (of_image("path"), of_image("image"));
        assert_adds_up(&paths);
        assert_adds_up(&whole);
        assert_eq!(
            summed(&whole, "stored_bytes"),
            summed(&paths, "stored_bytes"),
            "{name}"
        );
        assert_eq!(
            summed(&whole, "content_bytes"),
            number(image, "content_bytes")
        );
        assert!(summed(&whole, "exclusive_bytes") <= number(image, "exclusive_bytes"));
    }
    cairn.fails(&["stats", "--by", "path", "--image", "nosuch"], 1, "nosuch");
    cairn.fails(&["stats", "--image", "a:1"], 2, "--by");
    cairn.fails(&["stats", "--by", "nothing"], 2, "nothing");
}

#[test]
fn what_came_lately_is_what_was_not_there_before() {
    let cairn = repository();
    let all = cairn.json(&["stats", "--by", "file", "--since", "1d"]);
    assert_eq!(all["rows"], cairn.json(&["stats", "--by", "file"])["rows"]);
    let none = cairn.json(&["stats", "--by", "file", "--since", "0s"]);
    let rows = none["rows"].as_array().unwrap().len();
    assert!(rows == 0 || summed(&none, "stored_bytes") > 0);
}

#[test]
fn covered_and_deleted_files_are_named() {
    let cairn = repository();
    let waste = cairn.json(&["stats", "--show", "waste"]);
    let mut images = waste.as_array().unwrap().iter();
    let a = images
        .find(|image| image["image"].as_str().unwrap().ends_with("a:1"))
        .unwrap();
    let paths = a["waste"]["paths"].as_array().unwrap();
    let found: Vec<(&str, u64)> = paths
        .iter()
        .map(|p| (p["path"].as_str().unwrap(), number(p, "bytes")))
        .collect();
    assert_eq!(
        found,
        [("/usr/share/big", 700_000), ("/usr/lib/copy.so.1", 50_000)]
    );
    let (content, seen) = (
        number(&a["waste"], "content_bytes"),
        number(&a["waste"], "visible_bytes"),
    );
    assert_eq!(content - seen, 750_000);
    let text = cairn.ok(&["stats", "--show", "waste"]);
    assert!(
        text.contains("/usr/share/big") && text.contains("EFFICIENCY"),
        "{text}"
    );
}

#[test]
fn layers_histograms_and_growth_are_shown() {
    let cairn = repository();
    let pairs = cairn.json(&["stats", "--show", "sharing"]);
    assert!(number(&pairs[0], "bytes") > 0);
    let bars = cairn.json(&["stats", "--show", "histograms"]);
    let counts = |field: &str| {
        bars[field]
            .as_array()
            .unwrap()
            .iter()
            .map(|bar| number(bar, "bytes"))
            .sum::<u64>()
    };
    let unique = number(&cairn.json(&["stats"]), "unique_bytes");
    assert_eq!(
        (counts("chunk_sizes"), counts("references")),
        (unique, unique)
    );
    cairn.ok(&["rmi", "a:1"]);
    cairn.ok(&["gc", "--all"]);
    let growth = cairn.json(&["stats", "--show", "growth"]);
    let actions: Vec<&str> = growth
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["import", "import", "import", "remove", "gc"]);
    // Nothing depends on it.
    std::fs::remove_file(cairn.root().join("history")).unwrap();
    assert_eq!(
        cairn.json(&["stats", "--show", "growth"]),
        serde_json::json!([])
    );
    for show in ["sharing", "histograms", "growth"] {
        cairn.ok(&["stats", "--show", show]);
    }
    for by in VIEWS {
        assert!(cairn.ok(&["stats", "--by", by]).contains("total"), "{by}");
    }
}
