//! Ids of a container that are none of the host's: on the disk nothing tells them.

use super::{Bench, common, under_every_driver};
use serde_json::json;

const AUTO: [&str; 2] = ["--userns", "auto"];
const POOL: std::ops::RangeInclusive<u64> = 0x4000_0000..=0x6FFF_FFFF;
const MAP: &str = "cat /proc/self/uid_map; cat /proc/self/gid_map";

/// The numbers of a map with one line for users and one for groups.
fn map(text: &str) -> Vec<u64> {
    let numbers = text.split_whitespace().map(|n| n.parse().unwrap());
    numbers.collect()
}

/// Containers of these names, in the background until they are told to end.
fn start(bench: &Bench, names: &[&str]) -> Vec<u64> {
    names
        .iter()
        .map(|name| {
            let script = format!("{MAP}; echo ready; exec sleep 1000");
            let run = ["run", "-d", "--name", name, "--userns", "auto", "hostile"];
            bench
                .cairn
                .ok(&[&run[..], &["/bin/sh", "-c", &script]].concat());
            common::eventually("it has begun", || {
                bench.cairn.ok(&["logs", name]).contains("ready")
            });
            map(bench.cairn.ok(&["logs", name]).trim_end_matches("ready\n"))[1]
        })
        .collect()
}

#[test]
fn a_container_has_a_range_of_ids_that_no_other_has() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&[], |bench| {
        bench.plain();
        let firsts = start(bench, &["a", "b", "c"]);
        for (i, first) in firsts.iter().enumerate() {
            assert!(POOL.contains(first) && POOL.contains(&(first + 65_535)));
            let others = firsts.iter().skip(i + 1);
            let mut disjoint = others.map(|other| first.abs_diff(*other) >= 65_536);
            assert!(disjoint.all(|d| d), "{firsts:?}");
        }
        let pid = bench.cairn.json(&["inspect", "a"])["pid"].to_string();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", firsts[0]);
        assert!(status.contains(&uid), "{status}");
        bench.cairn.ok(&["rm", "-f", "a", "b", "c"]);
        let chosen = bench.sh(&["--userns", "100000:200000:1000"], MAP);
        assert_eq!(map(&chosen), [0, 100_000, 1000, 0, 200_000, 1000]);
        assert_eq!(map(&bench.sh(&[], MAP))[..2], [0, 0], "the default");
    });
}

/// Makes, changes, renames and links files of several owners; what is there afterwards, as the container sees it.
const CHANGE: &str = "set -e; cd /home; echo root > root; mkdir -m 2775 sub; echo www > sub/www
    chown 33:44 sub/www; chown 33 sub; ln -s root link; chown -h 33:33 link; ln root hard
    chown 33:33 /etc/group; chmod 4755 /bin/true; mv /etc/passwd /etc/users; rm /bin/mkdir
    setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= /bin/chown
    stat -c '%n %u:%g %a %F' root sub sub/www link /etc/group /etc/users /bin/true /bin/sh / /tmp";

#[test]
fn what_joins_or_starts_again_has_ids_of_the_container() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&[], |bench| {
        bench.plain();
        let first = start(bench, &["c"])[0];
        let script = "cat /proc/self/uid_map; id -u; echo out > /dev/stdout; echo x > /tmp/$1
            stat -c '%u:%g' /tmp/$1";
        for (user, uid, owner) in [("root", 0, "0:0"), ("www", 33, "33:33")] {
            bench.cairn.ok(&["exec", "c", "/bin/chmod", "1777", "/tmp"]);
            let exec = ["exec", "-u", user, "c", "/bin/sh", "-c", script, "sh", user];
            let seen = bench.cairn.ok(&exec);
            let (map_seen, rest) = seen.split_once('\n').unwrap();
            assert_eq!(map(map_seen), [0, first, 65_536]);
            assert_eq!(rest, format!("{uid}\nout\n{owner}\n"));
        }
        let top = bench.cairn.json(&["top", "c"]);
        assert!(top.to_string().contains("\"root\""), "{top}");
        bench.cairn.ok(&["stop", "-t", "0", "c"]);
        bench.cairn.ok(&["start", "c"]);
        let seen = bench.cairn.ok(&[
            "exec",
            "c",
            "/bin/sh",
            "-c",
            "id -u; stat -c '%u:%g' /tmp/www",
        ]);
        assert_eq!(seen, "0\n33:33\n", "whatever range it has now");
        bench.cairn.fails(
            &["exec", "-u", "65536", "c", "/bin/true"],
            125,
            "ids 0 to 65535",
        );
        bench.cairn.ok(&["rm", "-f", "c"]);
    });
}

#[test]
fn a_commit_has_the_ids_that_the_container_saw() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&["setfattr"], |bench| {
        bench.plain();
        let commit = |name: &str, options: &[&str]| {
            let run = ["run", "--name", name];
            let script = ["hostile", "/bin/sh", "-c", CHANGE];
            let seen = bench.cairn.ok(&[&run[..], options, &script].concat());
            let image = format!("{name}:1");
            bench.cairn.ok(&["commit", name, &image]);
            let listing = bench.cairn.path(name);
            let target = listing.to_str().unwrap();
            bench
                .cairn
                .ok(&["export", "--format", "tar", "-o", target, &image]);
            (seen, owners(&listing))
        };
        let (plain, plainly) = commit("plain", &[]);
        let (mapped, mappedly) = commit("mapped", &AUTO);
        assert_eq!(mapped, plain, "as the container sees them");
        assert_eq!(mappedly, plainly, "as the layer has them");
        assert!(
            mappedly
                .iter()
                .any(|line| line.starts_with("bin/chown 0:0") && line.ends_with(']')),
            "{mappedly:?}"
        );
        assert!(
            mappedly
                .iter()
                .any(|line| line.starts_with("home/sub/www 33:44"))
        );
    });
}

/// Paths of a tar with owner, mode and kind.
fn owners(file: &std::path::Path) -> Vec<String> {
    use std::fmt::Write;
    let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let size = entry.size();
        let header = entry.header();
        let mut line = format!(
            "{} {}:{} {:o} {:?} {}",
            entry.path().unwrap().display(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mode().unwrap(),
            header.entry_type(),
            size
        );
        for pax in entry.pax_extensions().unwrap().into_iter().flatten() {
            let pax = pax.unwrap();
            // Capabilities of programs name who is root for them.
            if pax.key().unwrap().contains("xattr") {
                write!(line, " {:?}", pax.value_bytes()).unwrap();
            }
        }
        line
    });
    let mut all: Vec<String> = entries.collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

#[test]
fn devices_streams_mounts_and_kernel_parameters_belong_to_the_container() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&[], |bench| {
        bench.plain();
        let volume = bench.cairn.path("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(volume.join("old"), "x").unwrap();
        std::os::unix::fs::chown(volume.join("old"), Some(33), Some(44)).unwrap();
        let bind = format!("{}:/volume", volume.display());
        let options = [
            "--userns",
            "auto",
            "-v",
            &bind,
            "--tmpfs",
            "/scratch",
            "--tmpfs",
            "/www:uid=33,gid=44",
            "--tmpfs",
            "/volume/below/deep",
            "--sysctl",
            "kernel.shmmni=77",
            "--hostname",
            "inside",
            "--network",
            "none",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "-u",
            "0:0",
        ];
        let script = "set -e; echo x > /dev/null; echo new > /volume/new; chown 33 /volume/new; cat /volume/old
            stat -c '%n %u:%g' /dev /dev/null /dev/shm /dev/mqueue /dev/pts /dev/pts/ptmx /dev/console \\
                /etc/hosts /scratch /www /volume/old /volume/new /volume/below
            cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname /etc/hostname
            (echo 5 > /proc/sys/kernel/shmmni) 2>/dev/null || echo fixed
            mount -t tmpfs x /tmp 2>/dev/null || echo unmounted; echo x >> /etc/hosts";
        let seen = bench.sh(&options, script);
        let root = |name: &str| format!("{name} 0:0\n");
        let all = [
            "/dev",
            "/dev/null",
            "/dev/shm",
            "/dev/mqueue",
            "/dev/pts",
            "/dev/pts/ptmx",
            "/dev/console",
            "/etc/hosts",
            "/scratch",
        ];
        let expected = format!(
            "x{}/www 33:44\n/volume/old 33:44\n/volume/new 33:0\n/volume/below 0:0\n77\n1\ninside\ninside\nfixed\nunmounted",
            all.map(root).concat()
        );
        assert_eq!(seen, expected);
        let owner = |name: &str| {
            let meta = std::fs::symlink_metadata(volume.join(name)).unwrap();
            use std::os::unix::fs::MetadataExt;
            (meta.uid(), meta.gid())
        };
        assert_eq!(owner("new"), (33, 0), "no id of the range is on the disk");
        assert_eq!(owner("below"), (0, 0));
    });
}

#[test]
fn no_capability_and_no_filter_gives_power_over_mounts_or_the_host() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&["umount", "mknod"], |bench| {
        bench.plain();
        let all = [
            "--userns",
            "auto",
            "--cap-add",
            "ALL",
            "--security-opt",
            "seccomp=unconfined",
        ];
        let script =
            "mount -t tmpfs x /tmp && echo mounted; mount -o remount,rw /proc/sys && echo remounted
            umount /proc/sys && echo uncovered; umount /dev && echo unmounted
            mknod /tmp/disk b 254 0 && echo node; echo 1 > /proc/sys/vm/drop_caches && echo kernel
            cat /proc/1/root/etc/shadow; id -u";
        let run = [&["run", "--rm"], &all[..], &["hostile", "/bin/sh", "-c"]].concat();
        let output = bench.cairn.output(&[&run[..], &[script]].concat());
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(seen, "0\n");
    });
}

#[test]
fn what_a_range_cannot_do_is_refused_with_a_line() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&[], |bench| {
        bench.image(
            super::Tar::new().file("made", b""),
            json!({"Env": ["PATH=/bin"], "Volumes": {"/declared": {}}}),
        );
        for (options, code, words) in [
            (&["--userns", "keep-id"][..], 2, "keep-id: is not supported"),
            (&["--userns", "0:1:1"], 2, "root of the host"),
            (&["--userns", "1073741824:1:1"], 2, "are for auto"),
            (
                &["--userns", "auto", "--privileged"],
                2,
                "--privileged has the host's ids",
            ),
            (
                &["--userns", "100000:100000:10", "-u", "33"],
                125,
                "ids 0 to 9",
            ),
            (
                &["--userns", "auto", "--tmpfs", "/x:uid=65536"],
                125,
                "ids 0 to 65535",
            ),
            (
                &["--userns", "auto", "-v", "/proc:/host"],
                125,
                "map the ids of /proc",
            ),
            (
                &["--userns", "auto", "-v", "/sys:/host"],
                125,
                "--userns host",
            ),
        ] {
            let run = [&["run", "--rm"], options, &["hostile", "/bin/true"]].concat();
            let err = bench.cairn.fails(&run, code, words);
            assert_eq!(err.lines().count(), 1, "{err}");
        }
        assert_eq!(
            bench.cairn.json(&["ps", "-a"]),
            json!([]),
            "nothing is left"
        );
        assert_eq!(
            bench.sh(&AUTO, "ls -dn /declared | { read m n u g r; echo $u:$g; }"),
            "0:0"
        );
    });
}

#[test]
fn a_file_system_without_mapped_ids_is_named_with_the_way_on() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = Bench::new("copy", &[]);
    let root = bench.cairn.root();
    std::fs::create_dir(&root).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "ramfs", "none"])
        .arg(&root)
        .status();
    assert!(mounted.unwrap().success());
    let unmount = Unmount(root);
    bench.plain();
    let run = |options: &[&str]| {
        let run = [&["run", "--rm"], options, &["hostile", "/bin/true"]].concat();
        bench.cairn.output(&run)
    };
    assert!(run(&[]).status.success());
    let output = run(&AUTO);
    assert_eq!(output.status.code(), Some(125));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    for words in ["driver copy", "mapping the ids of", "--userns host"] {
        assert!(err.contains(words), "{err}");
    }
    drop(unmount);
}

/// Unmounts whatever becomes of the test.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let done = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        assert!(done.is_ok() || std::thread::panicking());
    }
}

#[test]
fn a_range_is_free_again_however_the_container_ended() {
    if !common::is_root() {
        skip!("needs root");
    }
    let taken = |first: u64| {
        use rustix::fs::{FlockOperation, flock};
        let file = std::fs::File::open(format!("/run/cairn/ids/{first}")).unwrap();
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    };
    let bench = Bench::new("erofs", &[]);
    bench.plain();
    let firsts = start(&bench, &["killed", "stopped"]);
    assert!(firsts.iter().all(|first| taken(*first)));
    let monitor = bench.cairn.json(&["inspect", "killed"])["monitor"].as_i64();
    let monitor = rustix::process::Pid::from_raw(monitor.unwrap() as i32).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    common::eventually("it is free", || !taken(firsts[0]));
    bench.cairn.ok(&["stop", "-t", "0", "stopped"]);
    assert!(!taken(firsts[1]), "as soon as it has stopped");
    bench.cairn.ok(&["rm", "killed", "stopped"]);
}
