//! Who a process is and what it may do.

use super::{Tar, common, with_any_ids};
use serde_json::json;

/// CVE-2024-40635, CVE-2026-46680.
#[test]
fn no_number_and_no_name_of_an_image_wraps_to_root() {
    if !common::is_root() {
        skip!("needs root");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/:/bin/sh\nwrap:x:4294967295:4294967295::/:/bin/sh\n";
    with_any_ids(&[], |bench| {
        for user in [
            "4294967295",
            "0:4294967295",
            "5000000000",
            "2147483648",
            "18446744073709551616",
            "wrap",
            "-1",
        ] {
            let layer = Tar::new().file("etc/passwd", passwd.as_bytes());
            bench.image(layer, json!({"User": user, "Cmd": ["/bin/id", "-u"]}));
            let err = bench.cairn.fails(&["run", "--rm", "hostile"], 125, "");
            assert!(err.starts_with("cairn: "), "{user}: {err}");
        }
        let layer = Tar::new().file("etc/passwd", passwd.as_bytes());
        bench.image(layer, json!({"Cmd": ["/bin/id", "-u"]}));
        assert_eq!(
            bench.sh(&["-u", "1000"], "id -u"),
            "1000",
            "a number is a number, whatever a user is called"
        );
        bench.cairn.fails(
            &["run", "--rm", "-u", "4294967295", "hostile"],
            125,
            "4294967295",
        );
    });
}

#[test]
fn an_environment_without_a_value_takes_nothing_from_the_caller() {
    if !common::is_root() {
        skip!("needs root");
    }
    with_any_ids(&[], |bench| {
        let config = json!({"Env": ["PATH=/bin", "HOST_SECRET"], "Cmd": ["/bin/env"]});
        bench.image(Tar::new().file("made", b""), config);
        let run = |options: &[&str]| {
            let args = [&["run", "--rm"], options, &["hostile"]].concat();
            let mut run = bench.cairn.command(&args);
            let output = run.env("HOST_SECRET", "leaked").output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(!run(&[]).contains("HOST_SECRET"));
        assert!(run(&["-e", "HOST_SECRET"]).contains("HOST_SECRET=leaked"));
    });
}

#[test]
fn raw_packets_are_for_networks_of_their_own() {
    if !common::is_root() {
        skip!("needs root");
    }
    with_any_ids(&[], |bench| {
        bench.plain();
        let caps = |options: &[&str]| {
            let status = bench.sh(options, "cat /proc/self/status");
            let line = status.lines().find(|l| l.starts_with("CapBnd:")).unwrap();
            u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()
        };
        let net_raw = 1 << 13;
        assert_eq!(caps(&[]) & net_raw, 0);
        assert_eq!(caps(&["--network", "none"]) & net_raw, net_raw);
        assert_ne!(
            caps(&[]) & (1 << 27),
            0,
            "CAP_MKNOD, where devices are controlled"
        );
    });
}
