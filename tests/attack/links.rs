//! Links where a runtime mounts, reads and writes.

use super::{Tar, common, with_any_ids};
use serde_json::json;

const WRITE: &str =
    "(echo '|/x' > /proc/sys/kernel/core_pattern) 2>/dev/null && echo written; echo end";

/// A procfs at the end of a chain of links was not masked: the masks were looked up by name.
#[test]
fn proc_sys_and_dev_are_directories_of_the_root_or_the_image_is_not_run() {
    if !common::is_root() {
        skip!("needs root");
    }
    let pattern = || std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    with_any_ids(&[], |bench| {
        let sym = tar::EntryType::Symlink;
        let host = bench.cairn.path("victim");
        std::fs::create_dir(&host).unwrap();
        let host = host.to_str().unwrap();
        let directory = tar::EntryType::Directory;
        let layouts: Vec<(&str, Tar)> = vec![
            (
                "/proc",
                Tar::new()
                    .link("proc", "dev/p", sym)
                    .link("dev/", "", directory)
                    .link("real/", "", directory)
                    .link("real/proc/", "", directory)
                    .link("dev/p", "../real/proc", sym),
            ),
            ("/proc", Tar::new().link("proc", "dev/hidden", sym)),
            ("/proc", Tar::new().link("proc", ".", sym)),
            ("/proc", Tar::new().link("proc", "sys", sym)),
            ("/sys", Tar::new().link("sys", "proc", sym)),
            ("/sys", Tar::new().link("sys", "/proc/self/root/proc", sym)),
            ("/dev", Tar::new().link("dev", "proc", sym)),
            ("/dev", Tar::new().link("dev", "sys/kernel", sym)),
            ("/dev", Tar::new().link("dev", host, sym)),
            ("/proc", Tar::new().file("proc", b"a file")),
        ];
        for (name, layer) in layouts {
            bench.image(layer, json!({"Cmd": ["/bin/sh", "-c", WRITE]}));
            let err = bench.cairn.fails(&["run", "--rm", "hostile"], 125, name);
            assert!(err.starts_with("cairn: "), "{err}");
            assert_eq!(pattern(), before);
            assert_eq!(std::fs::read_dir(host).unwrap().count(), 0);
        }
        // Missing ones are made; then everything is masked.
        let layer = Tar::new().file(".wh.proc", b"").file(".wh.sys", b"");
        bench.image(layer, json!({"Cmd": ["/bin/sh", "-c", WRITE]}));
        assert_eq!(bench.cairn.ok(&["run", "--rm", "hostile"]), "end\n");
        assert_eq!(
            bench.cairn.json(&["ps", "-a"]),
            json!([]),
            "nothing is left"
        );
    });
    assert_eq!(pattern(), before);
}

#[test]
fn links_in_etc_and_at_volumes_and_working_directories_stay_inside() {
    if !common::is_root() {
        skip!("needs root");
    }
    with_any_ids(&[], |bench| {
        let sym = tar::EntryType::Symlink;
        let victim = bench.cairn.path("victim");
        std::fs::create_dir(&victim).unwrap();
        let place = victim.to_str().unwrap();
        let cases: Vec<(Tar, serde_json::Value)> = vec![
            (Tar::new().link("etc", place, sym), json!({})),
            (
                Tar::new().link("etc/hosts", &format!("{place}/hosts"), sym),
                json!({}),
            ),
            (
                Tar::new().link("etc/hosts", "/proc/1/root/etc/passwd", sym),
                json!({}),
            ),
            (
                Tar::new().link("data", place, sym),
                json!({"Volumes": {"/data/x": {}}}),
            ),
            (
                Tar::new().link("data", "/proc/self/cwd", sym),
                json!({"Volumes": {"/data/x": {}}}),
            ),
            (
                Tar::new().link("work", place, sym),
                json!({"WorkingDir": "/work/new"}),
            ),
            (Tar::new(), json!({"WorkingDir": "/proc/self/fd/3"})),
            (Tar::new(), json!({"WorkingDir": "/proc/self/fd/7/../.."})),
            (Tar::new(), json!({"WorkingDir": "../../../../.."})),
            (
                Tar::new().link("etc/passwd", "/proc/1/environ", sym),
                json!({}),
            ),
        ];
        for (i, (layer, mut config)) in cases.into_iter().enumerate() {
            config["Cmd"] = json!([
                "/bin/sh",
                "-c",
                format!("pwd; ls {place} 2>/dev/null; echo ran > {place}/f 2>/dev/null; true")
            ]);
            bench.image(layer.file("some", b""), config);
            let output = bench.cairn.output(&["run", "--rm", "hostile"]);
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code() == Some(0) || err.starts_with("cairn: "),
                "{i}: {err}"
            );
            let left: Vec<_> = std::fs::read_dir(&victim).unwrap().collect();
            assert!(left.is_empty(), "case {i} reached the host: {left:?}");
        }
        // CVE-2024-21626, the other half: a process that is added, by a caller with a directory of the host's open.
        bench.plain();
        bench.cairn.ok(&[
            "run",
            "-d",
            "--name",
            "victim",
            "hostile",
            "/bin/sleep",
            "1000",
        ]);
        std::fs::write(victim.join("of-the-host"), b"").unwrap();
        for fd in 3..13 {
            let cwd = format!("/proc/self/fd/{fd}");
            let look = ["victim", "/bin/sh", "-c", "ls -a . .. ../../.."];
            let exec = [&["exec", "-w", &cwd], &look[..]].concat();
            let mut command = bench.cairn.command(&exec);
            let output = command.current_dir(&victim).output().unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(!shown.contains("of-the-host"), "{fd}: {shown}");
        }
        bench.cairn.ok(&["rm", "-f", "victim"]);
        assert_eq!(bench.cairn.json(&["ps", "-a"]), json!([]));
    });
}
