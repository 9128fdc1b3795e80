//! Keyrings and keys of a container go with it.

use super::{Bench, common};

/// A program that names its session keyring and a key that it adds to it, by the numbers of keyctl(2) and
/// add_key(2) on x86-64.
const ADD: &str = "my @key = ('user', 'left', 'words'); my $ring = syscall(250, 0, -3, 1); \
    my $key = syscall(248, $key[0], $key[1], $key[2], 5, -3); $| = 1; printf \"%08x %08x\\n\", $ring, $key; sleep 1000";

fn listed(serial: &str) -> bool {
    let keys = std::fs::read_to_string("/proc/keys").unwrap();
    keys.lines().any(|line| line.starts_with(serial))
}

#[test]
fn no_keyring_and_no_key_outlives_a_container() {
    if !common::is_root() || !common::has("perl") || !cfg!(target_arch = "x86_64") {
        skip!("needs root, perl and x86-64");
    }
    let bench = Bench::new("erofs", &["perl"]);
    bench.plain();
    for (options, is_killed) in [
        (&["--security-opt", "seccomp=unconfined"][..], false),
        (&["--security-opt", "seccomp=unconfined"], true),
    ] {
        let run = [
            &["run", "-d", "--name", "c"],
            options,
            &["hostile", "/bin/perl", "-e", ADD],
        ];
        bench.cairn.ok(&run.concat());
        let mut said = String::new();
        common::eventually("it has said its numbers", || {
            said = bench.cairn.ok(&["logs", "c"]);
            said.ends_with('\n')
        });
        let (ring, key) = said.trim_end().split_once(' ').unwrap();
        assert!(!ring.starts_with('f'), "it has a keyring: {said}");
        assert!(listed(ring), "root of the host sees it: {said}");
        if is_killed {
            let monitor = bench.cairn.json(&["inspect", "c"])["monitor"]
                .as_i64()
                .unwrap();
            let monitor = rustix::process::Pid::from_raw(i32::try_from(monitor).unwrap());
            rustix::process::kill_process(monitor.unwrap(), rustix::process::Signal::KILL).unwrap();
        }
        bench.cairn.ok(&["rm", "-f", "c"]);
        // The kernel collects them a moment later.
        common::eventually("they are gone", || !listed(ring) && !listed(key));
    }
    // By default there are no such calls.
    let output = bench.cairn.output(&[
        "run",
        "--rm",
        "hostile",
        "/bin/perl",
        "-e",
        "exit(syscall(250, 0, -3, 1) < 0 ? 9 : 0)",
    ]);
    assert_eq!(output.status.code(), Some(9));
}
