//! What ties a container to its monitor and to its groups.

use super::{common, under_every_driver};

fn number(value: &serde_json::Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn groups_of(id: &str) -> usize {
    let mut found = 0;
    let mut places = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(id) {
                found += 1;
            } else if entry.file_type().is_ok_and(|t| t.is_dir())
                && place == std::path::Path::new("/sys/fs/cgroup")
            {
                places.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_container_dies_with_its_monitor_whatever_it_asked_for() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&["setpriv"], |bench| {
        bench.plain();
        for options in [&[][..], &["--init"]] {
            let run = [
                &["run", "-d", "--name", "c"],
                options,
                &[
                    "hostile",
                    "/bin/setpriv",
                    "--pdeathsig",
                    "clear",
                    "/bin/sleep",
                    "1000",
                ],
            ]
            .concat();
            bench.cairn.ok(&run);
            let c = bench.cairn.json(&["inspect", "c"]);
            let (pid, monitor) = (number(&c["pid"]), number(&c["monitor"]));
            kill(monitor, rustix::process::Signal::KILL);
            common::eventually("the process is gone", || {
                !std::path::Path::new(&format!("/proc/{pid}")).exists()
            });
            assert_eq!(bench.cairn.json(&["ps", "-a"])[0]["status"], "lost");
            let id = c["id"].as_str().unwrap();
            if options.is_empty() {
                bench.cairn.ok(&["rm", "c"]);
            } else {
                bench.cairn.ok(&["gc"]);
            }
            assert_eq!(groups_of(id), 0, "its groups go with rm, and with gc");
            bench.cairn.output(&["rm", "c"]);
        }
    });
}

#[test]
fn a_container_is_in_groups_of_its_own_and_does_not_get_out_of_them() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&["unshare"], |bench| {
        bench.plain();
        let script =
            "cat /proc/self/cgroup > /seen; exec unshare -U -C -m sh -c 'echo ready; sleep 1000'";
        // The filter of system calls would keep it from trying.
        let run = [
            "run",
            "-d",
            "--name",
            "c",
            "--security-opt",
            "seccomp=unconfined",
        ];
        let run = [&run[..], &["hostile", "/bin/sh", "-c", script]].concat();
        bench.cairn.ok(&run);
        common::eventually("it has begun", || {
            bench.cairn.ok(&["logs", "c"]).contains("ready")
        });
        let c = bench.cairn.json(&["inspect", "c"]);
        let (id, pid) = (c["id"].as_str().unwrap(), number(&c["pid"]));
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        for line in groups.lines() {
            assert!(line.ends_with(id), "in a group of the caller's: {line}");
        }
        // It is frozen with its whole subtree, and goes on afterwards.
        bench.cairn.ok(&["commit", "c", "seen:1"]);
        let seen = bench
            .cairn
            .ok(&["run", "--rm", "seen:1", "/bin/cat", "/seen"]);
        assert!(
            seen.lines().all(|line| line.ends_with(":/")),
            "its groups are all that it sees: {seen}"
        );
        assert_eq!(bench.cairn.json(&["ps"])[0]["status"], "running");
        bench.cairn.ok(&["rm", "-f", "c"]);
        assert_eq!(groups_of(id), 0);
    });
}
