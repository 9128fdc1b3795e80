//! Mounts in containers: one order by depth, mount points where the mount above them is.

mod common;

use common::{Cairn, Tar, docker_archive, is_root, shell_tree};
use serde_json::json;

fn image(layer: Tar, config: serde_json::Value) -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    let base = common::tar_of(&tree);
    let archive = docker_archive("shell", &[base, layer.done()], |document| {
        document["config"] = config;
    });
    std::fs::write(cairn.path("shell.tar"), archive).unwrap();
    cairn.ok(&["import", cairn.path("shell.tar").to_str().unwrap()]);
    for name in ["a", "b"] {
        std::fs::create_dir(cairn.path(name)).unwrap();
        std::fs::write(cairn.path(name).join("name"), name).unwrap();
    }
    cairn
}

fn plain() -> Cairn {
    image(Tar::new().file("made", b""), json!({"Env": ["PATH=/bin"]}))
}

fn volume(cairn: &Cairn, name: &str, target: &str) -> String {
    format!("--volume={}:{target}", cairn.path(name).display())
}

fn sh(cairn: &Cairn, options: &[&str], script: &str) -> String {
    let run = [
        &["run", "--rm"],
        options,
        &["shell", "/bin/sh", "-c", script],
    ]
    .concat();
    cairn.ok(&run).trim_end().to_owned()
}

/// moby#22327, moby#21916, podman#24309, podman#28684: whatever order they are written in.
#[test]
fn mounts_below_mounts_are_seen_in_every_order() {
    if !is_root() {
        skip!("needs root");
    }
    for driver in ["erofs", "overlay", "copy"] {
        let mut cairn = plain();
        cairn.driver = Some(driver);
        let both = |first: &str, second: &str, script: &str| {
            let one = sh(&cairn, &[first, second], script);
            let other = sh(&cairn, &[second, first], script);
            assert_eq!(one, other, "{first} {second}");
            one
        };
        let (a, b) = (
            volume(&cairn, "a", "/data"),
            volume(&cairn, "b", "/data/sub"),
        );
        assert_eq!(both(&a, &b, "cat /data/name /data/sub/name"), "ab");
        let tmpfs = "--tmpfs=/data:mode=755";
        let script = "stat -f -c %T /data; cat /data/sub/name";
        assert_eq!(both(tmpfs, &b, script), "tmpfs\nb");
        let script = "cat /data/name; stat -f -c %T /data/deep/er";
        assert_eq!(both(&a, "--tmpfs=/data/deep/er", script), "atmpfs");
        let file = format!("--volume={}:/data/x/file", cairn.path("b/name").display());
        assert_eq!(both("--tmpfs=/data", &file, "cat /data/x/file"), "b");
        // Over /etc, with the files every container has below it.
        let script = "cat /etc/name; test -s /etc/hosts && test -e /etc/resolv.conf && echo there";
        assert_eq!(
            sh(&cairn, &[&volume(&cairn, "a", "/etc")], script),
            "athere"
        );
        let read_only = format!("{}:ro", volume(&cairn, "b", "/etc"));
        assert_eq!(sh(&cairn, &[&read_only], "cat /etc/name; ls /etc"), "bname");
        // Below /dev.
        assert_eq!(
            sh(
                &cairn,
                &[&volume(&cairn, "a", "/dev/foo")],
                "cat /dev/foo/name"
            ),
            "a"
        );
        let file = format!("--volume={}:/dev/bar", cairn.path("b/name").display());
        assert_eq!(sh(&cairn, &[&file], "cat /dev/bar; : > /dev/null"), "b");
        cairn.ok(&[
            "run",
            "--name",
            "c",
            &a,
            &b,
            "--tmpfs=/run/x",
            "shell",
            "/bin/true",
        ]);
        assert_eq!(
            cairn.json(&["snapshot", "diff", "container/c"]),
            json!([]),
            "{driver}: mount points are nothing that the process changed"
        );
    }
}

#[test]
fn links_of_the_image_decide_where_a_mount_is_and_the_order_knows() {
    if !is_root() {
        skip!("needs root");
    }
    let sym = tar::EntryType::Symlink;
    let layer = Tar::new()
        .link("etc/resolv.conf", "/run/resolvconf/resolv.conf", sym)
        .link("short", "/deep/down/there", sym)
        .file("deep/down/there/f", b"")
        .link("var/run", "/run", sym);
    let cairn = image(layer, json!({"Env": ["PATH=/bin"]}));
    for options in [&["--tmpfs=/run"][..], &[]] {
        let script = "test -e /etc/resolv.conf && readlink /etc/resolv.conf";
        assert_eq!(sh(&cairn, options, script), "/run/resolvconf/resolv.conf");
    }
    // /short is less deep as it is written, and deeper than what is mounted around it.
    let options = [
        &volume(&cairn, "a", "/short")[..],
        &volume(&cairn, "b", "/deep/down"),
    ];
    assert_eq!(
        sh(&cairn, &options, "cat /deep/down/name /short/name"),
        "ba"
    );
    let twice = [
        &volume(&cairn, "a", "/run/x")[..],
        &volume(&cairn, "b", "/var/run/x"),
    ];
    let run = [&["run", "--rm"], &twice[..], &["shell", "/bin/true"]].concat();
    cairn.fails(&run, 125, "two mounts");
}

#[test]
fn flags_of_a_tmpfs_and_options_of_its_file_system_are_apart() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = plain();
    let shown = |options: &str| {
        sh(
            &cairn,
            &[&format!("--tmpfs=/run{options}")],
            "while read -r l; do case $l in *' /run '*) echo $l;; esac; done < /proc/mounts; stat -c '%a %u %g' /run",
        )
    };
    let all = shown(":rw,noexec,nosuid,nodev,exec,suid,dev,mode=750,size=1m,uid=3,gid=4");
    assert!(
        all.contains("size=1024k") && all.ends_with("750 3 4"),
        "{all}"
    );
    for flag in ["noexec", "nosuid", "nodev"] {
        assert!(!all.contains(flag), "{flag}: {all}");
        assert!(shown("").contains(flag), "{flag} is the default");
    }
    assert!(shown("").ends_with("1777 0 0"));
    assert!(shown(":ro").contains(" ro,"));
    cairn.fails(&["run", "--tmpfs=/run:bogus", "shell", "true"], 2, "bogus");
}

#[test]
fn paths_are_compared_as_paths_and_a_users_mount_beats_the_images() {
    if !is_root() {
        skip!("needs root");
    }
    let config = json!({"Env": ["PATH=/bin"], "Volumes": {"/data/": {}, "/other//x/": {}}});
    let cairn = image(Tar::new().file("made", b""), config);
    let kind = "stat -f -c %T /data";
    assert_eq!(sh(&cairn, &["--tmpfs=/data"], kind), "tmpfs");
    assert_eq!(sh(&cairn, &["--tmpfs=//data/."], kind), "tmpfs");
    let script = "cat /data/name; touch /other/x/f && echo ok";
    assert_eq!(
        sh(&cairn, &[&volume(&cairn, "a", "/data//")], script),
        "aok"
    );
    let twice = [&volume(&cairn, "a", "/data")[..], "--tmpfs=/data/"];
    let run = [&["run", "--rm"], &twice[..], &["shell", "/bin/true"]].concat();
    cairn.fails(&run, 125, "two mounts");
    let own = cairn.path("own");
    std::fs::write(&own, "1.2.3.4 mine\n").unwrap();
    let hosts = format!("--volume={}:/etc/hosts", own.display());
    assert_eq!(sh(&cairn, &[&hosts], "cat /etc/hosts"), "1.2.3.4 mine");
    for target in ["/proc", "/proc/sys", "/x/../proc/kcore"] {
        let run = [
            "run",
            "--rm",
            &volume(&cairn, "a", target),
            "shell",
            "/bin/true",
        ];
        cairn.fails(&run, 125, "/proc");
    }
    cairn.fails(
        &["run", "--rm", &volume(&cairn, "a", "/"), "shell", "true"],
        2,
        "itself",
    );
}
