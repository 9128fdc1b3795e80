//! Processes that join a container.

use serde_json::json;

use crate::bundle::Bundle;
use crate::common::{eventually, is_root};

fn running() -> Bundle {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create(&[]);
    bundle.ok(&["start", "ID"]);
    bundle
}

#[test]
fn a_process_is_in_the_container_and_has_no_more_rights() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = running();
    let script = "cat /proc/1/status /proc/self/status | grep -E '^(Cap|NoNew|Seccomp:)'; for n in pid net ipc uts mnt cgroup; do readlink /proc/1/ns/$n; readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; exit 6";
    let output = bundle.output(&["exec", "ID", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(6));
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let rights: Vec<&&str> = lines
        .iter()
        .filter(|l| l.contains(':') && !l.contains('[') && !l.contains('/'))
        .collect();
    let (first, own) = rights.split_at(rights.len() / 2);
    assert_eq!(first, own, "{text}");
    assert!(first.len() >= 7, "{text}");
    let spaces: Vec<&&str> = lines.iter().filter(|l| l.contains('[')).collect();
    assert_eq!(spaces.len(), 12, "{text}");
    assert!(spaces.chunks(2).all(|pair| pair[0] == pair[1]), "{text}");
    let groups = lines.iter().filter(|l| l.ends_with(":/")).count();
    assert_eq!(
        groups,
        lines
            .iter()
            .filter(|l| l.matches(':').count() == 2 && l.contains('/'))
            .count()
    );
}

#[test]
fn options_and_documents_say_what_is_different() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = running();
    let said = bundle.ok(&[
        "exec",
        "--user",
        "33:44",
        "--additional-gids",
        "5",
        "--cwd",
        "/tmp",
        "--env",
        "A=b",
        "ID",
        "sh",
        "-c",
        "id; pwd; echo $A",
    ]);
    assert_eq!(
        said,
        "uid=33(www) gid=44(video) groups=44(video),5\n/tmp\nb\n"
    );
    let process = json!({
        "args": ["sh", "-c", "id -u; echo $X $HOME; grep CapEff /proc/self/status; umask"],
        "env": ["PATH=/bin", "X=y"], "cwd": "/", "user": {"uid": 33, "umask": 0o77},
        "capabilities": {"bounding": ["CAP_KILL"]}, "unknown": {"kept": true},
    });
    std::fs::write(bundle.path("p.json"), process.to_string()).unwrap();
    let said = bundle.ok(&["exec", "--process", "p.json", "ID"]);
    assert_eq!(said, "33\ny /srv\nCapEff:\t0000000000000000\n0077\n");
    bundle.fails(&["exec", "ID"], "needs a command");
    bundle.fails(&["exec", "--user", "x", "ID", "true"], "not an id");
    bundle.fails(&["exec", "--cap", "CAP_NONE", "ID", "true"], "unknown");
    bundle.fails(&["exec", "ID", "nosuch"], "executable file not found");
    assert_eq!(
        bundle.output(&["exec", "ID", "nosuch"]).status.code(),
        Some(255)
    );
}

#[test]
fn a_detached_process_goes_on_and_its_number_is_told() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = running();
    let status = bundle.detached(&[
        "exec",
        "--detach",
        "--pid-file",
        "epid",
        "ID",
        "sh",
        "-c",
        "echo here; exec sleep 1000",
    ]);
    assert!(status.success());
    eventually("it writes", || bundle.out() == "here\n");
    let pid: i32 = std::fs::read_to_string(bundle.path("epid"))
        .unwrap()
        .parse()
        .unwrap();
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", "ID"])).unwrap();
    assert!(pids.len() == 2 && pids.contains(&pid), "{pids:?} {pid}");
    // It ends with the container, whose PID namespace it is in.
    bundle.ok(&["kill", "ID", "KILL"]);
    bundle.becomes("stopped");
    eventually("it ends", || cairn_runtime::start_ticks(pid).is_none());
}

#[test]
fn preserved_descriptors_are_there_and_no_others() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("ls /proc/self/fd | cat; cat <&3");
    std::fs::write(bundle.path("given"), "given\n").unwrap();
    let run = |script: &str| {
        bundle.oci(&["list"]);
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .env("OCI", env!("CARGO_BIN_EXE_cairn"))
            .env("ID", bundle.id())
            .current_dir(bundle.dir.path())
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    // 4 is open, too, and is not passed on; the last one is that of ls itself.
    let said = run("\"$OCI\" oci --root state run --preserve-fds 1 $ID 3<given 4<given");
    assert_eq!(said, "0\n1\n2\n3\n4\ngiven\n");
    let said = run("\"$OCI\" oci --root state run --preserve-fds 3 $ID 3<given");
    assert!(said.contains("descriptor 4 is not open"), "{said}");
    let said = run("LISTEN_FDS=1 \"$OCI\" oci --root state run $ID 3<given");
    assert_eq!(said, "0\n1\n2\n3\n4\ngiven\n");
}
