//! Packages of rpm: what the program itself wrote is read, and a database that is not read is told.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Cairn, has, noise};

const SPEC: &str = "Name: probe\nVersion: VERSION\nRelease: 3\nEpoch: 2\nSummary: x\nLicense: MIT\nBuildArch: noarch\n\
    %description\nx\n%install\nmkdir -p %{buildroot}/usr/bin %{buildroot}/etc/probe\n\
    head -c 50000 /dev/urandom > %{buildroot}/usr/bin/probe\necho b > %{buildroot}/etc/probe/conf\n\
    %files\n/usr/bin/probe\n/etc/probe\n";

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A tree in which rpm installed a package of this version.
fn installed(cairn: &Cairn, version: &str) -> std::path::PathBuf {
    let (top, root) = (cairn.path("top"), cairn.path(&format!("root-{version}")));
    std::fs::create_dir(&root).unwrap();
    let spec = cairn.path("probe.spec");
    std::fs::write(&spec, SPEC.replace("VERSION", version)).unwrap();
    let define = format!("_topdir {}", top.display());
    run(Command::new("rpmbuild")
        .args(["-bb", "--define", &define])
        .arg(&spec));
    let package = top.join(format!("RPMS/noarch/probe-{version}-3.noarch.rpm"));
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        command
            .arg("--root")
            .arg(&root)
            .args(["--dbpath", "/usr/lib/sysimage/rpm"]);
        command.args(words);
        command
    };
    run(&mut rpm(&["--initdb"]));
    run(rpm(&["-i", "--nodeps", "--force-debian"]).arg(&package));
    std::fs::write(root.join("usr/bin/other"), noise(1, 20_000)).unwrap();
    root
}

fn said(cairn: &Cairn, args: &[&str]) -> String {
    String::from_utf8_lossy(&cairn.output(args).stderr).into_owned()
}

#[test]
fn packages_that_rpm_installed_own_their_files_and_have_versions() {
    if !has("rpmbuild") || !has("rpm") {
        skip!("needs rpm and rpmbuild");
    }
    let cairn = Cairn::new();
    for version in ["1.2", "1.3"] {
        cairn.import_dir(&installed(&cairn, version), &format!("img:{version}"));
    }
    let args = ["stats", "--by", "package", "--image", "img:1.2"];
    let view = cairn.json(&args);
    let rows = view["rows"].as_array().unwrap();
    let of = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("{name}: {view}"))["content_bytes"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(of("rpm probe"), 50_000 + 2);
    assert!(of("(no package)") >= 20_000);
    assert_eq!(view["notes"].as_array().unwrap().len(), 0, "{view}");
    let diff = cairn.json(&["diff", "img:1.2", "img:1.3"]);
    let packages = diff["packages"].as_array().unwrap();
    let expected = serde_json::json!({
        "manager": "rpm", "name": "probe", "old": ["2:1.2-3"], "new": ["2:1.3-3"],
    });
    assert_eq!(packages, &[expected], "{diff}");
}

#[test]
fn a_database_of_rpm_that_is_not_read_is_told() {
    for (file, content) in [
        ("var/lib/rpm/Packages", &b"Berkeley"[..]),
        ("usr/lib/sysimage/rpm/Packages.db", b"ndb"),
        (
            "usr/lib/sysimage/rpm/rpmdb.sqlite",
            b"SQLite format 3\0 cut off",
        ),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", b"changes"),
    ] {
        let cairn = Cairn::new();
        let tree = cairn.path("tree");
        let path = tree.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(&path, content).unwrap();
        cairn.import_dir(&tree, "img:1");
        let words = said(&cairn, &["stats", "--by", "package"]);
        assert!(
            words.contains("rpm database") && words.contains("not read"),
            "{file}: {words}"
        );
        let notes = cairn.json(&["stats", "--by", "package"])["notes"].clone();
        assert_eq!(notes.as_array().unwrap().len(), 1, "{file}: {notes}");
    }
}
