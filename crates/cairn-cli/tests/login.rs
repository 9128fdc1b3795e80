//! `login` and `logout`: verified, kept as docker and podman keep it, forgotten.

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use common::Cairn;
use registry::{Act, Proxy, guard};
use serde_json::{Value, json};

/// A registry that lets `me` in by `secret`, by a token or as it is.
fn guarded(with_token: bool) -> Proxy {
    Proxy::start(None, move |asked| {
        let is_token = asked.path.starts_with("/token");
        assert!(
            !is_token || !asked.path.contains("scope="),
            "{}",
            asked.path
        );
        guard(asked, with_token, Act::status("200 OK", "", "{}"))
    })
}

/// Runs it with a password on standard input and a home of its own.
fn run(cairn: &Cairn, args: &[&str], password: &str) -> Output {
    let path = std::env::var("PATH").unwrap();
    let mut command = cairn.command(args);
    command
        .env_remove("REGISTRY_AUTH_FILE")
        .env("HOME", cairn.path("home"))
        .env("XDG_RUNTIME_DIR", cairn.path("runtime"))
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("DOCKER_CONFIG")
        .env("PATH", format!("{}:{path}", cairn.dir.path().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that fails early does not read it.
    let _ = stdin.write_all(password.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        !said.contains("hunter2") && !said.contains("bWU6"),
        "{said}"
    );
    output
}

fn login(cairn: &Cairn, host: &str, password: &str, more: &[&str]) -> (bool, String) {
    let args = [&["login", "-u", "me", "--password-stdin", host], more].concat();
    let output = run(cairn, &args, password);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), err)
}

fn file(cairn: &Cairn, name: &str) -> Option<Value> {
    let text = std::fs::read(cairn.path(name)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

#[test]
fn a_login_is_verified_kept_as_podman_keeps_it_and_forgotten_by_a_logout() {
    for with_token in [false, true] {
        let proxy = guarded(with_token);
        let host = proxy.host();
        let cairn = Cairn::new();
        let (done, err) = login(&cairn, &host, "hunter2", &[]);
        assert!(!done && err.contains("denies access"), "{err}");
        assert_eq!(file(&cairn, "runtime/containers/auth.json"), None);
        assert!(login(&cairn, &host, "secret\n", &[]).0);
        let kept = file(&cairn, "runtime/containers/auth.json").unwrap();
        assert_eq!(kept, json!({"auths": {&host: {"auth": "bWU6c2VjcmV0"}}}));
        let meta = cairn
            .path("runtime/containers/auth.json")
            .metadata()
            .unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        // What is kept is used.
        proxy.forget();
        run(&cairn, &["pull", &format!("{host}/a:1")], "");
        assert!(proxy.count(|a| a.header("authorization") == Some("Basic bWU6c2VjcmV0")) > 0);
        assert!(run(&cairn, &["logout", &host], "").status.success());
        assert_eq!(
            file(&cairn, "runtime/containers/auth.json").unwrap(),
            json!({"auths": {}})
        );
        let again = run(&cairn, &["logout", &host], "");
        let err = String::from_utf8_lossy(&again.stderr);
        assert!(err.contains("there are no credentials for"), "{err}");
    }
}

#[test]
fn what_else_is_in_a_file_stays_and_dockers_file_is_taken_where_it_is_the_one() {
    let proxy = guarded(false);
    let host = proxy.host();
    let cairn = Cairn::new();
    let docker = cairn.path("home/.docker");
    std::fs::create_dir_all(&docker).unwrap();
    let before = json!({"psFormat": "table", "auths": {"other": {"auth": "eDp5"}}, "z": [1]});
    std::fs::write(docker.join("config.json"), before.to_string()).unwrap();
    assert!(login(&cairn, &host, "secret", &[]).0);
    let after = file(&cairn, "home/.docker/config.json").unwrap();
    assert_eq!(
        (&after["psFormat"], &after["z"]),
        (&before["psFormat"], &before["z"])
    );
    assert_eq!(after["auths"]["other"], before["auths"]["other"]);
    assert!(after["auths"][&host]["auth"].is_string());
    // A file of its own.
    let own = cairn.path("own/auth.json");
    let own = ["--authfile", own.to_str().unwrap()];
    assert!(login(&cairn, &host, "secret", &own).0);
    assert!(file(&cairn, "own/auth.json").unwrap()["auths"][&host].is_object());
    run(&cairn, &[&["logout", "--all"], &own[..]].concat(), "");
    assert_eq!(file(&cairn, "own/auth.json").unwrap(), json!({"auths": {}}));
    assert!(file(&cairn, "home/.docker/config.json").unwrap()["auths"][&host].is_object());
    // One that is broken is named and left as it is.
    std::fs::write(docker.join("config.json"), "{\"auths\": hunter2").unwrap();
    let (done, err) = login(&cairn, &host, "secret", &[]);
    assert!(
        !done && err.contains("config.json: it is not a JSON object"),
        "{err}"
    );
}

#[test]
fn a_helper_that_the_file_names_keeps_and_forgets_the_password() {
    let proxy = guarded(true);
    let host = proxy.host();
    let cairn = Cairn::new();
    let helper = cairn.path("docker-credential-test");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > kept;;\nget) cat kept 2>/dev/null || { echo credentials not found; exit 1; };;\nerase) rm kept 2>/dev/null || { echo credentials not found; exit 1; };;\nesac\n";
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let directory = cairn.path("runtime/containers");
    std::fs::create_dir_all(&directory).unwrap();
    let document = json!({"credHelpers": {&host: "test"}});
    std::fs::write(directory.join("auth.json"), document.to_string()).unwrap();
    assert!(login(&cairn, &host, "secret", &[]).0);
    assert_eq!(
        file(&cairn, "runtime/containers/auth.json").unwrap(),
        document
    );
    let kept = json!({"ServerURL": host, "Username": "me", "Secret": "secret"});
    assert_eq!(file(&cairn, "kept").unwrap(), kept);
    proxy.forget();
    run(&cairn, &["pull", &format!("{host}/a:1")], "");
    assert!(proxy.count(|a| a.header("authorization") == Some("Basic bWU6c2VjcmV0")) > 0);
    assert!(run(&cairn, &["logout", &host], "").status.success());
    assert!(!cairn.path("kept").exists());
    assert!(!run(&cairn, &["logout", &host], "").status.success());
}

#[test]
fn what_is_no_registry_or_no_password_is_refused() {
    let cairn = Cairn::new();
    let (done, err) = login(&cairn, "team", "x", &[]);
    assert!(
        !done && err.contains("it is not the host of a registry"),
        "{err}"
    );
    let (done, err) = login(&cairn, "registry.test", "", &[]);
    assert!(!done && err.contains("must not be empty"), "{err}");
    // Without a terminal there is nobody to ask; setsid takes it away.
    let output = std::process::Command::new("setsid")
        .arg("-w")
        .arg(env!("CARGO_BIN_EXE_cairn"))
        .args(["login", "registry.test"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("there is no terminal to ask for a password"),
        "{err}"
    );
    assert_eq!(output.status.code(), Some(2));
}
