//! What a container may use: memory, processes, processors, devices. Nothing of it is left afterwards.

use std::path::{Path, PathBuf};

use super::{Bench, common};
use serde_json::json;

fn bench() -> Bench {
    let bench = Bench::new("erofs", &["perl", "grep", "mknod"]);
    bench.plain();
    bench
}

/// Directories of control groups whose name ends so.
fn groups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        for place in [hierarchy.path(), PathBuf::from("/sys/fs/cgroup")] {
            let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            found.extend(paths.filter(|p| p.display().to_string().ends_with(id) && p.is_dir()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What the first of these files says, in whichever of the groups it is.
fn reads(groups: &[PathBuf], names: &[&str]) -> Option<String> {
    let files = groups
        .iter()
        .flat_map(|g| names.iter().map(move |n| g.join(n)));
    let text = files
        .into_iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    text.map(|text| text.trim_end().to_owned())
}

#[test]
fn limits_are_those_of_the_groups_and_go_with_the_container() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let run = [
        "run",
        "-d",
        "--name",
        "held",
        "--memory",
        "64m",
        "--memory-swap",
        "96m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "50",
        "hostile",
        "/bin/sleep",
        "600",
    ];
    bench.cairn.ok(&run);
    let id = bench.cairn.json(&["inspect", "held"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let there = groups(&id);
    assert!(!there.is_empty());
    let said = |names: &[&str]| reads(&there, names).unwrap_or_default();
    assert_eq!(said(&["memory.limit_in_bytes", "memory.max"]), "67108864");
    assert!(
        ["100663296", "33554432"]
            .contains(&&*said(&["memory.memsw.limit_in_bytes", "memory.swap.max"]))
    );
    assert_eq!(
        said(&["memory.soft_limit_in_bytes", "memory.low"]),
        "33554432"
    );
    assert!(["50000", "50000 100000"].contains(&&*said(&["cpu.cfs_quota_us", "cpu.max"])));
    assert!(["512", "20"].contains(&&*said(&["cpu.shares", "cpu.weight"])));
    assert_eq!(said(&["cpuset.cpus"]), "0");
    assert_eq!(said(&["pids.max"]), "50");
    bench.cairn.ok(&["rm", "-f", "held"]);
    assert_eq!(groups(&id), Vec::<PathBuf>::new());
    // Without options there is a limit of processes, and one that says there is none.
    assert_eq!(pids_max(&bench, &[]), "4096");
    assert_eq!(pids_max(&bench, &["--pids-limit", "-1"]), "max");
}

fn pids_max(bench: &Bench, options: &[&str]) -> String {
    let run = [
        &["run", "-d", "--name", "x"],
        options,
        &["hostile", "/bin/sleep", "600"],
    ]
    .concat();
    bench.cairn.ok(&run);
    let id = bench.cairn.json(&["inspect", "x"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = reads(&groups(&id), &["pids.max"]).unwrap_or_default();
    bench.cairn.ok(&["rm", "-f", "x"]);
    said
}

#[test]
fn a_container_that_uses_up_its_memory_is_told_apart() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let eat = "my @all; while (1) { push @all, 'x' x 1_000_000 }";
    let run = [
        "run", "--name", "eater", "--memory", "32m", "hostile", "perl", "-e", eat,
    ];
    bench.cairn.fails(&run, 137, "its memory was used up");
    let shown = &bench.cairn.json(&["ps", "-a"])[0];
    assert_eq!(
        (&shown["exit_code"], &shown["out_of_memory"]),
        (&json!(137), &json!(true))
    );
    let table = bench.cairn.ok(&["ps", "-a"]);
    assert!(table.contains("out of memory (137)"), "{table}");
    let run = ["run", "--rm", "--memory", "64m", "hostile", "/bin/true"];
    let output = bench.cairn.output(&run);
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn a_fork_bomb_ends_at_the_limit_of_processes() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let bomb = "my $made = 0; for (1 .. 200) { my $child = fork; last unless defined $child;
        if (!$child) { sleep 60; exit } $made++ } print $made; kill 'KILL', -1; exit";
    let run = [
        "run",
        "--rm",
        "--pids-limit",
        "20",
        "hostile",
        "perl",
        "-e",
        bomb,
    ];
    let made: u32 = bench.cairn.ok(&run).trim().parse().unwrap();
    assert_eq!(made, 19, "process 1 and 19 more");
    // One that never ends goes all the same.
    let endless = "while (1) { fork }";
    let run = [
        "run",
        "-d",
        "--name",
        "bomb",
        "--pids-limit",
        "50",
        "hostile",
        "perl",
        "-e",
        endless,
    ];
    bench.cairn.ok(&run);
    let pid = bench.cairn.json(&["ps"])[0]["pid"].as_i64().unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    bench.cairn.ok(&["rm", "-f", "bomb"]);
    let group = groups
        .lines()
        .find_map(|line| line.split_once(":pids:"))
        .unwrap()
        .1;
    assert!(
        !std::path::Path::new(&format!("/sys/fs/cgroup/pids{group}")).exists(),
        "{group}"
    );
    assert_eq!(bench.cairn.json(&["ps", "-a"]), json!([]));
}

#[test]
fn only_usual_devices_and_those_named_can_be_used() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let script = "cd /dev
        mknod mem c 1 1 && mknod disk b 259 0 && mknod loops c 10 237 && mknod loop b 7 0 && mknod zero2 c 1 5 && echo made
        (: < mem) 2>/dev/null || echo no memory
        (: < disk) 2>/dev/null || echo no disk
        (: < loops) 2>/dev/null || (: < loop) 2>/dev/null || echo no loop devices
        (: < zero2) && (: < null) && (: > full) && (: < urandom) && (: < ptmx) && echo usual";
    let said = "made\nno memory\nno disk\nno loop devices\nusual";
    assert_eq!(bench.sh(&[], script), said);
    assert_eq!(
        bench.sh(
            &["--init", "--security-opt", "no-new-privileges=false"],
            script
        ),
        said
    );
    let kmsg = "[ -c /dev/sub/log ] && (: < /dev/sub/log) && echo open; (: > /dev/sub/log) 2>/dev/null || echo read only";
    assert_eq!(
        bench.sh(&["--device", "/dev/loop-control:/dev/sub/log:r"], kmsg),
        "open\nread only"
    );
    let rule = ["--device-cgroup-rule", "c 10:237 r"];
    let made = "mknod /dev/k c 10 237 && (: < /dev/k) && echo open";
    assert_eq!(bench.sh(&rule, made), "open");
    bench.cairn.fails(
        &[
            "run",
            "--rm",
            "--device",
            "/etc/passwd",
            "hostile",
            "/bin/true",
        ],
        2,
        "--device",
    );
    // Under the other drivers, too.
    for driver in ["overlay", "copy"] {
        let other = Bench::new(driver, &["mknod"]);
        other.plain();
        assert_eq!(other.sh(&[], script), said, "{driver}");
    }
}

#[test]
fn groups_go_with_a_container_whose_monitor_is_killed() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    bench.cairn.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "gone",
        "--memory",
        "64m",
        "hostile",
        "/bin/sleep",
        "600",
    ]);
    let shown = bench.cairn.json(&["inspect", "gone"]);
    let id = shown["id"].as_str().unwrap().to_owned();
    let monitor = shown["monitor"].as_i64().unwrap();
    assert!(!groups(&id).is_empty());
    std::process::Command::new("kill")
        .args(["-9", &monitor.to_string()])
        .status()
        .unwrap();
    common::eventually("the groups are gone", || groups(&id).is_empty());
    common::eventually("the container is gone", || {
        bench.cairn.json(&["ps", "-a"]) == json!([])
    });
    assert!(!Path::new(&format!("/proc/{monitor}/root")).exists());
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_is_made() {
    let bench = Bench::new("copy", &[]);
    for (options, words) in [
        (&["--memory", "1m"][..], "the minimum is 6m"),
        (&["--memory", "lots"], "must be a size"),
        (&["--memory-swap", "1g"], "needs --memory"),
        (&["--cpus", "0.00001"], "--cpus"),
        (&["--cpuset-cpus", "9999"], "--cpuset-cpus"),
        (&["--pids-limit", "99999999999"], "--pids-limit"),
        (&["--blkio-weight", "5"], "--blkio-weight"),
        (
            &["--device-cgroup-rule", "everything"],
            "--device-cgroup-rule",
        ),
    ] {
        bench.plain();
        let run = [&["run", "--rm"], options, &["hostile", "/bin/true"]].concat();
        let err = bench.cairn.fails(&run, 2, words);
        assert_eq!(err.lines().count(), 1, "{err}");
        assert_eq!(bench.cairn.json(&["ps", "-a"]), json!([]));
    }
}
