//! Commits of a container whose databases are written all the time: each image holds them whole.
//!
//! `CAIRN_DATABASE_COMMITS` makes it longer.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Cairn, eventually, is_root, shell_tree};

/// Writers that never stop. Each transaction adds a row to two tables and takes an old one from both, so that the
/// journal is busy and the tables must be equal; pages spill in the middle of some.
const WRITERS: &str = "
write() {
  {
    echo \"pragma journal_mode=$2; pragma synchronous=$3; pragma cache_size=4; pragma wal_autocheckpoint=50;\"
    echo \"create table a(i integer primary key, t text); create table b(i integer primary key, t text);\"
    i=0
    while :; do
      i=$((i+1))
      echo \"begin; insert into a values($i, hex(randomblob(700))); delete from a where i = $i - 300;\"
      echo \"insert into b select * from a where i = $i; delete from b where i = $i - 300; commit;\"
      if [ $i = 20 ]; then echo \".shell echo $1 writes\"; fi
    done
  } | sqlite3 -bail /$1.db
}
write rollback delete normal > /out1 &
write wal wal normal > /out2 &
write careless truncate off > /out3 &
wait
";
const DATABASES: [&str; 3] = ["rollback", "wal", "careless"];

fn sqlite(database: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").arg(database).arg(sql).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", database.display());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The number of the last transaction in a database of an image, which is whole.
fn last(cairn: &Cairn, image: &str, database: &str) -> i64 {
    let (place, copy) = (cairn.path("place"), cairn.path("copy"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::create_dir_all(&copy).unwrap();
    cairn.ok(&["mount", image, place.to_str().unwrap()]);
    for suffix in ["", "-journal", "-wal"] {
        let name = format!("{database}.db{suffix}");
        if place.join(&name).exists() {
            std::fs::copy(place.join(&name), copy.join(&name)).unwrap();
        }
    }
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    let file = copy.join(format!("{database}.db"));
    // Whatever was under way is rolled back, or brought in, as after a crash.
    assert_eq!(sqlite(&file, "pragma integrity_check"), "ok", "{image}");
    let differs = "select count(*) from (select * from a except select * from b union all
        select * from b except select * from a)";
    assert_eq!(sqlite(&file, differs), "0", "{image}: {database}");
    let last = sqlite(&file, "select coalesce(max(i), 0) from a");
    std::fs::remove_dir_all(&copy).unwrap();
    last.parse().unwrap()
}

#[test]
fn a_commit_of_databases_that_are_being_written_is_whole() {
    if !is_root() {
        skip!("needs root");
    }
    if !common::has("sqlite3") {
        skip!("needs sqlite3");
    }
    let commits = std::env::var("CAIRN_DATABASE_COMMITS").ok();
    let commits = commits.map_or(6, |count| count.parse().unwrap());
    let cairn = Cairn::new();
    let tree = cairn.path("tree");
    shell_tree(&tree);
    common::add_program(&tree, "sqlite3");
    cairn.import_dir(&tree, "databases");
    cairn.ok(&[
        "run",
        "-d",
        "--name",
        "db",
        "databases",
        "/bin/sh",
        "-c",
        WRITERS,
    ]);
    eventually("all of them write", || {
        let ready = |n: &str| {
            let out = cairn.output(&["exec", "db", "/bin/cat", &format!("/out{n}")]);
            String::from_utf8_lossy(&out.stdout).contains("writes")
        };
        ["1", "2", "3"].iter().all(|n| ready(n))
    });
    let mut before = DATABASES.map(|_| 0);
    for round in 0..commits {
        let image = format!("committed:{round}");
        cairn.ok(&["commit", "db", &image]);
        let now = DATABASES.map(|database| last(&cairn, &image, database));
        for (now, before) in now.iter().zip(before) {
            assert!(*now >= before, "{round}: {now} after {before}");
        }
        before = now;
        cairn.ok(&["rmi", &image]);
    }
    assert!(before.iter().all(|last| *last >= 20), "{before:?}");
    assert_eq!(cairn.json(&["ps"])[0]["status"], "running");
    // One that is started from a commit goes on with what is there.
    cairn.ok(&["commit", "db", "again:1"]);
    let count = "for d in rollback wal careless; do sqlite3 /$d.db 'insert into a values(-1, 0); select count(*) > 10 from a'; done";
    let said = cairn.ok(&["run", "--rm", "again:1", "/bin/sh", "-c", count]);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["1"; 3]);
    cairn.ok(&["rm", "-f", "db"]);
}
