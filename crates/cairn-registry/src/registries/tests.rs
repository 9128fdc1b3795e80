use std::path::PathBuf;

use super::load::of;
use super::*;

fn with(texts: &[&str]) -> Result<Registries> {
    let directory = tempfile::tempdir().unwrap();
    let file = |(number, text): (usize, &&str)| {
        let file = directory.path().join(format!("{number}.conf"));
        std::fs::write(&file, text).unwrap();
        file
    };
    let files: Vec<PathBuf> = texts.iter().enumerate().map(file).collect();
    of(&files)
}

/// Where a reference is to be had: full references, with `!` for insecure ones.
fn sources(registries: &Registries, reference: &str) -> Vec<String> {
    let sources = registries.sources(&reference.parse().unwrap()).unwrap();
    let shown = |source: &Source| {
        let mark = if source.insecure { "!" } else { "" };
        format!("{}{mark}", source.location.full())
    };
    sources.iter().map(shown).collect()
}

const CONF: &str = r#"
[[registry]]
prefix = "example.com/foo"
location = "internal.example:5000/bar"

[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example"
[[registry.mirror]]
location = "localhost:5000/hub/"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "*.wild.example"
insecure = true

[[registry]]
prefix = "a.wild.example"
location = "b.example"

[[registry]]
location = "evil.example/bad"
blocked = true

[[registry]]
location = "host"
mirror-by-digest-only = true
mirror = [{location = "m.example"}]
"#;

#[test]
fn references_lead_to_mirrors_and_locations_by_their_longest_prefix() {
    let registries = with(&[CONF]).unwrap();
    let id = "sha256:".to_owned() + &"3f".repeat(32);
    for (reference, expected) in [
        ("other.example/a:1", vec!["other.example/a:1".to_owned()]),
        (
            "example.com/foo/a:1",
            vec!["internal.example:5000/bar/a:1".into()],
        ),
        (
            "example.com/foo:1",
            vec!["internal.example:5000/bar:1".into()],
        ),
        ("example.com/foot:1", vec!["example.com/foot:1".into()]),
        (
            "py:1",
            vec![
                "mirror.example/library/py:1".into(),
                "docker.io/library/py:1".into(),
            ],
        ),
        (
            &format!("a/py@{id}"),
            vec![
                format!("mirror.example/a/py@{id}"),
                format!("localhost:5000/hub/a/py@{id}!"),
                format!("docker.io/a/py@{id}"),
            ],
        ),
        (
            "x.y.wild.example:5000/a",
            vec!["x.y.wild.example:5000/a:latest!".into()],
        ),
        ("a.wild.example/a:1", vec!["b.example/a:1".into()]),
        ("wild.example/a:1", vec!["wild.example/a:1".into()]),
        ("evil.example/badly:1", vec!["evil.example/badly:1".into()]),
    ] {
        assert_eq!(sources(&registries, reference), expected, "{reference}");
    }
    let blocked: Location = "evil.example/bad/a".parse().unwrap();
    let error = registries.sources(&blocked).unwrap_err().to_string();
    assert!(
        error.contains("0.conf: evil.example/bad is blocked"),
        "{error}"
    );
    assert!(registries.target(&blocked).is_err());
    // What is pushed goes where it is named to go.
    let target = registries
        .target(&"x.wild.example/a".parse().unwrap())
        .unwrap();
    assert!(target.insecure && target.location.registry() == "x.wild.example");
    let target = registries
        .target(&"example.com/foo/a".parse().unwrap())
        .unwrap();
    assert_eq!(target.location.registry(), "example.com");
}

#[test]
fn names_without_a_registry_mean_what_aliases_and_the_search_make_of_them() {
    let meant = |registries: &Registries, text: &str| {
        let meant = registries.meant(text)?;
        Ok::<_, Error>(meant.iter().map(Location::full).collect::<Vec<_>>())
    };
    let none = with(&["# nothing\n", ""]).unwrap();
    assert!(none.is_dockers());
    assert_eq!(meant(&none, "py:1").unwrap(), ["docker.io/library/py:1"]);
    let alias = r#"[aliases]
        "fedora" = "fedora.example/fedora"
        "ubi/ubi" = "red.example/ubi/ubi"
        "gone" = "x.example/gone"
    "#;
    let search = r#"unqualified-search-registries = ["one.example", "docker.io"]"#;
    let one = with(&[alias, "[aliases]\ngone = ''"]).unwrap();
    for (text, expected) in [
        ("fedora", "fedora.example/fedora:latest"),
        ("fedora:41", "fedora.example/fedora:41"),
        ("ubi/ubi:1", "red.example/ubi/ubi:1"),
        ("docker.io/fedora", "docker.io/library/fedora:latest"),
        ("localhost/fedora", "localhost/fedora:latest"),
        ("gone", "docker.io/library/gone:latest"),
    ] {
        assert_eq!(meant(&one, text).unwrap(), [expected], "{text}");
    }
    let several = with(&[alias, search]).unwrap();
    assert_eq!(meant(&several, "fedora").unwrap().len(), 1);
    let error = meant(&several, "py").unwrap_err().to_string();
    assert!(
        error.contains("py may be in one.example or docker.io"),
        "{error}"
    );
    let any = with(&[search, "short-name-mode = 'permissive'"]).unwrap();
    assert_eq!(
        meant(&any, "py:1").unwrap(),
        ["one.example/py:1", "docker.io/library/py:1"]
    );
    let emptied = with(&[search, "unqualified-search-registries = []"]).unwrap();
    assert!(emptied.is_dockers());
}

#[test]
fn later_files_count_more_and_bad_ones_are_named() {
    let later = "[[registry]]\nlocation = 'docker.io'\ninsecure = true\n";
    let both = with(&[CONF, later]).unwrap();
    assert_eq!(sources(&both, "py:1"), ["docker.io/library/py:1!"]);
    for (bad, words) in [
        ("[registries.search]\nregistries = []", "version 1"),
        ("[[registry]]\nlocation = 'https://x'", "without a scheme"),
        ("[[registry]]\nprefix = 'a.example'", "has no location"),
        (
            "[[registry]]\ninsecure = true",
            "neither prefix nor location",
        ),
        ("[[registry]]\nprefix = '*.x.example/a'", "* may only stand"),
        ("[[registry]]\nprefix = 'a.*.example'", "* may only stand"),
        ("[[registry]]\nlocation = 'a b'", "no part of a reference"),
        (
            "[[registry]]\nlocation = 'a'\nblocked = 'yes'",
            "blocked must be true or false",
        ),
        ("[[registry]]\nlocation = 7", "location must be a text"),
        ("[registry]\nlocation = 'a'", "must be written [[registry]]"),
        ("registry = [1]", "must be written [[registry]]"),
        ("unqualified-search-registries = 'a'", "must be a list"),
        ("short-name-mode = 'x'", "cannot be \"x\""),
        ("aliases = 1", "aliases must be a table"),
        ("[aliases]\na = 1", "the alias a must be a text"),
        (
            "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\ninsecure=true",
            "a mirror has no location",
        ),
        ("= 1", "0.conf"),
    ] {
        let error = with(&[bad]).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("0.conf"),
            "{bad}: {error}"
        );
    }
    // A location that no reference can be made of is told when it is used.
    let odd = with(&["[[registry]]\nprefix = 'a.example'\nlocation = 'B/ü'"]).unwrap();
    let error = odd.sources(&"a.example/x".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("a.example leads to"), "{error}");
}
