//! `cairn cp`: between a container and the host, inside the container's root only.

mod common;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Output, Stdio};

use common::{Cairn, eventually, is_root, shell_tree};

fn shell() -> Cairn {
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    cairn.import_dir(&tree, "shell");
    std::fs::create_dir(cairn.path("host")).unwrap();
    std::fs::write(cairn.path("host/secret"), "the host's").unwrap();
    cairn
}

/// A container that has run this and goes on running.
fn running(script: &str) -> Cairn {
    let cairn = shell();
    let script = script.replace("HOST", cairn.path("host").to_str().unwrap());
    let script = format!("{script}\ntouch /begun; sleep 1000");
    cairn.ok(&[
        "run", "-d", "--name", "c", "shell", "/bin/sh", "-c", &script,
    ]);
    eventually("it has begun", || {
        inside(&cairn, "ls /begun 2>&1; :").trim() == "/begun"
    });
    cairn
}

fn inside(cairn: &Cairn, script: &str) -> String {
    cairn.ok(&["exec", "c", "/bin/sh", "-c", script])
}

fn cp(cairn: &Cairn, from: &str, to: &Path) -> Output {
    cairn.output(&["cp", from, to.to_str().unwrap()])
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn feed(cairn: &Cairn, args: &[&str], tar: &[u8]) -> Output {
    let mut command = cairn.command(args);
    let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // What is refused early is not read to its end.
    let _ = child.stdin.take().unwrap().write_all(tar);
    child.wait_with_output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn host_is_untouched(cairn: &Cairn) {
    let names: Vec<_> = std::fs::read_dir(cairn.path("host"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["secret"]);
    let secret = cairn.path("host/secret");
    assert_eq!(
        (read(&secret).as_str(), secret.metadata().unwrap().nlink()),
        ("the host's", 1)
    );
}

/// A tar of one member after another: name, kind, target or content.
fn tar_of(members: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, text) in members {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000041\0");
        block[116..124].copy_from_slice(b"0000041\0");
        let content = if *kind == b'0' { text.as_bytes() } else { b"" };
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = *kind;
        if *kind != b'0' {
            block[157..157 + text.len()].copy_from_slice(text.as_bytes());
        }
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn files_and_directories_go_where_docker_puts_them() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(
        "mkdir -p /data/sub; echo one > /data/sub/file; ln -s sub /data/link; chmod 700 /data/sub; chown 33:33 /data/sub/file",
    );
    let out = cairn.path("out");
    // A directory that is not there becomes the copy; into one that is, it goes by its name, or without it.
    assert!(cp(&cairn, "c:/data", &out).status.success());
    assert_eq!(read(&out.join("sub/file")), "one\n");
    assert_eq!(
        out.join("sub").metadata().unwrap().permissions().mode() & 0o7777,
        0o700
    );
    assert_eq!(
        std::fs::read_link(out.join("link")).unwrap(),
        Path::new("sub")
    );
    assert_eq!(out.join("sub/file").metadata().unwrap().uid(), 0);
    assert!(cp(&cairn, "c:data/", &out).status.success());
    assert_eq!(read(&out.join("data/sub/file")), "one\n");
    std::fs::write(out.join("sub/file"), "old").unwrap();
    assert!(cp(&cairn, "c:/data/.", &out).status.success());
    assert_eq!(read(&out.join("sub/file")), "one\n");
    assert!(
        cp(&cairn, "c:/data/sub/file", &out.join("named"))
            .status
            .success()
    );
    assert_eq!(read(&out.join("named")), "one\n");
    for (from, to, words) in [
        ("c:/data/sub/file", "nosuch/", "no such file or directory"),
        (
            "c:/data/sub/file",
            "nosuch/file",
            "no such file or directory",
        ),
        ("c:/nosuch", "x", "no such file or directory"),
        ("c:/data", "named", "is a file"),
        ("c:/data/sub/file", "sub/file/x", "open"),
    ] {
        let output = cp(&cairn, from, &out.join(to));
        assert_eq!(output.status.code(), Some(1), "{from} {to}");
        assert!(
            error(&output).contains(words),
            "{from} {to}: {}",
            error(&output)
        );
    }
    // Links: as they are, or what the last one leads to.
    assert!(
        cp(&cairn, "c:/data/link", &out.join("copied"))
            .status
            .success()
    );
    assert!(out.join("copied").is_symlink());
    cairn.ok(&[
        "cp",
        "-L",
        "c:/data/link",
        out.join("followed").to_str().unwrap(),
    ]);
    assert_eq!(read(&out.join("followed/file")), "one\n");
    cairn.ok(&[
        "cp",
        "-a",
        "c:/data/sub/file",
        out.join("owned").to_str().unwrap(),
    ]);
    assert_eq!(out.join("owned").metadata().unwrap().uid(), 33);
    // And back.
    let local = cairn.path("local");
    std::fs::create_dir_all(local.join("deep")).unwrap();
    std::fs::write(local.join("deep/file"), "two").unwrap();
    std::os::unix::fs::chown(local.join("deep/file"), Some(7), Some(8)).unwrap();
    let told = cairn.json(&["cp", local.to_str().unwrap(), "c:/new"]);
    assert_eq!(
        told,
        serde_json::json!({"entries": 3, "bytes": 3, "left_out": []})
    );
    assert_eq!(
        inside(&cairn, "cat /new/deep/file; stat -c %u:%g /new/deep/file"),
        "two0:0\n"
    );
    cairn.ok(&["cp", "-a", local.to_str().unwrap(), "c:/new"]);
    assert_eq!(
        inside(&cairn, "stat -c %u:%g /new/local/deep/file"),
        "7:8\n"
    );
    // A link of the container at the end of the target is followed there.
    cairn.ok(&[
        "cp",
        local.join("deep/file").to_str().unwrap(),
        "c:/data/link/file",
    ]);
    assert_eq!(inside(&cairn, "cat /data/sub/file"), "two");
    let both = cairn.output(&["cp", "c:/a", "c:/b"]);
    assert_eq!(both.status.code(), Some(2));
    assert_eq!(cairn.output(&["cp", "/a", "/b"]).status.code(), Some(2));
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_stopped_container_can_be_copied_from_and_to() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let out = cairn.path("out");
    std::fs::write(&out, "from the host").unwrap();
    let run = [
        "create", "--name", "c", "--tmpfs", "/scratch", "shell", "/bin/sh", "-c",
    ];
    cairn.ok(&[&run[..], &["cat /given > /taken"]].concat());
    cairn.ok(&["cp", out.to_str().unwrap(), "c:/given"]);
    assert_eq!(cairn.ok(&["diff", "c"]), "A /given\n");
    cairn.ok(&["start", "-a", "c"]);
    assert!(cp(&cairn, "c:/taken", &out).status.success());
    assert_eq!(read(&out), "from the host");
    cairn.fails(
        &["cp", out.to_str().unwrap(), "c:/scratch/x"],
        1,
        "cairn start c",
    );
    // Nothing is left mounted or locked.
    assert!(!read(Path::new("/proc/self/mounts")).contains(cairn.root().to_str().unwrap()));
    cairn.ok(&["rm", "c"]);
    cairn.ok(&["run", "--name", "r", "--read-only", "shell", "/bin/true"]);
    cairn.fails(&["cp", out.to_str().unwrap(), "r:/x"], 1, "read-only");
}

#[test]
fn volumes_of_a_stopped_container_can_be_copied_from_and_to() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    let (host, out) = (cairn.path("host"), cairn.path("out"));
    std::fs::write(&out, "words").unwrap();
    let bound = format!("{}:/srv/bound:ro", host.display());
    cairn.ok(&[
        "create",
        "--name",
        "c",
        "--read-only",
        "-v",
        "data:/srv/data",
        "-v",
        &bound,
        "shell",
        "/bin/true",
    ]);
    cairn.ok(&["cp", out.to_str().unwrap(), "c:/srv/data/given"]);
    let data = cairn.json(&["volume", "inspect", "data"]);
    let data = data[0]["directory"].as_str().unwrap();
    assert_eq!(read(&Path::new(data).join("given")), "words");
    cairn.fails(
        &["cp", out.to_str().unwrap(), "c:/srv/bound/x"],
        1,
        "Read-only file system",
    );
    // The root is read-only in it, too, by whichever way.
    std::os::unix::fs::symlink("/etc", Path::new(data).join("link")).unwrap();
    let through = cairn.output(&["cp", out.to_str().unwrap(), "c:/srv/data/link/x"]);
    assert!(!through.status.success());
    // All of it is there where a directory above is copied.
    let all = cairn.path("all");
    assert!(cp(&cairn, "c:/srv", &all).status.success());
    assert_eq!(read(&all.join("data/given")), "words");
    assert_eq!(read(&all.join("bound/secret")), "the host's");
    host_is_untouched(&cairn);
    // Another volume's source may be gone.
    std::fs::rename(&host, cairn.path("elsewhere")).unwrap();
    assert!(cp(&cairn, "c:/srv/data/given", &out).status.success());
    cairn.fails(
        &["cp", "c:/srv/bound/secret", out.to_str().unwrap()],
        1,
        "cairn start c",
    );
    assert!(!read(Path::new("/proc/self/mounts")).contains(cairn.root().to_str().unwrap()));
    cairn.ok(&["rm", "c"]);
}

#[test]
fn files_with_holes_come_out_of_archives_as_they_were() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = shell();
    cairn.ok(&["create", "--name", "c", "shell", "/bin/true"]);
    let tree = cairn.path("holes");
    std::fs::create_dir(&tree).unwrap();
    let file = std::fs::File::create(tree.join("sparse")).unwrap();
    for (at, text) in [(0u64, "begin"), (3 << 20, "middle"), (9 << 20, "end")] {
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), at).unwrap();
    }
    file.set_len(20 << 20).unwrap();
    drop(file);
    for form in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=pax", "--sparse-version=0.1"],
    ] {
        let tar = std::process::Command::new("tar")
            .arg("-C")
            .arg(&tree)
            .args(["--sparse", "-cf", "-"])
            .args(form)
            .arg("sparse")
            .output()
            .unwrap();
        assert!(tar.stdout.len() < 1 << 20, "it has holes");
        let fed = feed(&cairn, &["cp", "-", "c:/tmp"], &tar.stdout);
        assert!(fed.status.success(), "{form:?}: {}", error(&fed));
        let out = cairn.path("out");
        assert!(cp(&cairn, "c:/tmp/sparse", &out).status.success());
        assert!(
            std::fs::read(&out).unwrap() == std::fs::read(tree.join("sparse")).unwrap(),
            "{form:?}"
        );
        assert!(out.metadata().unwrap().blocks() < 8192, "holes are kept");
    }
    cairn.ok(&["rm", "c"]);
}

#[test]
fn an_archive_goes_in_and_out() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(
        "mkdir -p /data; echo one > /data/file; dd if=/dev/zero of=/data/holes bs=1 count=0 seek=1000000 2>/dev/null",
    );
    let tar = cairn.output(&["cp", "c:/data", "-"]);
    assert!(tar.status.success());
    let listed = cairn.path("listed.tar");
    std::fs::write(&listed, &tar.stdout).unwrap();
    let output = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&listed)
        .output()
        .unwrap();
    let mut names: Vec<&str> = std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["data/", "data/file", "data/holes"]);
    inside(&cairn, "mkdir /again");
    assert!(
        feed(&cairn, &["cp", "-", "c:/again"], &tar.stdout)
            .status
            .success()
    );
    assert_eq!(
        inside(&cairn, "cat /again/data/file; stat -c %s /again/data/holes"),
        "one\n1000000\n"
    );
    let more = tar_of(&[
        ("a/b/file", b'0', "deep"),
        ("a/hard", b'1', "a/b/file"),
        ("pipe", b'6', ""),
    ]);
    let output = feed(&cairn, &["cp", "-", "c:/again"], &more);
    assert!(output.status.success() && error(&output).contains("\"pipe\" is left out"));
    assert_eq!(
        inside(
            &cairn,
            "cat /again/a/hard; stat -c %h:%u /again/a/hard; ls -a /again/a"
        ),
        "deep2:0\n.\n..\nb\nhard\n"
    );
    assert!(
        feed(&cairn, &["cp", "-a", "-", "c:/again"], &more)
            .status
            .success()
    );
    assert_eq!(inside(&cairn, "stat -c %u /again/a/hard"), "33\n");
    let cut = feed(
        &cairn,
        &["cp", "-", "c:/again"],
        &tar.stdout[..tar.stdout.len() - 1024],
    );
    assert!(!cut.status.success() && error(&cut).contains("cut off"));
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn links_of_a_container_lead_nowhere_on_the_host() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(
        "ln -s HOST/secret /file; ln -s ../../../../../../..HOST /up; ln -s HOST /down; ln -s /etc/passwd /passwd; ln -s loop /loop; mkdir /tree; ln -s HOST /tree/link",
    );
    let out = cairn.path("out");
    for from in [
        "c:/up/secret",
        "c:/down/secret",
        "c:/file/",
        "c:/proc/1/root/etc/passwd",
        "c:/proc/1/cwd/etc/passwd",
        "c:/../../../up/secret",
    ] {
        assert_eq!(cp(&cairn, from, &out).status.code(), Some(1), "{from}");
        assert!(!out.exists(), "{from}");
    }
    cairn.fails(
        &["cp", "c:/proc/1/environ", out.to_str().unwrap()],
        1,
        "kernel",
    );
    for from in ["c:/file", "c:/loop"] {
        cairn.fails(&["cp", "-L", from, out.to_str().unwrap()], 1, "");
    }
    cairn.ok(&["cp", "-L", "c:/passwd", out.to_str().unwrap()]);
    assert!(read(&out).contains("www:x:33"), "the container's own");
    // Into the container.
    for to in ["c:/up/new", "c:/down/new", "c:/down/", "c:/file"] {
        assert_eq!(
            cairn
                .output(&["cp", out.to_str().unwrap(), to])
                .status
                .code(),
            Some(1),
            "{to}"
        );
    }
    cairn.ok(&["cp", out.to_str().unwrap(), "c:/passwd"]);
    assert_eq!(inside(&cairn, "cat /etc/passwd"), read(&out));
    // What was copied out before is never written through, either.
    let tree = cairn.path("trees");
    std::fs::create_dir(&tree).unwrap();
    assert!(cp(&cairn, "c:/tree", &tree).status.success());
    inside(
        &cairn,
        "rm /tree/link; mkdir /tree/link; echo bad > /tree/link/secret",
    );
    let output = cp(&cairn, "c:/tree", &tree);
    assert!(!output.status.success() && error(&output).contains("symbolic link"));
    host_is_untouched(&cairn);
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_directory_that_is_swapped_for_a_link_all_the_time_gives_nothing_of_the_host() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running(
        "mkdir -p /d /o; echo mine > /d/secret; ln -s HOST /l; (while :; do mv /d /o/d; mv /l /d; mv /d /l; mv /o/d /d; done) >/dev/null 2>&1 &",
    );
    let out = cairn.path("out");
    let file = cairn.path("new");
    std::fs::write(&file, "new").unwrap();
    for round in 0..30 {
        std::fs::create_dir(&out).unwrap();
        // It may find the link, or nothing; what it finds is the container's.
        cp(&cairn, "c:/d/secret", &out.join("one"));
        if round % 5 == 0 {
            let all = cp(&cairn, "c:/", &out.join("all"));
            assert!(error(&all).contains("proc\" is left out") || !all.status.success());
        }
        let _ = cairn.output(&["cp", file.to_str().unwrap(), "c:/d/new"]);
        feed(
            &cairn,
            &["cp", "-", "c:/"],
            &tar_of(&[("d/other", b'0', "x")]),
        );
        for copied in ["one", "all/d/secret", "all/o/d/secret"] {
            let copied = out.join(copied);
            let through_a_link = copied.parent().unwrap().is_symlink();
            if !through_a_link && copied.is_file() {
                assert_eq!(read(&copied), "mine\n");
            }
        }
        std::fs::remove_dir_all(&out).unwrap();
        host_is_untouched(&cairn);
    }
    cairn.ok(&["rm", "-f", "c"]);
}

#[test]
fn hostile_archives_stay_below_the_directory_they_are_for() {
    if !is_root() {
        skip!("needs root");
    }
    let cairn = running("mkdir /box; echo kept > /outside");
    let host = cairn.path("host");
    let host = host.to_str().unwrap();
    /// Name, type and link of each member.
    type Members<'a> = &'a [(&'a str, u8, &'a str)];
    let attacks: [(Members<'_>, &str); 5] = [
        (&[("../outside", b'0', "x")], "could leave the root"),
        (&[("a/../../outside", b'0', "x")], "could leave the root"),
        (&[("l", b'2', host), ("l/new", b'0', "x")], "symbolic link"),
        (
            &[("l", b'2', "/"), ("l/outside", b'0', "x")],
            "symbolic link",
        ),
        (&[("h", b'1', "../outside")], "could leave the root"),
    ];
    for (members, words) in attacks {
        let output = feed(&cairn, &["cp", "-", "c:/box"], &tar_of(members));
        assert_eq!(output.status.code(), Some(1), "{members:?}");
        assert!(
            error(&output).contains(words),
            "{members:?}: {}",
            error(&output)
        );
    }
    // A hard link to a link is the link, and a file over it replaces it.
    let members = [
        ("s", b'2', "/outside"),
        ("h", b'1', "s"),
        ("h", b'0', "x"),
        ("s", b'0', "y"),
    ];
    assert!(
        feed(&cairn, &["cp", "-", "c:/box"], &tar_of(&members))
            .status
            .success()
    );
    assert_eq!(inside(&cairn, "cat /outside /box/h /box/s"), "kept\nxy");
    // Nor does a link that is there already lead anything out.
    let local = cairn.path("local");
    std::fs::create_dir(&local).unwrap();
    symlink(host, local.join("in")).unwrap();
    cairn.ok(&["cp", local.to_str().unwrap(), "c:/box"]);
    let output = feed(
        &cairn,
        &["cp", "-", "c:/box/local"],
        &tar_of(&[("in/x", b'0', "x")]),
    );
    assert!(!output.status.success());
    host_is_untouched(&cairn);
    cairn.ok(&["rm", "-f", "c"]);
}

fn attributes(path: &Path) -> String {
    let output = std::process::Command::new("getfattr")
        .args(["-d", "-m", "-", "-e", "hex", "--absolute-names"])
        .arg(path)
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn hard_links_and_attributes_go_along() {
    if !is_root() {
        skip!("needs root");
    }
    if !common::has("getfattr") || !common::has("setfattr") {
        skip!("needs the tools of attr");
    }
    let cairn = running("mkdir /in");
    let tree = cairn.path("linked");
    std::fs::create_dir_all(tree.join("d")).unwrap();
    std::fs::write(tree.join("a"), "content").unwrap();
    std::fs::hard_link(tree.join("a"), tree.join("d/b")).unwrap();
    let capability = "0x0100000200040000000000000000000000000000";
    for (name, value) in [
        ("user.note", "0x0a0b"),
        ("security.capability", capability),
        ("trusted.other", "0x01"),
    ] {
        let set = std::process::Command::new("setfattr")
            .args(["-n", name, "-v", value])
            .arg(tree.join("a"))
            .status();
        if !set.unwrap().success() {
            skip!("this file system has no attributes of users");
        }
    }
    assert!(
        cp(&cairn, tree.to_str().unwrap(), Path::new("c:/in"))
            .status
            .success()
    );
    let links = "stat -c '%h %i' /in/linked/a /in/linked/d/b";
    let said = inside(&cairn, links);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], lines[1], "two names of one file");
    assert!(lines[0].starts_with("2 "), "{said}");
    // Back without privileges, and with them.
    for (option, privileges) in [(None, false), (Some("-a"), true)] {
        let out = cairn.path(if privileges { "kept" } else { "plain" });
        let words = ["cp"].into_iter().chain(option);
        let words: Vec<&str> = words
            .chain(["c:/in/linked", out.to_str().unwrap()])
            .collect();
        cairn.ok(&words);
        let (a, b) = (out.join("a"), out.join("d/b"));
        assert_eq!(a.metadata().unwrap().ino(), b.metadata().unwrap().ino());
        let found = attributes(&a);
        assert!(found.contains("user.note=0x0a0b"), "{found}");
        assert_eq!(found.contains(capability), privileges, "{found}");
        assert!(!found.contains("trusted"), "{found}");
    }
    // As an archive, too.
    let tar = cairn.output(&["cp", "c:/in/linked", "-"]).stdout;
    let done = feed(&cairn, &["cp", "-", "c:/in"], &tar);
    assert!(done.status.success(), "{}", error(&done));
    assert!(inside(&cairn, links).starts_with("2 "));
    cairn.ok(&["rm", "-f", "c"]);
}
