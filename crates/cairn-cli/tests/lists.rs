//! Lists are filtered and shown alike, a name that is none is told with the one that was meant, and colours are for
//! terminals.

mod common;

use common::{Cairn, is_root, shell};

fn three() -> Cairn {
    let cairn = shell();
    cairn.ok(&["tag", "shell", "example/app:1"]);
    cairn.ok(&["tag", "shell", "example/web:1"]);
    cairn.ok(&[
        "snapshot", "prepare", "work", "shell", "--label", "owner=ci",
    ]);
    cairn.ok(&["volume", "create", "data"]);
    cairn
}

#[test]
fn every_list_takes_filters_templates_and_quiet() {
    let cairn = three();
    let id = cairn.json(&["images"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let short = cairn.ok(&["images", "-q"]);
    assert!(id.contains(short.trim()), "{id} {short}");
    assert_eq!(cairn.ok(&["images", "--format", "{{.id}}"]).trim(), id);
    assert_eq!(
        cairn.ok(&["images", "-q", "--filter", "names=example/*"]),
        short
    );
    assert_eq!(cairn.ok(&["images", "-q", "--filter", "names=nosuch*"]), "");
    assert_eq!(
        cairn.json(&["images", "--filter", "pinned=true"]),
        serde_json::json!([])
    );
    assert_eq!(
        cairn.ok(&["snapshot", "ls", "-q", "--filter", "kind=active"]),
        "work\n"
    );
    assert_eq!(
        cairn.ok(&[
            "snapshot",
            "ls",
            "--filter",
            "labels.owner=c?",
            "--format",
            "{{.name}}"
        ]),
        "work\n"
    );
    assert_eq!(
        cairn.ok(&["volume", "ls", "--format", "{{.name}}"]),
        "data\n"
    );
    assert_eq!(
        cairn.ok(&["history", "shell", "--format", "{{.empty_layer}}"]),
        "false\n"
    );
    assert_eq!(cairn.ok(&["orphans", "-q"]), "work\n");
    assert_eq!(cairn.ok(&["orphans", "-q", "--filter", "kind=image"]), "");
    for list in [&["images"][..], &["snapshot", "ls"], &["history", "shell"]] {
        let with = |more: &[&'static str]| [list, more].concat();
        cairn.fails(&with(&["--filter", "nosuch=1"]), 2, "known are");
        cairn.fails(&with(&["--filter", "names"]), 2, "FIELD=PATTERN");
        cairn.fails(&with(&["--format", "{{.nosuch}}"]), 2, "nosuch");
        cairn.fails(&with(&["-q", "--format", "x"]), 2, "cannot be used with");
    }
}

#[test]
fn a_name_that_does_not_exist_is_told_with_the_one_that_was_meant() {
    let cairn = three();
    let meant = |args: &[&str], name: &str| {
        cairn.fails(args, 1, &format!("did you mean {name:?}?"));
    };
    meant(&["inspect", "exmaple/app:1"], "example/app:1");
    meant(&["rmi", "example/wbe:1"], "example/web:1");
    meant(&["snapshot", "stat", "wor"], "work");
    meant(&["volume", "inspect", "dat"], "data");
    let said = cairn.fails(&["inspect", "elephant"], 1, "elephant");
    assert!(!said.contains("mean"), "{said}");
    cairn.fails(&["imagse"], 2, "images");
    if is_root() {
        cairn.ok(&["create", "--name", "web", "shell", "true"]);
        meant(&["rm", "wbe"], "web");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let cairn = three();
    if !common::has("script") {
        skip!("script(1) is not installed");
    }
    let on_terminal = |setting: &str| {
        let program = env!("CARGO_BIN_EXE_cairn");
        let command = format!(
            "{setting} {program} --root {} images",
            cairn.root().display()
        );
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm");
        String::from_utf8_lossy(&script.output().unwrap().stdout).into_owned()
    };
    assert!(on_terminal("").contains("\x1b[1mNAME"));
    for plain in ["NO_COLOR=1", "TERM=dumb"] {
        let shown = on_terminal(plain);
        assert!(
            shown.contains("NAME") && !shown.contains('\x1b'),
            "{plain}: {shown}"
        );
    }
    assert!(!cairn.ok(&["images"]).contains('\x1b'), "not in a pipe");
}

#[test]
fn a_backup_is_restored_where_no_repository_is() {
    let cairn = three();
    let backup = cairn.path("backup");
    let at = backup.to_str().unwrap();
    cairn.ok(&["backup", at]);
    cairn.fails(&["restore", at], 1, "is a repository already");
    let elsewhere = Cairn::new();
    elsewhere.fails(&["restore", "/nosuch/backup"], 1, "/nosuch/backup");
    assert!(!elsewhere.root().join("format").exists());
    let said = elsewhere.ok(&["restore", at]);
    assert!(said.contains("restored 1 packs"), "{said}");
    assert_eq!(elsewhere.image_names(), cairn.image_names());
    elsewhere.ok(&["check", "--full"]);
}
