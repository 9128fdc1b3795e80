//! Named and anonymous volumes, and the long form of mounts.

mod common;

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use common::{Cairn, eventually, is_root, shell, shell_tree, survey};
use serde_json::json;

fn sh(cairn: &Cairn, options: &[&str], script: &str) -> String {
    let run = ["run", "--rm"];
    let end = ["shell", "/bin/sh", "-c", script];
    let all = [&run[..], options, &end].concat();
    cairn.ok(&all).trim_end().to_owned()
}

/// An image that has something at `/data`, which belongs to www.
fn with_data() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    std::fs::create_dir_all(tree.join("data/inner")).unwrap();
    std::fs::write(tree.join("data/inner/seed"), "seeded").unwrap();
    std::os::unix::fs::chown(tree.join("data"), Some(33), Some(33)).unwrap();
    std::os::unix::fs::chown(tree.join("data/inner"), Some(33), Some(44)).unwrap();
    std::fs::set_permissions(
        tree.join("data"),
        std::os::unix::fs::PermissionsExt::from_mode(0o750),
    )
    .unwrap();
    symlink("/../../../../../../etc", tree.join("away")).unwrap();
    cairn.import_dir(&tree, "shell");
    cairn
}

fn names(cairn: &Cairn) -> Vec<String> {
    let quiet = cairn.ok(&["volume", "ls", "-q"]);
    quiet.lines().map(str::to_owned).collect()
}

#[test]
fn a_named_volume_outlives_containers_and_is_filled_once() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    let volume = ["-v", "store:/data"];
    assert_eq!(
        sh(
            &cairn,
            &volume,
            "cat /data/inner/seed; stat -c ' %u:%g %a' /data; echo mine > /data/inner/seed; echo x > /data/new"
        ),
        "seeded 33:33 750"
    );
    assert_eq!(
        sh(
            &cairn,
            &volume,
            "cat /data/inner/seed /data/new; stat -c %u:%g /data/inner"
        ),
        "mine\nx\n33:44"
    );
    let read_only = ["-v", "store:/mnt:ro"];
    assert_eq!(
        sh(
            &cairn,
            &read_only,
            "cat /mnt/new; (echo y > /mnt/new) 2>/dev/null || echo refused"
        ),
        "x\nrefused"
    );
    // Without the copy, and where the image has nothing.
    let bare = ["--mount", "source=bare,target=/data,volume-nocopy"];
    assert_eq!(
        sh(&cairn, &bare, "ls -A /data; stat -c %u:%a /data"),
        "0:755"
    );
    assert_eq!(
        sh(&cairn, &["-v", "bare:/data"], "cat /data/inner/seed"),
        "seeded"
    );
    assert_eq!(names(&cairn), ["bare", "store"]);
    let made = cairn.json(&["volume", "inspect", "store"])[0].clone();
    let directory = std::path::PathBuf::from(made["directory"].as_str().unwrap());
    assert_eq!(
        std::fs::read_to_string(directory.join("new")).unwrap(),
        "x\n"
    );
    assert_eq!(directory.metadata().unwrap().uid(), 33);
    assert_eq!(
        (&made["anonymous"], &made["containers"]),
        (&json!(false), &json!([]))
    );
}

#[test]
fn a_volume_is_no_part_of_an_image_and_what_it_takes_is_counted() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    cairn.ok(&[
        "run",
        "--name",
        "c",
        "-v",
        "v:/data",
        "shell",
        "/bin/sh",
        "-c",
        "echo secret > /data/x",
    ]);
    assert_eq!(cairn.ok(&["diff", "c"]), "");
    cairn.ok(&["commit", "c", "made:1"]);
    let out = cairn.path("out");
    cairn.ok(&[
        "export",
        "made:1",
        "-o",
        out.to_str().unwrap(),
        "--format",
        "dir",
    ]);
    assert!(!out.join("data/x").exists() && out.join("data/inner/seed").exists());
    let before = survey(&cairn.root().join("volumes"));
    cairn.ok(&["gc", "--all"]);
    cairn.ok(&["check"]);
    assert_eq!(survey(&cairn.root().join("volumes")), before);
    let stats = cairn.json(&["stats"]);
    assert!(stats["volumes_bytes"].as_u64().unwrap() > 6);
}

#[test]
fn a_volume_in_use_stays() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    assert_eq!(cairn.ok(&["volume", "create", "-l", "a=b", "v"]), "v\n");
    assert_eq!(cairn.ok(&["volume", "create", "v"]), "v\n");
    cairn.ok(&[
        "run", "-d", "--name", "c", "-v", "v:/data", "shell", "sleep", "1000",
    ]);
    cairn.ok(&[
        "create",
        "--name",
        "d",
        "--volumes-from",
        "c:ro",
        "shell",
        "/bin/sh",
        "-c",
        "echo x > /data/x",
    ]);
    cairn.fails(&["volume", "rm", "v"], 1, "containers");
    cairn.ok(&["rm", "-f", "-v", "c"]);
    cairn.fails(&["volume", "rm", "-f", "v"], 1, "container d");
    assert_eq!(cairn.ok(&["volume", "prune", "-a"]), "");
    assert!(
        !cairn.output(&["start", "-a", "d"]).status.success(),
        "it is read-only"
    );
    cairn.ok(&["rm", "d"]);
    assert_eq!(
        cairn.ok(&[
            "volume",
            "ls",
            "-q",
            "--filter",
            "label=a=b",
            "--filter",
            "dangling=true"
        ]),
        "v\n"
    );
    assert_eq!(
        cairn.ok(&["volume", "ls", "-q", "--filter", "label=a=c"]),
        ""
    );
    cairn.fails(&["volume", "ls", "--filter", "x"], 2, "dangling");
    assert_eq!(cairn.ok(&["volume", "prune"]), "", "somebody named it");
    cairn.ok(&["volume", "rm", "v"]);
    cairn.fails(&["volume", "rm", "v"], 1, "does not exist");
    cairn.ok(&["volume", "rm", "-f", "v"]);
    assert!(names(&cairn).is_empty());
    assert_eq!(
        std::fs::read_dir(cairn.root().join("volumes"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn volumes_without_a_name_go_with_their_container_if_that_is_asked_for() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    assert_eq!(
        sh(&cairn, &["-v", "/data"], "cat /data/inner/seed"),
        "seeded"
    );
    assert!(names(&cairn).is_empty(), "--rm takes it along");
    let run = |name: &str| cairn.ok(&["run", "--name", name, "-v", "/data", "shell", "true"]);
    run("a");
    run("b");
    run("c");
    assert_eq!(names(&cairn).len(), 3);
    cairn.ok(&[
        "run",
        "--name",
        "d",
        "--volumes-from",
        "c",
        "shell",
        "touch",
        "/data/by-d",
    ]);
    cairn.ok(&["rm", "-v", "a"]);
    assert_eq!(names(&cairn).len(), 2);
    cairn.ok(&["rm", "b"]);
    assert_eq!(names(&cairn).len(), 2, "it was not asked for");
    cairn.ok(&["rm", "-v", "c"]);
    assert_eq!(names(&cairn).len(), 2, "another container uses it");
    assert_eq!(cairn.ok(&["volume", "prune"]).lines().count(), 1);
    cairn.ok(&["start", "-a", "d"]);
    cairn.ok(&["rm", "-v", "d"]);
    assert_eq!(cairn.ok(&["volume", "prune"]).lines().count(), 1);
    assert!(names(&cairn).is_empty());
    // A creation that fails leaves none behind.
    cairn.fails(
        &[
            "run",
            "-v",
            "/data",
            "--workdir",
            "relative",
            "shell",
            "true",
        ],
        2,
        "absolute",
    );
    cairn.fails(
        &[
            "run",
            "-v",
            "/data",
            "--mount",
            "type=image,source=nosuch,target=/x",
            "shell",
            "true",
        ],
        125,
        "nosuch",
    );
    assert!(names(&cairn).is_empty());
}

#[test]
fn many_containers_fill_one_volume_once() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    let script = "cat /data/inner/seed; echo >> /data/inner/seed; cat /other/inner/seed";
    let mut all: Vec<_> = (0..8)
        .map(|n| {
            let (a, b) = if n % 2 == 0 { ("x", "y") } else { ("y", "x") };
            let (a, b) = (format!("{a}:/data"), format!("{b}:/other"));
            let args = [
                "run", "--rm", "-v", &a, "-v", &b, "shell", "/bin/sh", "-c", script,
            ];
            let mut command = cairn.command(&args);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in &mut all {
        child.wait().unwrap();
    }
    let x = sh(
        &cairn,
        &["-v", "x:/v"],
        "cat /v/inner/seed 2>/dev/null || echo none",
    );
    let y = sh(
        &cairn,
        &["-v", "y:/v"],
        "cat /v/inner/seed 2>/dev/null || echo none",
    );
    // Whoever came first chose what it was filled with: /data has something, /other nothing.
    let lines = |text: &str| matches!(text.trim_end(), "seeded" | "none");
    assert!(lines(&x) && lines(&y), "{x:?} {y:?}");
    assert_eq!(names(&cairn), ["x", "y"]);
}

#[test]
fn the_long_form_mounts_each_type() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    let host = cairn.path("host,with comma");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), "from host").unwrap();
    let bind = format!("type=bind,\"src={}\",dst=/here,ro", host.display());
    assert_eq!(
        sh(
            &cairn,
            &["--mount", &bind],
            "cat /here/f; (echo x > /here/f) 2>/dev/null || echo ' refused'"
        ),
        "from host refused"
    );
    let tmpfs = [
        "--mount",
        "type=tmpfs,target=/scratch,tmpfs-size=1m,tmpfs-mode=700",
    ];
    assert_eq!(
        sh(
            &cairn,
            &tmpfs,
            "stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1M count=2 2>/dev/null || echo full"
        ),
        "700\nfull"
    );
    let image = ["--mount", "type=image,source=shell,target=/image"];
    assert_eq!(
        sh(
            &cairn,
            &image,
            "cat /image/data/inner/seed; (touch /image/x) 2>/dev/null || echo ' refused'"
        ),
        "seeded refused"
    );
    // The image's layers stay as long as a container shows them.
    let extra = cairn.path("extra");
    std::fs::create_dir(&extra).unwrap();
    std::fs::write(extra.join("word"), "kept").unwrap();
    cairn.import_dir(&extra, "extra");
    let create = [
        "create",
        "--name",
        "c",
        "--mount",
        "type=image,source=extra,target=/x",
    ];
    cairn.ok(&[&create[..], &["shell", "cat", "/x/word"]].concat());
    cairn.fails(&["rmi", "extra"], 1, "cairn rm c");
    let key = cairn.json(&["snapshot", "ls", "kind==view"])[0]["name"].clone();
    cairn.fails(&["snapshot", "rm", key.as_str().unwrap()], 1, "cairn rm c");
    cairn.ok(&["gc", "--all", "--prune-cache"]);
    assert_eq!(cairn.ok(&["start", "-a", "c"]), "kept");
    cairn.ok(&["check"]);
    cairn.ok(&["rm", "c"]);
    cairn.ok(&["rmi", "extra"]);
    cairn.ok(&["rmi", "shell"]);
    cairn.ok(&["gc", "--all"]);
    assert_eq!(cairn.json(&["snapshot", "ls"]), json!([]));
}

#[test]
fn hostile_names_and_targets_stay_where_they_are() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    // A link of the image leads to a place inside of it.
    assert_eq!(
        sh(
            &cairn,
            &["-v", "v:/away/inside"],
            "ls -d /etc/inside; echo x > /etc/inside/f"
        ),
        "/etc/inside"
    );
    assert!(!std::path::Path::new("/etc/inside").exists());
    // A link in a volume is not followed out of it either.
    sh(&cairn, &["-v", "v:/v"], "ln -s /../../../../etc /v/link");
    cairn.output(&[
        "run",
        "--rm",
        "-v",
        "v:/v",
        "--tmpfs",
        "/v/link/below",
        "shell",
        "true",
    ]);
    assert!(!std::path::Path::new("/etc/below").exists());
    for (option, words) in [
        ("--volume=../x/y:/v", "../x/y"),
        ("--volume=a/b:/v", "not valid"),
        ("--volume=.hidden:/v", "not valid"),
        ("--volume=a\nb:/v", "not valid"),
        ("--volume=v:/proc/x", "/proc"),
        ("--mount=source=v,target=/", "must not be /"),
    ] {
        let output = cairn.output(&["run", "--rm", option, "shell", "true"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && err.contains(words),
            "{option}: {err}"
        );
    }
    for name in ["..", "a/b", "", "-x", ".", &"n".repeat(300)] {
        let output = cairn.output(&["volume", "create", "--", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
    assert_eq!(names(&cairn), ["v"]);
}

#[test]
fn a_volume_of_a_killed_creation_is_not_left_for_ever() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = with_data();
    cairn.ok(&[
        "run", "-d", "--name", "c", "-v", "/data", "shell", "sleep", "1000",
    ]);
    let directory = cairn.root().join("volumes");
    std::fs::create_dir_all(directory.join(".new-x/data")).unwrap();
    let monitor = cairn.json(&["inspect", "c"])["monitor"].as_i64().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor as i32).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    eventually("it is gone", || {
        cairn.json(&["inspect", "c"])["status"] == "lost"
    });
    cairn.ok(&["rm", "-f", "-v", "c"]);
    cairn.ok(&["volume", "prune"]);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn short_options_take_their_value_attached_and_options_of_the_command_are_its_own() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let run = [
        "run",
        "--rm",
        "-vdata:/data",
        "-u33",
        "-e=A=B",
        "-w/data",
        "shell",
        "/bin/sh",
    ];
    let end = ["-c", "echo $A $(id -u) $(pwd) $1", "-x", "--bogus"];
    assert_eq!(cairn.ok(&[&run[..], &end].concat()), "B 33 /data --bogus\n");
    cairn.fails(
        &["run", "--rm", "--expose=80", "shell"],
        2,
        "--expose is not supported",
    );
    cairn.fails(
        &["create", "--link", "a:b", "shell"],
        2,
        "--link is not supported",
    );
    cairn.fails(&["run", "--bogus", "shell"], 2, "--bogus");
    cairn.fails(&["exec", "--bogus", "c", "true"], 2, "--bogus");
}
