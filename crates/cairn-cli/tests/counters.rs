//! Counters of statistics are right after whatever happened: kills, repairs, lost and damaged tables. Every other
//! test ends with the same comparison (`common`).

mod common;

use std::time::Duration;

use common::{Cairn, Tar, docker_archive, noise};

fn archive(cairn: &Cairn, n: u64) -> String {
    let shared = Tar::new().file("shared", &noise(7, 900_000)).done();
    let own = Tar::new().file("own", &noise(100 + n, 900_000)).done();
    let path = cairn.path(&format!("{n}.tar"));
    std::fs::write(
        &path,
        docker_archive(&format!("i:{n}"), &[shared, own], |_| ()),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

fn figures(cairn: &Cairn, args: &[&str]) -> serde_json::Value {
    let mut all = cairn.json(args);
    // What the file system says moves with each command.
    for moving in [
        "disk_bytes",
        "rounding_bytes",
        "database_bytes",
        "index_bytes",
        "other_bytes",
        "cache_bytes",
    ] {
        all.as_object_mut().unwrap().remove(moving);
    }
    all
}

fn assert_counted(cairn: &Cairn) {
    assert_eq!(
        figures(cairn, &["stats"]),
        figures(cairn, &["stats", "--recount"])
    );
}

#[test]
fn counters_are_right_after_kills_at_any_moment() {
    let cairn = Cairn::new();
    let archives: Vec<String> = (0..4).map(|n| archive(&cairn, n)).collect();
    cairn.ok(&["import", &archives[0]]);
    cairn.ok(&["stats"]);
    for (turn, milliseconds) in [1, 3, 7, 12, 20, 35, 60, 90].into_iter().enumerate() {
        let work: &[&str] = match turn % 4 {
            0 => &["import", &archives[1]],
            1 => &["import", &archives[2]],
            2 => &["gc", "--all", "--rule", "match=i:1,remove"],
            _ => &["stats"],
        };
        let mut child = cairn.command(work).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_counted(&cairn);
    }
    cairn.ok(&["import", &archives[3]]);
    assert_counted(&cairn);
    cairn.ok(&["check", "--full"]);
}

#[test]
fn counters_are_right_after_a_repair_and_without_the_table() {
    let cairn = Cairn::new();
    for n in 0..3 {
        let path = archive(&cairn, n);
        cairn.ok(&["import", &path]);
    }
    cairn.ok(&["stats"]);
    let table = cairn.root().join("index/sharing");
    assert!(table.exists());
    std::fs::remove_file(&table).unwrap();
    assert_counted(&cairn);
    let mut bytes = std::fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    assert_counted(&cairn);
    // The database and the index are made anew.
    for lost in ["db", "index"] {
        let _ = std::fs::remove_dir_all(cairn.root().join(lost));
    }
    cairn.ok(&["check", "--repair"]);
    assert_counted(&cairn);
    cairn.ok(&["rmi", "i:1"]);
    cairn.ok(&["gc", "--all"]);
    assert_counted(&cairn);
}
