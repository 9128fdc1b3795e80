//! Containers that change things while something is done to them: directories under mounts that are being made,
//! programs under `exec`.

use std::path::Path;
use std::process::Stdio;

use super::{Bench, Tar, common};
use serde_json::json;

/// What is done here is the same whatever is below.
fn over_the_usual_driver(act: impl Fn(&Bench)) {
    act(&Bench::new("erofs", &[]));
}

/// Mounts of this process's namespace that lead below a directory.
fn mounts_below(place: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.matches(place.to_str().unwrap()).count()
}

/// CVE-2021-30465: a volume is shared with a container that swaps a directory in it for a link, again and again,
/// while another container mounts something there. The mount ends up where it belongs or nowhere.
#[test]
fn directories_that_are_swapped_for_links_while_mounts_are_made() {
    if !common::is_root() {
        skip!("needs root");
    }
    over_the_usual_driver(|bench| {
        bench.plain();
        let cairn = &bench.cairn;
        let (shared, inner) = (cairn.path("shared"), cairn.path("inner"));
        std::fs::create_dir_all(shared.join("a/b")).unwrap();
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("marker"), "here").unwrap();
        let (volume, below) = (
            format!("{}:/v", shared.display()),
            format!("{}:/v/a/b", inner.display()),
        );
        let swap = "cd /v; ln -s / l; ln -s /proc p; ln -s ../../../.. up
            while :; do for to in l p up; do mv a kept; mv $to a; mv a $to; mv kept a; done; done";
        cairn.ok(&[
            "run", "-d", "--name", "swap", "-v", &volume, "hostile", "/bin/sh", "-c", swap,
        ]);
        let look = "while read -r line; do set -- $line; echo $5; done < /proc/self/mountinfo; cat /v/a/b/marker /b/marker 2>/dev/null; ls /b /proc/b 2>/dev/null; true";
        let mut mounted = 0;
        for kind in ["-v", "--tmpfs"] {
            for _ in 0..6 {
                let what = if kind == "-v" { &below } else { "/v/a/b" };
                let run = [
                    "run", "--rm", "-v", &volume, kind, what, "hostile", "/bin/sh", "-c", look,
                ];
                let output = cairn.output(&run);
                let out = String::from_utf8_lossy(&output.stdout);
                let err = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success() || err.starts_with("cairn: "),
                    "{err}"
                );
                for place in out.lines().filter(|line| line.ends_with("/b")) {
                    // It is in the volume, whatever the directory is called by now.
                    assert!(
                        place.starts_with("/v/"),
                        "{kind}: mounted at {place}\n{out}"
                    );
                    mounted += 1;
                }
            }
        }
        assert!(mounted > 0, "it never worked");
        assert_eq!(mounts_below(&inner), 0);
        cairn.ok(&["rm", "-f", "swap"]);
        assert_eq!(cairn.json(&["ps", "-a"]), json!([]));
    });
}

/// Process 1 replaces the programs that `exec` starts, and goes for whoever starts them.
#[test]
fn an_exec_into_a_container_that_replaces_its_programs_gives_nothing_away() {
    if !common::is_root() {
        skip!("needs root");
    }
    let before = super::program::program();
    over_the_usual_driver(|bench| {
        bench.plain();
        let cairn = &bench.cairn;
        let hunt = "cp /bin/true /bin/real
            while :; do
                ln -sf /proc/self/exe /bin/target; ln -sf /proc/1/exe /bin/target
                for p in /proc/[0-9]*; do
                    [ $p = /proc/1 ] && continue
                    (echo evil >> $p/exe) 2>/dev/null; chmod 777 $p/exe 2>/dev/null
                    cat $p/environ 2>/dev/null >> /seen; ls -l $p/fd $p/root/ $p/cwd/ 2>/dev/null >> /seen
                done
                cp /bin/real /bin/target.new; mv /bin/target.new /bin/target
            done";
        cairn.ok(&["run", "-d", "--name", "c", "hostile", "/bin/sh", "-c", hunt]);
        for _ in 0..12 {
            let mut exec = cairn.command(&["exec", "c", "/bin/target", "--version"]);
            exec.env("SECRET_OF_THE_CALLER", "0123456789");
            let done = exec.stdout(Stdio::null()).stderr(Stdio::null()).status();
            // Whatever was there at that moment; nothing hangs.
            assert!(done.unwrap().code().is_some());
        }
        let seen = cairn.output(&["exec", "c", "/bin/cat", "/seen"]).stdout;
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.contains("SECRET_OF_THE_CALLER"), "{seen}");
        let host = cairn.dir.path().to_str().unwrap();
        assert!(!seen.contains(host), "a path of the host: {seen}");
        cairn.ok(&["rm", "-f", "c"]);
    });
    assert_eq!(super::program::program(), before);
}

/// Files of users that are huge, not text, or no files: read within bounds, or refused.
#[test]
fn files_of_users_of_any_size_or_kind_are_read_within_bounds() {
    if !common::is_root() {
        skip!("needs root");
    }
    over_the_usual_driver(|bench| {
        let runs = |bench: &Bench, what: &str| {
            for user in ["", "0", "www", "1000:1000", "nobody"] {
                let output = bench.cairn.output(&[
                    "run", "--rm", "-u", user, "hostile", "/bin/sh", "-c", "exit 7",
                ]);
                let err = String::from_utf8_lossy(&output.stderr);
                let code = output.status.code();
                assert!(
                    code == Some(7) || err.starts_with("cairn: "),
                    "{what}, {user:?}: {code:?} {err}"
                );
            }
        };
        let noise = common::noise(5, 3 << 20);
        let line = [&b"x:".repeat(1 << 20)[..], b"\n"].concat();
        let many = b"www:x:0:0:\n".repeat(200_000);
        for (what, content) in [
            ("noise", &noise),
            ("one long line", &line),
            ("lines", &many),
        ] {
            let layer = Tar::new()
                .file("etc/passwd", content)
                .file("etc/group", content);
            bench.image(layer, json!({}));
            runs(bench, what);
        }
        let sym = tar::EntryType::Symlink;
        for target in ["/dev/zero", "/proc/self/mem", "/proc/kmsg", "passwd", "/"] {
            let layer = Tar::new()
                .link("etc/passwd", target, sym)
                .link("etc/group", target, sym);
            bench.image(layer, json!({}));
            runs(bench, target);
        }
        let mut layer = Tar::new();
        let fifo = Tar::header("etc/passwd", tar::EntryType::Fifo, 0);
        layer.0.append(&fifo, &[][..]).unwrap();
        bench.image(layer, json!({}));
        runs(bench, "a pipe");
        assert_eq!(bench.cairn.json(&["ps", "-a"]), json!([]));
    });
    // A gigabyte that is not there, as a tree on the disk has it.
    let cairn = common::shell();
    let tree = cairn.path("sparse");
    common::shell_tree(&tree);
    for name in ["etc/passwd", "etc/group"] {
        let file = std::fs::File::options().write(true).open(tree.join(name));
        file.unwrap().set_len(1 << 30).unwrap();
    }
    cairn.import_dir(&tree, "sparse");
    let said = cairn.ok(&[
        "run", "--rm", "-u", "www", "sparse", "/bin/sh", "-c", "id -u",
    ]);
    assert_eq!(said.trim(), "33");
}
