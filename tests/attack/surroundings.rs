//! Namespaces, kernel parameters, limits and names that the user chooses, and what they do not open.

use super::{Bench, common};

fn bench() -> Bench {
    let bench = Bench::new("erofs", &["grep", "df", "unshare"]);
    bench.plain();
    bench
}

#[test]
fn kernel_parameters_are_those_of_the_container() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let before = read("/proc/sys/kernel/shmmni");
    let options = [
        "--sysctl",
        "kernel.shmmni=77",
        "--network",
        "none",
        "--sysctl",
        "net.ipv4.ip_forward=1",
    ];
    let script = "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward; (echo 5 > /proc/sys/kernel/shmmni) 2>/dev/null || echo fixed";
    assert_eq!(bench.sh(&options, script), "77\n1\nfixed");
    assert_eq!(read("/proc/sys/kernel/shmmni"), before);
    for (options, words) in [
        (
            &["--sysctl", "kernel.core_pattern=|/x"][..],
            "of the whole host",
        ),
        (&["--sysctl", "net.ipv4.ip_forward=1"], "is the host's"),
        (
            &["--ipc", "host", "--sysctl", "kernel.shmmni=77"],
            "is the host's",
        ),
        (&["--sysctl", "net/../vm/swappiness=1"], "not a valid"),
        (&["--pid", "bogus"], "must be private, host"),
        (&["--uts", "host", "--hostname", "x"], "--hostname needs"),
        (&["--ipc", "container:nobody"], "nobody"),
        (&["--shm-size", "0"], "above 0"),
        (&["--ulimit", "bogus=1"], "unknown name"),
        (&["--network", "bridge"], "container:NAME or ns:PATH"),
        (&["--label", "=x"], "--label"),
        (&["--expose", "80"], "--expose is not supported"),
        (&["--link=a:b"], "--link is not supported: use --add-host"),
    ] {
        let run = [&["run", "--rm"], options, &["hostile", "/bin/true"]].concat();
        let output = bench.cairn.output(&run);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && err.contains(words),
            "{options:?}: {err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn limits_of_processes_are_given_or_lowered_with_a_warning() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let show = "ulimit -Sn; ulimit -Hn; ulimit -c";
    assert_eq!(
        bench.sh(&["--ulimit", "nofile=100:200", "--ulimit", "core=0"], show),
        "100\n200\n0"
    );
    let run = [
        "run",
        "--rm",
        "--ulimit",
        "nofile=99999999999",
        "hostile",
        "/bin/true",
    ];
    let output = bench.cairn.output(&run);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && err.contains("warning: --ulimit nofile"),
        "{err}"
    );
    assert_eq!(
        bench.sh(&["--shm-size", "8m"], "df -k /dev/shm | grep -c ' 8192 '"),
        "1"
    );
}

#[test]
fn namespaces_are_shared_only_where_that_is_said() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let own = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        link.display().to_string()
    };
    let inside =
        |options: &[&str], kind: &str| bench.sh(options, &format!("readlink /proc/self/ns/{kind}"));
    for kind in ["ipc", "uts"] {
        assert_ne!(inside(&[], kind), own(kind));
        assert_eq!(inside(&[&format!("--{kind}"), "host"], kind), own(kind));
    }
    bench.cairn.ok(&[
        "run",
        "-d",
        "--name",
        "first",
        "--hostname",
        "named",
        "hostile",
        "/bin/sleep",
        "600",
    ]);
    let pid = bench.cairn.json(&["inspect", "first"])["pid"]
        .as_i64()
        .unwrap();
    for kind in ["ipc", "uts"] {
        let there = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let joined = inside(&[&format!("--{kind}"), "container:first"], kind);
        assert_eq!(joined, there.display().to_string());
    }
    assert_eq!(
        bench.sh(
            &["--uts", "container:first"],
            "cat /proc/sys/kernel/hostname"
        ),
        "named"
    );
    bench.cairn.ok(&["rm", "-f", "first"]);
    // A network of somebody else's making; loopback of "none" is up.
    let up = "grep -c 00000000000000000000000000000001 /proc/net/if_inet6";
    assert_eq!(bench.sh(&["--network", "none"], up), "1");
    let mut holder = std::process::Command::new("unshare")
        .args(["-n", "sleep", "600"])
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    super::common::eventually("it has a network of its own", || {
        std::fs::read_link(&path).is_ok_and(|link| link.display().to_string() != own("net"))
    });
    let there = std::fs::read_link(&path).unwrap().display().to_string();
    let option = format!("ns:{path}");
    assert_eq!(inside(&["--network", &option], "net"), there);
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The host's by another name gets no raw packets either.
    let raw = "grep CapBnd /proc/self/status";
    assert_eq!(
        bench.sh(&["--network", "ns:/proc/self/ns/net"], raw),
        bench.sh(&[], raw)
    );
}

#[test]
fn names_labels_and_the_id_are_written_down() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let options = [
        "--add-host",
        "db:10.0.0.9",
        "--dns",
        "10.1.1.1",
        "--dns-search",
        "a.example",
    ];
    let seen = bench.sh(&options, "cat /etc/hosts /etc/resolv.conf");
    for line in ["10.0.0.9\tdb", "nameserver 10.1.1.1", "search a.example"] {
        assert!(seen.lines().any(|l| l == line), "{line}: {seen}");
    }
    let file = bench.cairn.path("id");
    let path = file.to_str().unwrap();
    let run = [
        "run",
        "--name",
        "kept",
        "--label",
        "owner=ci",
        "--cidfile",
        path,
        "hostile",
        "/bin/true",
    ];
    bench.cairn.ok(&run);
    let shown = bench.cairn.json(&["inspect", "kept"]);
    assert_eq!(shown["launch"]["labels"]["owner"], "ci");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        shown["id"].as_str().unwrap()
    );
    bench.cairn.ok(&["commit", "kept", "labelled:1"]);
    let image = bench.cairn.json(&["inspect", "labelled:1"]);
    assert!(image.to_string().contains("\"owner\":\"ci\""), "{image}");
    let run = ["run", "--rm", "--cidfile", path, "hostile", "/bin/true"];
    bench.cairn.fails(&run, 125, "id file");
    let other = bench.cairn.path("other");
    let run = [
        "run",
        "--rm",
        "--cidfile",
        other.to_str().unwrap(),
        "nothing",
        "/bin/true",
    ];
    bench.cairn.fails(&run, 125, "nothing");
    assert!(!other.exists(), "no file where there is no container");
    // Its own patience, shorter than the usual ten seconds.
    let script = "trap '' TERM; while :; do sleep 1; done";
    bench.cairn.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--stop-timeout",
        "0",
        "hostile",
        "/bin/sh",
        "-c",
        script,
    ]);
    assert_eq!(
        bench.cairn.json(&["inspect", "slow"])["launch"]["stop_timeout_secs"],
        0
    );
    bench.cairn.ok(&["stop", "slow"]);
    assert_eq!(bench.cairn.json(&["inspect", "slow"])["exit_code"], 137);
}

#[test]
fn a_privileged_container_has_everything_and_others_do_not() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = bench();
    let look = "grep -h -E '^(CapEff|Seccomp):' /proc/self/status; [ -c /dev/kmsg ] && (: < /dev/kmsg) && echo log
        (: >> /proc/sys/vm/swappiness) 2>/dev/null && echo parameters
        grep -q ' /proc/timer_list ' /proc/mounts || echo keys; mkdir /tmp/m && mount -t tmpfs none /tmp/m 2>/dev/null && echo mounts; true";
    let all = bench.sh(&["--privileged"], look);
    for word in ["Seccomp:\t0", "log", "parameters", "keys", "mounts"] {
        assert!(all.contains(word), "{word}: {all}");
    }
    let effective = |text: &str| {
        text.lines()
            .find(|l| l.starts_with("CapEff"))
            .unwrap()
            .to_owned()
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:"))
        .unwrap();
    assert_eq!(effective(&all), format!("CapEff:{bounding}"));
    let usual = bench.sh(&[], look);
    assert_eq!(usual.lines().count(), 2, "{usual}");
    // A user other than root keeps what was added for it by name, and nothing else.
    let user = "grep CapEff /proc/self/status";
    assert_eq!(bench.sh(&["-u", "www"], user), "CapEff:\t0000000000000000");
    assert_eq!(
        bench.sh(&["-u", "www", "--cap-add", "net_bind_service"], user),
        "CapEff:\t0000000000000400"
    );
    assert_eq!(
        bench.sh(&["--cap-drop", "ALL"], user),
        "CapEff:\t0000000000000000"
    );
}
