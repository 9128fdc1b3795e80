//! `cairn bundle`: what it writes runs under Debian's runc and under `cairn oci` as the container does here.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Cairn, Tar, add_program, docker_archive, has, is_root, shell_tree, tar_of};
use serde_json::{Value, json};

/// A repository with the image `app`, which has a user, variables, a volume and a file in it.
fn app() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    add_program(&tree, "grep");
    std::fs::create_dir_all(tree.join("data")).unwrap();
    std::fs::write(tree.join("data/own"), "of the image\n").unwrap();
    let archive = docker_archive("app:1", &[tar_of(&tree), Tar::new().done()], |config| {
        config["config"] = json!({
            "Env": ["PATH=/bin", "A=image"], "Cmd": ["sh", "-c", LOOK], "User": "www:video",
            "WorkingDir": "/data", "Volumes": {"/data": {}},
        });
    });
    let path = cairn.path("app.tar");
    std::fs::write(&path, archive).unwrap();
    cairn.ok(&["import", path.to_str().unwrap()]);
    cairn
}

const LOOK: &str = "id; pwd; echo $A $HOME $PATH; cat own; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; \
    cat /etc/hosts; cat /proc/keys; umask; exit 5";

fn config(bundle: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap()
}

/// What its process writes, under a runtime, which may have words of its own on standard error.
fn run(mut runtime: Command, cairn: &Cairn, bundle: &Path) -> (String, Option<i32>) {
    // Control groups are named by it.
    let name = cairn
        .dir
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let id = format!("test{}", name.trim_start_matches('.'));
    runtime.arg("--root").arg(cairn.path("state"));
    runtime.args(["run", "--bundle"]).arg(bundle).arg(id);
    let output = runtime.stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !text.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (text, output.status.code())
}

fn oci() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.arg("oci");
    command
}

/// The name of a container is part of what is compared.
fn without_names(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("127.0."));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bundle_of_an_image_runs_as_the_image_does() {
    if !is_root() || !has("runc") {
        skip!("needs root and runc");
    }
    let cairn = app();
    let here = cairn.output(&["run", "--rm", "app:1"]);
    let here = (
        String::from_utf8_lossy(&here.stdout).into_owned(),
        here.status.code(),
    );
    assert_eq!(here.1, Some(5), "{}", here.0);
    assert!(
        here.0.starts_with("uid=33(www) gid=44(video)"),
        "{}",
        here.0
    );
    let bundle = cairn.path("bundle");
    cairn.ok(&["bundle", "app:1", bundle.to_str().unwrap()]);
    assert!(
        cairn.json(&["ps", "-a"]).as_array().unwrap().is_empty(),
        "nothing is left of it"
    );
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap());
    assert_eq!(
        (
            mode(&bundle) & 0o777,
            mode(&bundle.join("config.json")) & 0o777
        ),
        (0o700, 0o600)
    );
    for runtime in [Command::new("runc"), oci()] {
        let whose = format!("{runtime:?}");
        let there = run(runtime, &cairn, &bundle);
        assert_eq!(without_names(&there.0), without_names(&here.0), "{whose}");
        assert_eq!(there.1, here.1, "{whose}");
    }
    // It is its own: what runs in it changes nothing here, and the repository may go.
    std::fs::remove_dir_all(cairn.root()).unwrap();
    assert_eq!(run(oci(), &cairn, &bundle).1, here.1);
}

#[test]
fn a_bundle_of_a_container_has_its_options_and_files() {
    if !is_root() || !has("runc") {
        skip!("needs root and runc");
    }
    let cairn = app();
    let data = cairn.path("host");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "of the host\n").unwrap();
    let volume = format!("{}:/host:ro", data.display());
    let command =
        "cat /new /host/file; echo $A; (: > /host/x) 2>/dev/null || echo closed; ls /scratch";
    let created = [
        "create",
        "--name",
        "web",
        "-u",
        "root",
        "-e",
        "A=user",
        "-v",
        &volume,
        "--tmpfs",
        "/scratch:size=1m",
        "--memory",
        "64m",
        "--pids-limit",
        "70",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
        "--label",
        "a=b",
        "app:1",
        "sh",
        "-c",
        command,
    ];
    cairn.ok(&created);
    std::fs::write(cairn.path("new"), "of the container\n").unwrap();
    cairn.ok(&["cp", cairn.path("new").to_str().unwrap(), "web:/new"]);
    let bundle = cairn.path("bundle");
    cairn.ok(&["bundle", "web", bundle.to_str().unwrap()]);
    let config = config(&bundle);
    assert_eq!(config["linux"]["resources"]["memory"]["limit"], 64 << 20);
    assert_eq!(config["linux"]["resources"]["pids"]["limit"], 70);
    assert_eq!(config["annotations"]["a"], "b");
    assert_eq!(config["process"]["capabilities"]["bounding"], json!([]));
    let expected = "of the container\nof the host\nuser\nclosed\n";
    for runtime in [Command::new("runc"), oci()] {
        let whose = format!("{runtime:?}");
        assert_eq!(
            run(runtime, &cairn, &bundle),
            (expected.to_owned(), Some(0)),
            "{whose}"
        );
    }
    // The container is as it was.
    let started = cairn.output(&["start", "-a", "web"]);
    assert_eq!(String::from_utf8_lossy(&started.stdout), expected);
}

#[test]
fn what_a_bundle_cannot_have_is_refused_and_nothing_is_left() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = app();
    let bundle = cairn.path("bundle");
    let path = bundle.to_str().unwrap();
    cairn.ok(&["create", "--name", "users", "--userns", "auto", "app:1"]);
    cairn.fails(&["bundle", "users", path], 1, "--userns host");
    cairn.ok(&["create", "--name", "init", "--init", "app:1"]);
    cairn.fails(&["bundle", "init", path], 1, "--init");
    cairn.fails(&["bundle", "nosuch", path], 1, "nosuch");
    cairn.ok(&[
        "create",
        "--name",
        "secret",
        "--secret",
        "id=key,src=/etc/hostname",
        "app:1",
    ]);
    cairn.fails(&["bundle", "secret", path], 1, "on a disk");
    assert!(!bundle.exists(), "nothing is left");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("mine"), "").unwrap();
    cairn.fails(&["bundle", "app:1", path], 1, "not empty");
    assert_eq!(std::fs::read_dir(&bundle).unwrap().count(), 1);
}
