//! What `docs/security.md` states is tested: every test that it names exists.

use std::path::Path;

/// `attack::links::links_in_etc…`, `run::the_container_is_shut_in`, `names`: a file of tests, and how the name
/// of a test in it begins, if one is meant.
fn named(document: &str) -> Vec<&str> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

fn exists(test: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (file, name) = match test.strip_prefix("attack::") {
        Some(rest) => {
            let (module, name) = rest.split_once("::").unwrap_or((rest, ""));
            (root.join(format!("tests/attack/{module}.rs")), name)
        }
        None => {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            let tests = root.join("crates/cairn-cli/tests");
            // Some are folders with a file for each part.
            match (name.split_once("::"), tests.join(file).is_dir()) {
                (Some((part, name)), true) => (tests.join(file).join(format!("{part}.rs")), name),
                _ => (tests.join(format!("{file}.rs")), name),
            }
        }
    };
    let Ok(source) = std::fs::read_to_string(file) else {
        return false;
    };
    let begins = format!("\nfn {}", name.trim_end_matches('…'));
    let begins = if name.ends_with('…') || name.is_empty() {
        begins
    } else {
        begins + "()"
    };
    source
        .split("#[test]")
        .skip(1)
        .any(|test| test.starts_with(&begins))
}

#[test]
fn every_test_that_the_document_names_exists() {
    let document = include_str!("../../docs/security.md");
    let tests = named(document);
    assert!(tests.len() > 20, "{tests:?}");
    let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "docs/security.md names {missing:?}");
    // It is able to fail.
    assert!(exists("attack::statements::every_test…"));
    assert!(!exists("attack::statements::every_nothing…"));
    assert!(!exists("attack::statements::every_test"));
    assert!(!exists("attack::nowhere"));
}
