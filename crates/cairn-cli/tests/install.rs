//! `tools/install`: everything is where it belongs, and can be used.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::has;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn install(args: &[&str]) -> Output {
    let script = top().join("tools/install");
    Command::new(script).args(args).output().unwrap()
}

#[test]
fn the_program_its_pages_its_completions_and_its_timer_are_installed() {
    let place = tempfile::tempdir().unwrap();
    let prefix = place.path().join("opt/cairn");
    let args = [
        "--prefix",
        prefix.to_str().unwrap(),
        env!("CARGO_BIN_EXE_cairn"),
    ];
    // Twice: what is there is replaced.
    for _ in 0..2 {
        let done = install(&args);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let program = prefix.join("bin/cairn");
    let version = Command::new(&program).arg("--version").output().unwrap();
    assert!(version.status.success());
    let read = |path: &str| {
        std::fs::read_to_string(prefix.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    assert!(read("share/man/man1/cairn-gc.1").contains(".TH"));
    assert!(read("share/man/man1/cairn.1").contains("snapshotter"));
    for (shell, path) in [
        ("bash", "share/bash-completion/completions/cairn"),
        ("zsh", "share/zsh/site-functions/_cairn"),
        ("fish", "share/fish/vendor_completions.d/cairn.fish"),
    ] {
        assert!(read(path).contains("doctor"), "{path}");
        if has(shell) {
            let checked = Command::new(shell)
                .arg("-n")
                .arg(prefix.join(path))
                .output()
                .unwrap();
            assert!(
                checked.status.success(),
                "{path}: {}",
                String::from_utf8_lossy(&checked.stderr)
            );
        }
    }
    let unit = read("lib/systemd/system/cairn-gc.service");
    assert!(
        unit.contains(&format!("ExecStart={} gc", program.display())),
        "{unit}"
    );
    assert!(read("lib/systemd/system/cairn-gc.timer").contains("OnCalendar"));
}

#[test]
fn a_package_is_built_below_another_directory_and_mistakes_are_named() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().to_str().unwrap();
    let done = install(&[
        "--prefix",
        "/usr",
        "--destdir",
        at,
        env!("CARGO_BIN_EXE_cairn"),
    ]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let unit =
        std::fs::read_to_string(place.path().join("usr/lib/systemd/system/cairn-gc.service"));
    assert!(unit.unwrap().contains("ExecStart=/usr/bin/cairn gc"));
    for (args, words) in [
        (&["--prefix", "relative"][..], "absolute"),
        (&["--nosuch"], "unknown option"),
        (&["/nosuch/program"], "cannot be run"),
    ] {
        let refused = install(args);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{said}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    if !has("bash") {
        skip!("there is no bash");
    }
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("cairn");
    let made = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["completions", "bash"])
        .output()
        .unwrap();
    std::fs::write(&script, made.stdout).unwrap();
    let complete = |words: &[&str]| {
        let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let program = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; COMPREPLY=(); _cairn cairn '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            list.join(" "),
            words.len() - 1,
            words.last().unwrap()
        );
        let output = Command::new("bash")
            .args(["-c", &program])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(complete(&["cairn", "doc"]).contains("doctor"));
    assert!(complete(&["cairn", "gc", "--dry"]).contains("--dry-run"));
}
