//! `cairn config` and the file `cairn.toml`: what is set is honoured, what is wrong is refused with its line.

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::{Cairn, is_root, noise, shell_tree};
use serde_json::Value;

fn created() -> Cairn {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    cairn
}

fn text(cairn: &Cairn) -> String {
    std::fs::read_to_string(cairn.root().join("cairn.toml")).unwrap()
}

fn write(cairn: &Cairn, text: &str) {
    std::fs::write(cairn.root().join("cairn.toml"), text).unwrap();
}

fn of_list(cairn: &Cairn, key: &str) -> serde_json::Value {
    let list = cairn.json(&["config", "list"]);
    let found = list.as_array().unwrap().iter().find(|s| s["key"] == key);
    found
        .unwrap_or_else(|| panic!("{key} is not in {list}"))
        .clone()
}

#[test]
fn reading_creates_no_file_and_shows_the_defaults() {
    let cairn = created();
    let list = cairn.ok(&["config", "list"]);
    for key in [
        "verify",
        "driver",
        "platform",
        "import.max-entries",
        "import.max-bytes",
    ] {
        assert!(list.contains(key), "{list}");
    }
    assert_eq!(cairn.ok(&["config", "get", "verify"]), "boot\n");
    assert_eq!(of_list(&cairn, "driver")["source"], "default");
    cairn.ok(&["images"]);
    cairn.ok(&["config", "unset", "verify"]);
    assert!(!cairn.root().join("cairn.toml").exists());
}

#[test]
fn no_repository_is_made_by_config() {
    let cairn = Cairn::new();
    for args in [
        &["config", "list"][..],
        &["config", "set", "verify", "never"],
    ] {
        cairn.fails(args, 1, "no Cairn repository");
    }
    assert!(!cairn.root().exists());
}

#[test]
fn a_change_keeps_comments_and_is_private() {
    let cairn = created();
    cairn.ok(&["config", "set", "import.max-bytes", "20G"]);
    cairn.ok(&["config", "set", "verify", "never"]);
    let head = text(&cairn);
    assert!(
        head.starts_with("# Settings of this Cairn repository"),
        "{head}"
    );
    assert!(head.contains("\n# When cached files"), "{head}");
    let path = cairn.root().join("cairn.toml");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let own = "# ours: ask Ann\n\n# why always\nverify = \"always\" # since May\n\n[import]\n# big layers\nmax-bytes = \"20G\"\n";
    write(&cairn, own);
    cairn.ok(&["config", "set", "verify", "boot"]);
    assert_eq!(text(&cairn), own.replace("\"always\"", "\"boot\""));
    cairn.ok(&["config", "set", "import.max-entries", "7"]);
    cairn.ok(&["config", "set", "platform", "linux/arm64"]);
    let now = text(&cairn);
    for comment in [
        "# ours: ask Ann\n\n",
        "# why always\n",
        "# since May\n",
        "# big layers\n",
    ] {
        assert!(now.contains(comment), "{now}");
    }
    assert_eq!(of_list(&cairn, "import.max-entries")["value"], "7");
    for key in ["import.max-entries", "platform"] {
        cairn.ok(&["config", "unset", key]);
    }
    cairn.ok(&["config", "set", "verify", "always"]);
    assert_eq!(text(&cairn).trim_end(), own.trim_end());
    assert!(!cairn.root().join("cairn.new").exists());
}

#[test]
fn a_value_within_a_line_can_be_set_and_unset() {
    let cairn = created();
    write(
        &cairn,
        "import = { max-entries = 5, max-bytes = \"2M\" } # both\n",
    );
    cairn.ok(&["config", "set", "import.max-entries", "6"]);
    assert_eq!(cairn.ok(&["config", "get", "import.max-entries"]), "6\n");
    cairn.ok(&["config", "unset", "import.max-entries"]);
    assert_eq!(of_list(&cairn, "import.max-entries")["source"], "default");
    assert_eq!(cairn.ok(&["config", "get", "import.max-bytes"]), "2M\n");
    assert!(text(&cairn).contains("# both"), "{}", text(&cairn));
    write(&cairn, "import.max-bytes = \"3M\"\n");
    cairn.ok(&["config", "unset", "import.max-bytes"]);
    assert_eq!(of_list(&cairn, "import.max-bytes")["source"], "default");
}

#[test]
fn what_is_unknown_or_out_of_bounds_is_refused_with_its_line() {
    let cairn = created();
    for (line, words) in [
        ("verfy = \"boot\"", "did you mean \"verify\"?"),
        (
            "verify = \"sometimes\"",
            "verify: \"sometimes\" is not one of",
        ),
        ("verify = true", "verify: must be a text or a number"),
        ("driver = \"zfs\"", "unknown driver \"zfs\""),
        ("platform = \"linux\"", "is not a platform"),
        (
            "[import]\nmax-bytes = 5",
            "must be a number from 1000000 to",
        ),
        ("[import]\nmax-entries = -1", "must be a number from 1 to"),
        (
            "[import]\nmax-byte = 5",
            "did you mean \"import.max-bytes\"?",
        ),
        (
            "[imports.of]\nmax = 5",
            "unknown setting \"imports.of.max\"",
        ),
        ("verify = ", "cairn.toml, line 3"),
        (
            "driver = \"copy\"\nverify = \"boot\"\nverify = \"boot\"",
            "cairn.toml, line 5",
        ),
    ] {
        write(&cairn, &format!("# mine\n\n{line}\n"));
        let lines = 2 + line.lines().count();
        for args in [
            &["images"][..],
            &["config", "list"],
            &["config", "get", "verify"],
            &["check"],
        ] {
            let err = cairn.fails(args, 1, words);
            assert!(err.contains(&format!("cairn.toml, line {lines}")), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    write(&cairn, "colour = 1\nverify = \"never\"\n");
    cairn.ok(&["config", "unset", "colour"]);
    assert_eq!(text(&cairn), "verify = \"never\"\n");

    for args in [
        &["config", "set", "verfy", "boot"][..],
        &["config", "set", "verify", "sometimes"],
        &["config", "set", "import.max-bytes", "5"],
        &["config", "get", "colour"],
        &["config", "unset", "colour"],
    ] {
        cairn.fails(args, 2, "");
    }
    assert_eq!(text(&cairn), "verify = \"never\"\n");
    write(&cairn, &"#".repeat(2 << 20));
    cairn.fails(&["images"], 1, "is larger than");
}

#[test]
fn settings_are_honoured_and_options_win() {
    let cairn = created();
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(tree.join(name), noise(3, 1000)).unwrap();
    }
    let tree = tree.to_str().unwrap();
    cairn.ok(&["config", "set", "import.max-entries", "2"]);
    let import = ["import", tree, "--name", "app"];
    cairn.fails(&import, 1, "2");
    cairn.ok(&["import", tree, "--name", "app", "--max-entries", "9"]);

    cairn.ok(&["config", "set", "driver", "copy"]);
    assert_eq!(cairn.json(&["driver"])["driver"], "copy");
    assert_eq!(
        cairn.json(&["--driver", "overlay", "driver"])["driver"],
        "overlay"
    );
    cairn.ok(&["config", "set", "driver", "auto"]);
    assert_eq!(cairn.json(&["driver"])["forced"], false);

    cairn.ok(&["config", "set", "verify", "always"]);
    let shown = |cairn: &Cairn| of_list(cairn, "verify");
    assert_eq!(
        (
            shown(&cairn)["value"].as_str(),
            shown(&cairn)["source"].as_str()
        ),
        (Some("always"), Some("file"))
    );
    let mut command = cairn.command(&["config", "get", "verify"]);
    let output = command.env("CAIRN_VERIFY", "never").output().unwrap();
    assert_eq!(output.stdout, b"never\n");
    let option = cairn.json(&["--verify", "boot", "config", "get", "verify"]);
    assert_eq!(
        (&option["value"], &option["source"]),
        (&"boot".into(), &"option".into())
    );
}

#[test]
fn the_base_is_where_the_setting_says_and_options_win() {
    let base = created();
    let tree = base.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(5, 100_000)).unwrap();
    base.import_dir(&tree, "lower");
    let place = base.root().to_str().unwrap().to_owned();

    let cairn = created();
    cairn.fails(&["config", "set", "base-root", "elsewhere"], 2, "absolute");
    cairn.ok(&["config", "set", "base-root", &place]);
    cairn.import_dir(&tree, "app");
    let stats = cairn.json(&["stats"]);
    assert_eq!(stats["base_root"], place);
    assert!(stats["stored_content_bytes"].as_u64().unwrap() < 10_000);

    // The base is elsewhere now: the setting is mended while nothing else works.
    let moved = base.path("moved");
    std::fs::rename(base.root(), &moved).unwrap();
    cairn.fails(&["images"], 1, "needs its base");
    let elsewhere = moved.to_str().unwrap();
    assert!(
        cairn
            .ok(&["--base-root", elsewhere, "images"])
            .contains("app")
    );
    let mut command = cairn.command(&["images"]);
    let output = command.env("CAIRN_BASE_ROOT", elsewhere).output().unwrap();
    assert!(output.status.success());
    cairn.ok(&["config", "set", "base-root", elsewhere]);
    assert!(cairn.ok(&["images"]).contains("app"));
    cairn.ok(&["check"]);
    let option = ["--base-root", &place, "config", "get", "base-root"];
    assert_eq!(cairn.json(&option)["source"], "option");
    cairn.ok(&["config", "set", "base-root", "remembered"]);
    cairn.fails(&["images"], 1, &place);
}

/// Names of the views in the cache, whichever driver made them.
fn views(cairn: &Cairn) -> BTreeSet<PathBuf> {
    let kinds = ["views", "flat"].map(|name| cairn.root().join("cache").join(name));
    let entries = kinds.iter().filter_map(|kind| std::fs::read_dir(kind).ok());
    entries
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn the_cache_is_cut_down_to_its_budget_and_what_was_used_last_stays() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = created();
    let mut of = Vec::new();
    for (seed, name) in [(100, "one"), (200, "two")] {
        let tree = cairn.path(name);
        std::fs::create_dir(&tree).unwrap();
        for i in 0..10 {
            std::fs::write(tree.join(format!("file{i}")), noise(seed + i, 60_000)).unwrap();
        }
        cairn.import_dir(&tree, name);
        let before = views(&cairn);
        cairn.ok(&["snapshot", "view", name, name]);
        of.push(&views(&cairn) - &before);
    }
    assert!(of.iter().all(|views| !views.is_empty()), "{of:?}");
    let sizes = |report: &Value| {
        (
            report["evicted_views"].clone(),
            report["evicted_objects"].clone(),
        )
    };

    // Both are in use: nothing goes.
    cairn.ok(&["config", "set", "cache.max-bytes", "1M"]);
    assert_eq!(sizes(&cairn.json(&["gc"])), (0.into(), 0.into()));
    cairn.ok(&["snapshot", "rm", "one", "two"]);
    // The first is used last.
    for view in &of[0] {
        let file = std::fs::File::open(view).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        let times = std::fs::FileTimes::new()
            .set_modified(later)
            .set_accessed(later);
        file.set_times(times).unwrap();
    }
    cairn.ok(&["config", "set", "cache.max-bytes", "2M"]);
    assert_eq!(sizes(&cairn.json(&["gc"])), (0.into(), 0.into()));
    cairn.ok(&["config", "set", "cache.max-bytes", "1M"]);
    assert_eq!(cairn.json(&["gc"])["evicted_views"], 1);
    assert_eq!(views(&cairn), of[0]);
    assert!(cairn.json(&["stats"])["cache_bytes"].as_u64().unwrap() < 1_000_000);
    cairn.ok(&["snapshot", "view", "again", "one"]);
    assert!(of[0].is_subset(&views(&cairn)));
    cairn.ok(&["config", "set", "cache.max-bytes", "0"]);
    assert_eq!(sizes(&cairn.json(&["gc"])), (0.into(), 0.into()));
    cairn.ok(&["snapshot", "rm", "again"]);
    cairn.ok(&["gc"]);
    assert_eq!(views(&cairn), BTreeSet::new());
    cairn.fails(&["config", "set", "cache.max-bytes", "5"], 2, "1000");
}

#[test]
fn logs_of_new_containers_are_bounded_by_the_settings() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = created();
    let tree = cairn.path("shell");
    shell_tree(&tree);
    cairn.import_dir(&tree, "shell");
    cairn.ok(&["config", "set", "log.max-size", "100K"]);
    cairn.ok(&["config", "set", "log.max-files", "2"]);
    cairn.fails(&["config", "set", "log.max-files", "101"], 2, "1 to 100");
    cairn.fails(&["config", "set", "log.max-size", "1K"], 2, "66000");
    let script = "i=0; while [ $i -lt 30000 ]; do echo line number $i; i=$((i+1)); done";
    let size = |name: &str, options: &[&str]| {
        let run = ["run", "--name", name];
        let program = ["shell", "/bin/sh", "-c", script];
        cairn.ok(&[&run[..], options, &program].concat());
        cairn.ok(&["logs", name]).len()
    };
    let bounded = size("bounded", &[]);
    // Each line has a record around it.
    assert!((10_000..=200_000).contains(&bounded), "{bounded}");
    assert!(size("own", &["--log-max-size", "10M"]) > 400_000);
}

#[test]
fn packs_are_rewritten_as_the_settings_say() {
    let cairn = created();
    for (name, files) in [("first", 0..20), ("second", 2..20)] {
        let tree = cairn.path(name);
        std::fs::create_dir(&tree).unwrap();
        for i in files {
            std::fs::write(tree.join(format!("file{i}")), noise(i, 20_000)).unwrap();
        }
        cairn.import_dir(&tree, name);
    }
    // Two files of twenty are needed by nothing now.
    cairn.ok(&["rmi", "first"]);
    let written = |cairn: &Cairn| cairn.json(&["gc"])["written_bytes"].as_u64().unwrap();
    cairn.ok(&["config", "set", "gc.max-small-packs", "100"]);
    assert_eq!(written(&cairn), 0);
    cairn.fails(&["config", "set", "gc.max-dead", "0%"], 2, "above 0%");
    cairn.ok(&["config", "set", "gc.max-dead", "5%"]);
    assert!((300_000..400_000).contains(&written(&cairn)));
    assert_eq!(written(&cairn), 0);
    cairn.ok(&["config", "set", "gc.max-small-packs", "1"]);
    assert!(written(&cairn) > 300_000);
    cairn.ok(&["check"]);
}

#[test]
fn a_backup_has_the_settings_of_its_moment() {
    let cairn = created();
    let to = cairn.path("backup");
    let backup = ["backup", to.to_str().unwrap()];
    cairn.ok(&["config", "set", "verify", "always"]);
    cairn.ok(&backup);
    assert_eq!(
        std::fs::read_to_string(to.join("cairn.toml")).unwrap(),
        text(&cairn)
    );
    std::fs::remove_file(cairn.root().join("cairn.toml")).unwrap();
    cairn.ok(&backup);
    assert!(!to.join("cairn.toml").exists());
}

#[test]
fn settings_that_many_set_at_once_are_all_there() {
    let cairn = created();
    let sets = [
        ["config", "set", "verify", "never"],
        ["config", "set", "driver", "copy"],
        ["config", "set", "import.max-bytes", "9G"],
        ["config", "set", "import.max-entries", "9"],
    ];
    let children: Vec<_> = sets
        .iter()
        .map(|args| cairn.command(args).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for [_, _, key, value] in sets {
        assert_eq!(cairn.ok(&["config", "get", key]), format!("{value}\n"));
    }
}
