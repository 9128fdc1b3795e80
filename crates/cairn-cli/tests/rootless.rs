//! Everything as an ordinary user, with subordinate ids and without: images, containers, and what is left.

mod common;
mod user;

use std::path::Path;

use user::{Ids, User};

/// An image with a file of the user www, and a directory to be replaced.
fn import(user: &User) -> String {
    let tree = user.path("tree");
    common::shell_tree(&tree);
    std::fs::create_dir_all(tree.join("old/sub")).unwrap();
    std::fs::write(tree.join("old/file"), "old").unwrap();
    let srv = tree.join("srv");
    std::fs::create_dir_all(&srv).unwrap();
    std::fs::write(srv.join("kept"), "kept").unwrap();
    std::fs::write(srv.join("changed"), "before").unwrap();
    if common::is_root() {
        for path in [srv.clone(), srv.join("kept"), srv.join("changed")] {
            std::os::unix::fs::chown(path, Some(33), Some(33)).unwrap();
        }
    }
    std::fs::write(user.path("image.tar"), common::tar_of(&tree)).unwrap();
    user.ok(&["import", "image.tar", "--name", "base"]);
    user.ok(&["export", "base", "--format", "tar", "-o", "before.tar"]);
    listing(&user.path("before.tar"))
}

/// Owner, kind and name of what a tar holds, a line each.
fn listing(tar: &Path) -> String {
    let output = std::process::Command::new("tar")
        .args(["--numeric-owner", "-tvf"])
        .arg(tar)
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = lines.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}\n", words[0], words[1], words[5])
    });
    lines.collect()
}

fn owner_of<'a>(listing: &'a str, name: &str) -> &'a str {
    let line = listing
        .lines()
        .find(|line| line.ends_with(&format!(" {name}")));
    let line = line.unwrap_or_else(|| panic!("{name} is not in\n{listing}"));
    line.split(' ').nth(1).unwrap()
}

fn round(ids: Ids) {
    let Some(user) = User::new(ids) else {
        skip!("needs user namespaces, and root to become another user");
    };
    let before = import(&user);
    let www = owner_of(&before, "srv/kept").to_owned();
    assert_eq!(
        user.output(&["run", "--rm", "base", "sh", "-c", "exit 7"])
            .status
            .code(),
        Some(7)
    );

    user.ok(&[
        "run",
        "-d",
        "--name",
        "work",
        "base",
        "sh",
        "-c",
        "echo up; sleep 1000",
    ]);
    user.ok(&["exec", "work", "sh", "-c", "echo after > /srv/changed; rm -r /old; mkdir /old; echo new > /old/new; rm /bin/touch; chmod 700 /srv/kept"]);
    assert!(user.ok(&["ps"]).contains("running"));
    common::eventually("the log has its line", || {
        user.ok(&["logs", "work"]) == "up\n"
    });
    user.ok(&["cp", "image.tar", "work:/tmp/copied"]);
    user.ok(&["cp", "work:/tmp/copied", "back"]);
    assert_eq!(
        std::fs::read(user.path("back")).unwrap(),
        std::fs::read(user.path("image.tar")).unwrap()
    );
    assert!(user.ok(&["top", "work"]).contains("sleep 1000"));
    user.ok(&["stop", "-t", "0", "work"]);

    user.ok(&["commit", "work", "changed"]);
    user.ok(&["export", "changed", "--format", "tar", "-o", "after.tar"]);
    let after = listing(&user.path("after.tar"));
    assert_eq!(
        owner_of(&after, "srv/changed"),
        www,
        "a file that is changed keeps its owner"
    );
    assert_eq!(owner_of(&after, "srv/kept"), www);
    assert_eq!(owner_of(&after, "old/new"), "0/0");
    assert!(after.contains("-rwx------"), "{after}");
    for gone in ["old/file", "old/sub", "bin/touch"] {
        assert!(!after.contains(gone), "{gone} is in\n{after}");
    }
    let seen = user.ok(&[
        "run",
        "--rm",
        "changed",
        "sh",
        "-c",
        "cat /srv/changed /old/*; ls /old",
    ]);
    assert_eq!(seen, "after\nnew\nnew\n");

    user.ok(&["rm", "work"]);
    user.ok(&["rmi", "changed", "base"]);
    user.ok(&["gc", "--prune-cache"]);
    user.ok(&["check"]);
    for directory in ["heads", "containers"] {
        let left = std::fs::read_dir(user.repository().join(directory)).unwrap();
        assert_eq!(left.count(), 0, "{directory}");
    }
}

#[test]
fn the_whole_round_with_one_id() {
    round(Ids::One);
}

#[test]
fn the_whole_round_with_subordinate_ids() {
    round(Ids::Subordinate);
}

#[test]
fn users_of_the_image_are_there_with_subordinate_ids() {
    let Some(user) = User::new(Ids::Subordinate) else {
        skip!("needs newuidmap, and root to become another user");
    };
    import(&user);
    let out = user.ok(&[
        "run",
        "--rm",
        "-u",
        "www",
        "base",
        "sh",
        "-c",
        "id -u; id -G; stat -c %u:%g /srv/kept",
    ]);
    assert_eq!(out, "33\n33 44\n33:33\n");
    user.ok(&[
        "run",
        "-d",
        "--name",
        "work",
        "base",
        "sh",
        "-c",
        "chown 5:6 /srv/kept; touch /tmp/done; sleep 1000",
    ]);
    assert_eq!(
        user.ok(&["exec", "-u", "33:44", "work", "id", "-u"]),
        "33\n"
    );
    common::eventually("the file is given away", || {
        user.output(&["exec", "work", "ls", "/tmp/done"])
            .status
            .success()
    });
    // Of the files, those of the changed owner are on the disk and the user's own id may not touch them.
    user.ok(&["rm", "-f", "work"]);
    user.fails(
        &["run", "--rm", "-u", "70000", "base", "id"],
        125,
        "not among the ids",
    );
}

#[test]
fn what_one_id_cannot_have_is_said() {
    let Some(user) = User::new(Ids::One) else {
        skip!("needs user namespaces, and root to become another user");
    };
    import(&user);
    let output = user.output(&["run", "--rm", "base", "stat", "-c", "%u:%g", "/srv/kept"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0:0\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !common::is_root()
            || said.contains("files belong to users that this user namespace does not have"),
        "{said}"
    );
    user.fails(
        &["run", "--rm", "-u", "www", "base", "id"],
        125,
        "this user namespace has one id",
    );
    user.ok(&["run", "-d", "--name", "work", "base", "sleep", "1000"]);
    user.fails(
        &["exec", "-u", "www", "work", "id"],
        125,
        "this user namespace has one id",
    );
    user.ok(&["rm", "-f", "work"]);
    let driver = user.ok(&["driver"]);
    assert!(
        driver.contains("EROFS cannot be mounted in a user namespace"),
        "{driver}"
    );
    assert!(
        !common::is_root() || driver.contains("/etc/subuid gives user"),
        "{driver}"
    );
}

#[test]
fn without_helpers_there_is_one_id_and_the_package_is_named() {
    let Some(mut user) = User::new(Ids::Subordinate) else {
        skip!("needs newuidmap, and root to become another user");
    };
    user.search = "/nonexistent".into();
    let driver = user.ok(&["init"]) + &user.ok(&["driver"]);
    assert!(
        driver.contains("newuidmap is not installed") && driver.contains("uidmap"),
        "{driver}"
    );
}

#[test]
fn all_commands_of_a_user_share_a_namespace_while_something_runs_in_it() {
    let Some(user) = User::new(Ids::One) else {
        skip!("needs user namespaces, and root to become another user");
    };
    import(&user);
    let started: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            user.command(&["run", "-d", "--name", name, "base", "sleep", "1000"])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    let namespace = |name: &str| user.ok(&["exec", name, "readlink", "/proc/self/ns/user"]);
    assert_eq!(namespace("a"), namespace("b"));
    assert_eq!(namespace("a"), namespace("c"));
    let ipc = user.ok(&[
        "run",
        "--rm",
        "--ipc",
        "container:a",
        "base",
        "readlink",
        "/proc/self/ns/ipc",
    ]);
    assert_eq!(
        ipc,
        user.ok(&["exec", "a", "readlink", "/proc/self/ns/ipc"])
    );
    user.ok(&["rm", "-f", "a", "b", "c"]);
}

#[test]
fn a_group_that_was_given_to_the_user_pauses_and_ends_containers() {
    let Some(mut user) = User::new(Ids::One) else {
        skip!("needs user namespaces, and root to become another user");
    };
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let unified = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[2] == "cgroup2").then(|| words[1].to_owned())
    });
    let Some(unified) = unified.filter(|_| common::is_root()) else {
        skip!("needs root, and control groups of version 2");
    };
    import(&user);
    user.ok(&["run", "-d", "--name", "plain", "base", "sleep", "1000"]);
    user.fails(&["pause", "plain"], 1, "it has no version 2 control group");
    // What cannot be held still is not copied.
    user.fails(
        &["commit", "plain", "made:1"],
        1,
        "it has no version 2 control group",
    );
    user.ok(&["rm", "-f", "plain"]);
    let limited = ["run", "--rm", "--memory", "64m", "base", "true"];
    user.fails(&limited, 125, "was not given to this user");

    let given = format!("{unified}/cairn-given-{}", std::process::id());
    user.first = format!(
        "mkdir -p {given}/shell && chown -R {0}:{0} {given} && echo $$ > {given}/shell/cgroup.procs &&",
        user::UID
    );
    user.ok(&["run", "-d", "--name", "work", "base", "sleep", "1000"]);
    let groups = || {
        let entries = std::fs::read_dir(&given).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("cairn-")).count()
    };
    assert_eq!(groups(), 1);
    user.ok(&["pause", "work"]);
    assert!(user.ok(&["ps"]).contains("paused"));
    user.ok(&["unpause", "work"]);
    user.ok(&["commit", "work", "running"]);
    user.ok(&["exec", "work", "true"]);
    // What controllers there are is the machine's: a limit is kept, or refused by name.
    let output = user.output(&limited);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() || err.contains("--memory is not available"),
        "{err}"
    );

    let ps: serde_json::Value = serde_json::from_str(&user.ok(&["--json", "ps"])).unwrap();
    let monitor = ps[0]["monitor"].to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &monitor])
        .status();
    assert!(killed.unwrap().success());
    user.ok(&["rm", "-f", "work"]);
    assert_eq!(groups(), 0, "a group is there after its container");
    common::eventually("the groups of the test are empty", || {
        for name in ["cairn", "shell"] {
            let _ = std::fs::remove_dir(format!("{given}/{name}"));
        }
        std::fs::remove_dir(&given).is_ok()
    });
}

#[test]
fn who_keeps_their_id_owns_their_files_inside() {
    for ids in [Ids::One, Ids::Subordinate] {
        let Some(user) = User::new(ids) else {
            skip!("needs user namespaces, newuidmap, and root to become another user");
        };
        import(&user);
        let home = user.path("home");
        let volume = format!("{}:/home", home.display());
        let keep = [
            "run", "--rm", "--userns", "keep-id", "-v", &volume, "base", "sh", "-c",
        ];
        let with = |script| [&keep[..], &[script]].concat();
        let out = user.ok(&with(
            "id -u; id -g; touch /home/made; stat -c %u:%g /home/made; echo >> /etc/passwd",
        ));
        let (uid, gid) = match common::is_root() {
            true => (user::UID, user::UID),
            false => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        };
        assert_eq!(out, format!("{uid}\n{gid}\n{uid}:{gid}\n"));
        let made = std::fs::metadata(home.join("made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), uid);
        user.ok(&[
            "run", "-d", "--name", "work", "--userns", "keep-id", "base", "sleep", "1000",
        ]);
        assert_eq!(user.ok(&["exec", "work", "id", "-u"]), format!("{uid}\n"));
        if ids == Ids::Subordinate {
            assert_eq!(user.ok(&["exec", "-u", "0", "work", "id", "-u"]), "0\n");
            assert_eq!(
                user.ok(&["exec", "-u", "www", "work", "stat", "-c", "%u", "/srv/kept"]),
                "33\n"
            );
        }
        user.ok(&["rm", "-f", "work"]);
        user.fails(
            &["run", "--rm", "--userns", "auto", "base", "true"],
            125,
            "available to root only",
        );
    }
}
