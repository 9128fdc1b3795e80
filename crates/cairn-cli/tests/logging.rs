//! `--log` and `CAIRN_LOG`: nothing by default, what was asked for on standard error, and nothing secret.

mod common;

use std::process::Output;

use common::{Cairn, is_root, noise, shell_tree};

fn tree(cairn: &Cairn) -> String {
    let tree = cairn.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), noise(5, 5000)).unwrap();
    tree.to_str().unwrap().to_owned()
}

fn log(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn nothing_is_logged_by_default_and_spans_on_request() {
    let cairn = Cairn::new();
    let tree = tree(&cairn);
    let import = ["import", &tree, "--name", "app"];
    assert_eq!(log(&cairn.output(&import)), "");
    let info = cairn.output(&[&["--log", "info"], &import[..]].concat());
    let info = log(&info);
    assert!(
        info.contains("INFO import{") && info.contains("time.busy="),
        "{info}"
    );
    assert!(!info.contains("DEBUG"), "{info}");
    let some = ["--log", "cairn_store=debug", "images", "--json"];
    let some = cairn.output(&some);
    assert!(serde_json::from_slice::<serde_json::Value>(&some.stdout).is_ok());
    let some = log(&some);
    assert!(
        some.contains("open_store") && !some.contains("cairn_repo"),
        "{some}"
    );
}

#[test]
fn lines_of_json_are_objects_with_level_target_and_span() {
    let cairn = Cairn::new();
    let tree = tree(&cairn);
    let mut command = cairn.command(&["import", &tree, "--name", "app"]);
    command
        .env("CAIRN_LOG", "debug")
        .env("CAIRN_LOG_FORMAT", "json");
    let text = log(&command.output().unwrap());
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(
        lines
            .iter()
            .all(|l| l["level"].is_string() && l["target"].as_str().unwrap().starts_with("cairn_"))
    );
    let stored = lines
        .iter()
        .find(|l| l["message"] == "content is stored")
        .unwrap();
    assert_eq!(stored["spans"][0]["name"], "import", "{stored}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let cairn = Cairn::new();
    for filter in ["loud", "store=debug"] {
        cairn.fails(&["--log", filter, "images"], 2, "is not a filter");
    }
}

#[test]
fn a_closed_standard_error_ends_no_command() {
    let cairn = Cairn::new();
    cairn.ok(&["init"]);
    let script = format!(
        "{} --root {} --log trace images 2>&-",
        env!("CARGO_BIN_EXE_cairn"),
        cairn.root().display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_container_in_the_foreground_is_logged_and_its_secrets_are_not() {
    if !is_root() {
        skip!("needs root to run containers");
    }
    let cairn = Cairn::new();
    shell_tree(&cairn.path("shell"));
    cairn.import_dir(&cairn.path("shell"), "app");
    let args = [
        "run",
        "--rm",
        "-e",
        "TOKEN=hunter2",
        "app",
        "sh",
        "-c",
        "exit 0",
    ];
    let mut command = cairn.command(&args);
    command.env("CAIRN_LOG", "trace").env("PASSED", "hunter2");
    let text = log(&command.output().unwrap());
    for words in ["become the monitor", "process has begun", "process ended"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}
