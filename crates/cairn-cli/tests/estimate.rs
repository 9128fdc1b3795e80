//! What an import would bring, before it is written: `estimate` and `import --dry-run`.

mod common;

use common::{Cairn, Tar, docker_archive, noise};
use serde_json::Value;

fn sum_of_files(root: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.metadata().unwrap() {
                meta if meta.is_dir() => todo.push(entry.path()),
                meta => all.push((entry.path(), meta.len())),
            }
        }
    }
    all.sort();
    all
}

fn archive(cairn: &Cairn, name: &str, layers: &[Vec<u8>]) -> String {
    let path = cairn.path(&format!("{}.tar", name.replace([':', '/'], "-")));
    std::fs::write(&path, docker_archive(name, layers, |_| ())).unwrap();
    path.to_str().unwrap().to_owned()
}

fn bytes(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field}: {value:#}"))
}

#[test]
fn an_estimate_is_what_the_import_then_does_and_writes_nothing() {
    let cairn = Cairn::new();
    let base = Tar::new().file("base", &noise(1, 700_000)).done();
    let first = archive(&cairn, "app:1", std::slice::from_ref(&base));
    let own = Tar::new()
        .file("again", &noise(1, 700_000))
        .file("large", &noise(2, 400_000))
        .file("small", b"a few words")
        .done();
    let second = archive(&cairn, "app:2", &[base, own]);
    cairn.ok(&["import", &first]);
    let before = sum_of_files(&cairn.root());
    let estimate = cairn.json(&["estimate", &second]);
    let dry_run = cairn.json(&["import", "--dry-run", &second]);
    assert_eq!(sum_of_files(&cairn.root()), before, "nothing was written");
    assert_eq!(estimate, dry_run);
    assert_eq!(estimate["images"][0]["layers_present"], 1);
    let files = estimate["files"].as_array().unwrap();
    assert_eq!(files[0]["path"], "/large");
    assert_eq!(bytes(&files[0], "bytes_new"), 400_000);
    assert!(
        files.iter().all(|file| file["path"] != "/again"),
        "its content is there"
    );
    assert_eq!(bytes(&estimate, "files_new"), 2);
    assert_eq!(estimate["layers"][0]["present"], true);
    let imported = &cairn.json(&["import", &second])[0];
    assert_eq!(bytes(&estimate, "bytes_new"), bytes(imported, "bytes_new"));
    assert_eq!(
        bytes(&estimate, "bytes_stored"),
        bytes(imported, "bytes_stored")
    );
    let again = cairn.json(&["estimate", &second]);
    assert_eq!(bytes(&again, "files_new"), 0);
    assert_eq!(bytes(&again, "source_bytes"), 0);
}

#[test]
fn directories_and_tars_are_estimated_also_where_there_is_no_repository() {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(5, 300_000)).unwrap();
    let at = tree.to_str().unwrap();
    let estimate = cairn.json(&["estimate", at]);
    assert!(bytes(&estimate, "bytes_new") > 300_000);
    assert!(!cairn.root().exists());
    let tar = cairn.path("root.tar");
    std::fs::write(&tar, common::tar_of(&tree)).unwrap();
    let of_tar = cairn.json(&["estimate", tar.to_str().unwrap()]);
    assert_eq!(of_tar["files"], estimate["files"]);
    cairn.import_dir(&tree, "tree");
    let text = cairn.ok(&["import", "-n", at]);
    assert!(text.contains("new 0 B"), "{text}");
    cairn.fails(&["estimate", "/nosuch/file"], 1, "/nosuch/file");
}

#[test]
fn names_of_files_are_escaped_and_a_bad_archive_is_refused_as_by_an_import() {
    let cairn = Cairn::new();
    let layer = Tar::new()
        .file("a\x1b[31m</script>", &noise(9, 10_000))
        .done();
    let hostile = archive(&cairn, "h:1", &[layer]);
    let text = cairn.ok(&["estimate", &hostile]);
    assert!(
        text.contains("</script>") && !text.contains('\x1b'),
        "{text}"
    );
    let broken = cairn.path("broken.tar");
    std::fs::write(&broken, b"no archive").unwrap();
    cairn.fails(
        &["estimate", broken.to_str().unwrap()],
        1,
        "neither an archive nor a tar",
    );
}
