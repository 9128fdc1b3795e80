//! What `commit` keeps of the options of a container, and what `--change` makes of it.

mod common;

use common::{Cairn, Tar, docker_archive};
use serde_json::{Value, json};

fn with_image(config: &Value) -> Cairn {
    let cairn = Cairn::new();
    let file = cairn.path("in.tar");
    let layer = Tar::new().file("file", b"x").done();
    let archive = docker_archive("app:1", &[layer], |c| c["config"] = config.clone());
    std::fs::write(&file, archive).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    cairn
}

/// The configuration of an image, all of it.
fn config(cairn: &Cairn, image: &str) -> Value {
    cairn.json(&["inspect", "--show-env", image])["config"]["config"].clone()
}

/// Starts a container whose program is not there: it ends at once, and is there to be committed.
fn container(cairn: &Cairn, name: &str, args: &[&str]) {
    let all = [&["run", "--name", name], args].concat();
    let output = cairn.output(&all);
    let listed = cairn.json(&["ps", "-a"]);
    let found = listed.as_array().unwrap().iter().any(|c| c["name"] == name);
    assert!(found, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_commit_keeps_the_options_of_the_container() {
    if !common::is_root() {
        skip!("containers need root here");
    }
    let base = json!({"Entrypoint": ["/entry"], "Cmd": ["old"], "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/", "Odd": {"kept": 1}});
    let cairn = with_image(&base);
    container(&cairn, "same", &["app:1"]);
    cairn.ok(&["commit", "same", "same:1"]);
    assert_eq!(config(&cairn, "same:1"), base);
    container(
        &cairn,
        "other",
        &[
            "-e", "A=2", "-e", "B=x y", "-w", "/work", "-u", "0:0", "app:1", "new", "words",
        ],
    );
    cairn.ok(&["commit", "other", "other:1"]);
    let kept = json!({"Entrypoint": ["/entry"], "Cmd": ["new", "words"], "Env": ["PATH=/bin", "A=2", "B=x y"],
                      "WorkingDir": "/work", "User": "0:0", "Odd": {"kept": 1}});
    assert_eq!(config(&cairn, "other:1"), kept);
    container(&cairn, "third", &["--entrypoint", "/mine", "app:1", "arg"]);
    cairn.ok(&["commit", "third", "third:1"]);
    let third = config(&cairn, "third:1");
    assert_eq!(
        (&third["Entrypoint"], &third["Cmd"]),
        (&json!(["/mine"]), &json!(["arg"]))
    );
    // What is given with the commit counts more.
    cairn.ok(&[
        "commit",
        "other",
        "changed:1",
        "--change",
        "ENV A=3 C=\"d e\"",
        "--change",
        "WORKDIR sub",
        "--change",
        "LABEL a=1 b='2 3'",
        "-c",
        "EXPOSE 80 53/udp",
        "-c",
        "VOLUME /v",
        "-c",
        "STOPSIGNAL SIGQUIT",
        "-c",
        "HEALTHCHECK --interval=5s CMD true",
        "-c",
        "ONBUILD RUN x",
        "-c",
        "CMD [\"last\"]",
    ]);
    let changed = config(&cairn, "changed:1");
    assert_eq!(
        changed["Env"],
        json!(["PATH=/bin", "A=3", "B=x y", "C=d e"])
    );
    assert_eq!(changed["WorkingDir"], "/work/sub");
    assert_eq!(changed["Labels"], json!({"a": "1", "b": "2 3"}));
    assert_eq!(changed["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    assert_eq!(changed["Volumes"], json!({"/v": {}}));
    assert_eq!(changed["StopSignal"], "SIGQUIT");
    assert_eq!(
        changed["Healthcheck"],
        json!({"Interval": 5_000_000_000_i64, "Test": ["CMD-SHELL", "true"]})
    );
    assert_eq!(changed["OnBuild"], json!(["RUN x"]));
    assert_eq!(changed["Cmd"], json!(["last"]));
    cairn.fails(&["commit", "other", "-c", "RUN x"], 2, "supported are CMD");
    cairn.fails(&["commit", "other", "-c", "EXPOSE x"], 2, "not a port");
}

#[test]
fn an_env_file_is_read_by_dockers_rules() {
    if !common::is_root() {
        skip!("containers need root here");
    }
    let cairn = with_image(&json!({"Cmd": ["x"], "Env": ["A=0"]}));
    let file = cairn.path("my.env");
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        "\u{feff}A=1 \n# no\n\n  B=\"q\"\r\nC=\nNOT_SET_ANYWHERE\n",
    )
    .unwrap();
    container(&cairn, "good", &["--env-file", path, "-e", "D=4", "app:1"]);
    cairn.ok(&["commit", "good", "good:1"]);
    let env = config(&cairn, "good:1")["Env"].clone();
    assert_eq!(env, json!(["A=1 ", "B=\"q\"", "C=", "D=4"]));
    for (text, line) in [("A=1\n=x", 2), ("export F=1", 1), ("\nA B", 2)] {
        std::fs::write(&file, text).unwrap();
        let output = cairn.output(&["run", "--env-file", path, "app:1"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(&format!("line {line} of {path}")), "{said}");
    }
    assert_eq!(cairn.json(&["ps", "-a"]).as_array().unwrap().len(), 1);
}

#[test]
fn names_that_are_taken_or_too_long_are_told_as_such() {
    if !common::is_root() {
        skip!("containers need root here");
    }
    let cairn = with_image(&json!({"Cmd": ["x"]}));
    container(&cairn, "web", &["app:1"]);
    let said = cairn.fails(
        &["run", "--name", "web", "app:1"],
        125,
        "container web already exists",
    );
    assert!(
        said.contains("cairn rm web") && !said.contains("snapshot"),
        "{said}"
    );
    let long = "h".repeat(65);
    let said = cairn.fails(&["run", "--hostname", &long, "app:1"], 2, "at most 64");
    assert!(said.contains("--hostname"), "{said}");
    cairn.fails(&["run", "--hostname", "a b", "app:1"], 2, "host name");
    cairn.fails(
        &["run", "--name", &"n".repeat(201), "app:1"],
        125,
        "at most 200",
    );
    cairn.fails(
        &["run", "--name", "3f9a3f9a3f9a", "app:1"],
        125,
        "looks like a container id",
    );
    assert_eq!(cairn.json(&["ps", "-a"]).as_array().unwrap().len(), 1);
}
