//! What a document asks for is what a process finds.

use std::path::PathBuf;

use serde_json::json;

use crate::bundle::Bundle;
use crate::common::is_root;

#[test]
fn mounts_have_their_options_and_missing_places_are_made() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "grep -E ' (/data|/data/file|/scratch|/up|/sub) ' /proc/self/mountinfo; cat /data/file; ls /up; stat -c '%a %u' /up/kept; (: > /data/new) 2>/dev/null || echo closed",
    );
    let data = bundle.path("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "content\n").unwrap();
    let up = bundle.path("rootfs/up");
    std::fs::create_dir(&up).unwrap();
    std::fs::write(up.join("kept"), "x").unwrap();
    std::os::unix::fs::chown(up.join("kept"), Some(33), None).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.extend([
        json!({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro", "nosuid", "rprivate"]}),
        json!({"destination": "/deep/er/file", "type": "bind", "source": data.join("file"), "options": ["bind"]}),
        json!({"destination": "scratch", "type": "tmpfs", "source": "s", "options": ["noexec", "size=1m", "noatime", "rshared"]}),
        json!({"destination": "/up", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "mode=700"]}),
    ]);
    let (said, code) = bundle.run();
    assert_eq!(code, 0, "{said}");
    let options = |place: &str| {
        let line = said
            .lines()
            .find(|line| line.contains(&format!(" {place} ")));
        let line = line.unwrap_or_else(|| panic!("{place}: {said}")).to_owned();
        let (front, back) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = front.split(' ').collect();
        (fields[5].to_owned(), fields[6..].join(" "), back.to_owned())
    };
    let (attributes, optional, _) = options("/data");
    assert!(
        attributes.contains("ro") && attributes.contains("nosuid"),
        "{attributes}"
    );
    assert_eq!(optional, "", "it is private");
    let (attributes, optional, back) = options("/scratch");
    assert!(
        attributes.contains("noexec") && attributes.contains("noatime"),
        "{attributes}"
    );
    assert!(
        optional.starts_with("shared:") && back.contains("tmpfs s "),
        "{optional} {back}"
    );
    assert!(said.contains("content\nkept\n644 33\nclosed\n"), "{said}");
    assert!(bundle.path("rootfs/deep/er/file").is_file());
}

#[test]
fn recursive_options_reach_mounts_below() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "for d in /top /all; do (: > $d/below/new) 2>/dev/null && echo $d open || echo $d closed; done",
    );
    let data = bundle.path("data");
    std::fs::create_dir_all(data.join("below")).unwrap();
    let below = data.join("below");
    let mount = |args: &[&str]| {
        let status = std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(&below)
            .status();
        assert!(status.unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "none"]);
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    for (place, option) in [("/top", "ro"), ("/all", "rro")] {
        mounts.push(json!({"destination": place, "type": "bind", "source": data, "options": ["rbind", option]}));
    }
    let (said, code) = bundle.run();
    mount(&["umount"]);
    assert_eq!((said.as_str(), code), ("/top open\n/all closed\n", 0));
}

#[test]
fn what_is_masked_reads_as_empty_and_the_root_can_be_closed() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "cat /secret /etc/hidden/x 2>/dev/null; ls /etc/hidden; (: > /etc/shown) 2>/dev/null || echo path closed; (: > /new) 2>/dev/null || echo root closed; (: > /dev/shm/x) && echo shm open",
    );
    std::fs::write(bundle.path("rootfs/secret"), "secret").unwrap();
    std::fs::create_dir(bundle.path("rootfs/etc/hidden")).unwrap();
    std::fs::write(bundle.path("rootfs/etc/hidden/x"), "secret").unwrap();
    std::fs::write(bundle.path("rootfs/etc/shown"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(true);
    bundle.config["linux"]["maskedPaths"] = json!(["/secret", "/etc/hidden", "/nosuch/x"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/etc/shown", "/nosuch"]);
    let expected = "path closed\nroot closed\nshm open\n";
    assert_eq!(bundle.run(), (expected.into(), 0));
}

#[test]
fn the_process_is_who_and_has_what_the_document_says() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "id; umask; pwd; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; grep -E 'Max (open files|core)' /proc/self/limits; cat /proc/self/oom_score_adj; ls -d . ; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname; mkdir /tmp/x && echo made",
    );
    bundle.config["process"]["user"] =
        json!({"uid": 33, "gid": 44, "umask": 0o27, "additionalGids": [5, 6]});
    bundle.config["process"]["cwd"] = json!("/made/here");
    bundle.config["process"]["oomScoreAdj"] = json!(500);
    bundle.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    bundle.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
    });
    bundle.config["domainname"] = json!("example");
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
    });
    let (said, _) = bundle.run();
    for line in [
        "uid=33(www) gid=44(video) groups=44(video),5,6",
        "0027",
        "/made/here",
        "CapInh:\t0000000000000020",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000021",
        "CapAmb:\t0000000000000020",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "500",
        "1\nexample",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let limit = said
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert!(
        limit
            .split_whitespace()
            .collect::<Vec<_>>()
            .windows(2)
            .any(|w| w == ["100", "200"])
    );
    assert!(!said.contains("made\n"), "{said}");
}

#[test]
fn a_user_namespace_has_the_ids_of_the_document() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "cat /proc/self/uid_map /proc/self/gid_map; stat -c '%n %u %g' /own /dev/null /dev/pts /dev/shm /proc/1 /vol/file; echo x > /own; mount -t tmpfs x /tmp 2>/dev/null || echo no mounts",
    );
    bundle.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user"}));
    let ids = json!([
        {"containerID": 0, "hostID": 300000, "size": 10}, {"containerID": 10, "hostID": 400000, "size": 90},
    ]);
    bundle.config["linux"]["uidMappings"] = ids.clone();
    bundle.config["linux"]["gidMappings"] = ids.clone();
    std::fs::write(bundle.path("rootfs/own"), "").unwrap();
    std::os::unix::fs::chown(bundle.path("rootfs/own"), Some(300000), Some(400002)).unwrap();
    for name in ["vol", "vol/file"] {
        let path = bundle.path(name);
        match name {
            "vol" => std::fs::create_dir(&path).unwrap(),
            _ => std::fs::write(&path, "").unwrap(),
        }
        std::os::unix::fs::chown(&path, Some(5), Some(5)).unwrap();
    }
    // The ids of the volume are mapped as the container's are, so that its own are what it sees.
    let volume = json!({"destination": "/vol", "type": "bind", "source": "vol", "options": ["rbind", "idmap"]});
    bundle.config["mounts"].as_array_mut().unwrap().push(volume);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bundle.dir.path(), mode).unwrap();
    let (said, code) = bundle.run();
    assert_eq!(code, 0, "{said}");
    let map = "         0     300000         10\n        10     400000         90\n";
    assert!(said.starts_with(&map.repeat(2)), "{said}");
    for line in [
        "/own 0 12",
        "/dev/null 0 0",
        "/dev/pts 0 0",
        "/dev/shm 0 0",
        "/proc/1 0 0",
        "/vol/file 5 5",
        "no mounts",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // What is not mapped cannot be asked for.
    bundle.config["process"]["user"]["uid"] = json!(100);
    bundle.fails(&["run", "ID"], "not mapped");
}

#[test]
fn namespaces_that_are_there_are_joined() {
    if !is_root() {
        skip!("needs root");
    }
    let first = Bundle::new("exec sleep 1000");
    first.create(&[]);
    first.ok(&["start", "ID"]);
    let pid = first.state()["pid"].clone();
    let place = |kind: &str| PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
    let script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; ps ax | grep -c '[s]leep 100'";
    let mut second = Bundle::new(script);
    second.config["hostname"] = json!("");
    second.config["linux"]["namespaces"] = json!([
        {"type": "pid", "path": place("pid")}, {"type": "network", "path": place("net")},
        {"type": "ipc", "path": place("ipc")}, {"type": "uts", "path": place("uts")},
        {"type": "cgroup"}, {"type": "mount"},
    ]);
    let (said, code) = second.run();
    assert_eq!(code, 0, "{said}");
    let links: Vec<&str> = said.lines().collect();
    for (i, kind) in ["pid", "net", "ipc", "uts", "mnt", "cgroup"]
        .iter()
        .enumerate()
    {
        let of_first = std::fs::read_link(place(kind)).unwrap();
        let joined = links[i] == of_first.to_str().unwrap();
        assert_eq!(joined, i < 4, "{kind}: {said}");
    }
    assert_eq!(links[6], "1", "the process of the first: {said}");
    // A namespace of another kind is refused.
    second.config["linux"]["namespaces"][1]["path"] = json!(place("ipc"));
    second.fails(&["run", "ID"], "join the namespace");
}

#[test]
fn clocks_schedulers_and_personalities() {
    if !is_root() {
        skip!("needs root");
    }
    let mut bundle = Bundle::new(
        "cat /proc/self/timens_offsets; ionice; chrt -p $$; uname -m; cat /proc/uptime",
    );
    for program in ["ionice", "chrt", "uname"] {
        crate::common::add_program(&bundle.path("rootfs"), program);
    }
    bundle.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "time"}));
    bundle.config["linux"]["timeOffsets"] =
        json!({"monotonic": {"secs": 1000}, "boottime": {"secs": 5000000, "nanosecs": 7}});
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    let (said, code) = bundle.run();
    assert_eq!(code, 0, "{said}");
    for words in ["best-effort: prio 6", "SCHED_BATCH"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("x86_64"), "{said}");
    let offsets: Vec<&str> = said.split_whitespace().take(6).collect();
    assert_eq!(
        offsets,
        ["monotonic", "1000", "0", "boottime", "5000000", "7"]
    );
    let uptime = said.lines().last().unwrap().split('.').next().unwrap();
    assert!(uptime.parse::<u64>().unwrap() > 5_000_000, "{said}");
}

#[test]
fn without_a_pivot_the_root_is_the_same() {
    if !is_root() {
        skip!("needs root");
    }
    let bundle = Bundle::new("ls /; ls -d /work /home 2>/dev/null; echo done");
    let plain = bundle.run();
    let output = bundle.output(&["run", "--no-pivot", "ID"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), plain.0);
    assert_eq!(output.status.code(), Some(0));
}
