//! What the library shows to those who embed it is written down in `docs/surface/`, a line an item. Nothing
//! is added to it, taken away or changed by accident.
//!
//! `CAIRN_RENEW=1 cargo test -p cairn-surface` writes it anew. Once a version is released, the same is refused
//! where a line goes, until the version in `Cargo.toml` allows that by the rules of semantic versioning.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use public_api::{Builder, MINIMUM_NIGHTLY_RUST_VERSION as READER};

/// What an embedder names; the crates below are their own business.
const CRATES: [&str; 4] = [
    "cairn-model",
    "cairn-snapshot",
    "cairn-repo",
    "cairn-container",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Writes the documentation of [`CRATES`] as JSON and returns where it is. Only rustdoc is told to allow what
/// is unstable: told to the compiler too, every dependency would be built once more.
fn rustdoc_json() -> PathBuf {
    let place = tempfile::tempdir().unwrap();
    let wrapper = place.path().join("rustdoc");
    let text = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["doc", "--no-deps", "--quiet"])
        .current_dir(root())
        .env("RUSTDOC", &wrapper)
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json");
    for name in CRATES {
        cargo.args(["--package", name]);
    }
    let done = cargo.output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "cargo doc: {errors}");
    // The test itself is in TARGET/TRIPLE/debug/deps.
    let deps = std::env::current_exe().unwrap();
    deps.ancestors().nth(3).unwrap().join("doc")
}

/// The surface of one crate: public items without what is derived for every type alike.
fn surface(json: &Path) -> Result<String, String> {
    let built = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    built.map(|surface| surface.to_string()).map_err(|e| {
        format!(
            "{} does not read (the reader is for {READER}): {e}",
            json.display()
        )
    })
}

/// The lines that only one of the two has, as a diff shows them.
fn difference(before: &str, after: &str) -> (String, bool) {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.lines().collect(), after.lines().collect());
    let mut text = String::new();
    let mut lines: Vec<(&str, char)> = old.difference(&new).map(|line| (*line, '-')).collect();
    let breaks = !lines.is_empty();
    lines.extend(new.difference(&old).map(|line| (*line, '+')));
    lines.sort_unstable();
    for (line, sign) in lines {
        let _ = writeln!(text, "{sign} {line}");
    }
    (text, breaks)
}

/// True where the change log has a section of the version that `Cargo.toml` names.
fn is_released() -> bool {
    let log = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    log.lines().any(|line| line.starts_with(&heading))
}

#[test]
fn the_surface_of_the_library_is_the_one_that_is_written_down() {
    let docs = rustdoc_json();
    let renew = std::env::var_os("CAIRN_RENEW").is_some();
    let mut differences = String::new();
    for name in CRATES {
        let json = docs.join(format!("{}.json", name.replace('-', "_")));
        let written = root().join("docs/surface").join(format!("{name}.txt"));
        let before = fs::read_to_string(&written).unwrap_or_default();
        let after = match surface(&json) {
            Err(why) if std::env::var_os("CAIRN_TESTS_ALL").is_none() => {
                return eprintln!("skipped: {why}");
            }
            done => done.unwrap(),
        };
        let (text, breaks) = difference(&before, &after);
        if renew && !(breaks && is_released()) {
            fs::write(&written, after).unwrap();
        } else if !text.is_empty() {
            let kind = if breaks { "breaks" } else { "adds to" };
            let _ = writeln!(differences, "{name}: a change {kind} its surface\n{text}");
        }
    }
    assert!(
        differences.is_empty(),
        "{differences}if it is meant: CAIRN_RENEW=1 cargo test -p cairn-surface, and say it in CHANGELOG.md{}",
        if is_released() {
            "; what breaks needs a new version first"
        } else {
            ""
        },
    );
}
