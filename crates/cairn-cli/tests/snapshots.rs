//! The snapshot contract: one suite of cases that drives the library and the command line.

mod common;

use std::path::{Path, PathBuf};

use cairn_model::SnapshotKey;
use cairn_repo::{Options, Repo};
use cairn_snapshot::{Labels, Snapshotter};
use common::{Cairn, is_root, noise, survey};
use serde_json::{Value, json};

/// A way to drive the contract. Failures are given by their words.
trait Drive {
    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<(), String>;
    fn view(&self, key: &str, parent: Option<&str>) -> Result<(), String>;
    fn commit(&self, name: &str, key: &str) -> Result<(), String>;
    fn remove(&self, key: &str) -> Result<(), String>;
    fn stat(&self, key: &str) -> Result<Value, String>;
    fn walk(&self, filters: &[&str]) -> Result<Vec<String>, String>;
    fn label(&self, key: &str, labels: &[(&str, &str)]) -> Result<(), String>;
    fn usage(&self, key: &str) -> Result<(u64, u64), String>;
    fn mounts(&self, key: &str) -> Result<Value, String>;
}

struct Library(Repo);

fn key(text: &str) -> SnapshotKey {
    text.parse().unwrap()
}

impl Drive for Library {
    fn prepare(&self, k: &str, parent: Option<&str>) -> Result<(), String> {
        self.0
            .snapshots()
            .prepare(&key(k), parent.map(key).as_ref(), Labels::new())
            .map(drop)
            .map_err(|e| e.to_string())
    }
    fn view(&self, k: &str, parent: Option<&str>) -> Result<(), String> {
        Snapshotter::view(
            &self.0.snapshots(),
            &key(k),
            parent.map(key).as_ref(),
            Labels::new(),
        )
        .map(drop)
        .map_err(|e| e.to_string())
    }
    fn commit(&self, name: &str, k: &str) -> Result<(), String> {
        self.0
            .snapshots()
            .commit(&key(name), &key(k), Labels::new())
            .map_err(|e| e.to_string())
    }
    fn remove(&self, k: &str) -> Result<(), String> {
        self.0
            .snapshots()
            .remove(&key(k))
            .map_err(|e| e.to_string())
    }
    fn stat(&self, k: &str) -> Result<Value, String> {
        let s = self
            .0
            .snapshots()
            .stat(&key(k))
            .map_err(|e| e.to_string())?;
        assert_eq!(
            self.0
                .snapshots()
                .walk(&[])
                .unwrap()
                .into_iter()
                .find(|w| w.key == s.key)
                .as_ref(),
            Some(&s),
            "walk and stat agree"
        );
        Ok(
            json!({"kind": s.kind.as_str(), "parent": s.parent.map(|p| p.to_string()), "labels": s.labels}),
        )
    }
    fn walk(&self, filters: &[&str]) -> Result<Vec<String>, String> {
        let filters = filters
            .iter()
            .map(|f| f.parse())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e: cairn_snapshot::Error| e.to_string())?;
        Ok(self
            .0
            .snapshots()
            .walk(&filters)
            .map_err(|e| e.to_string())?
            .into_iter()
            .map(|s| s.key.to_string())
            .collect())
    }
    fn label(&self, k: &str, labels: &[(&str, &str)]) -> Result<(), String> {
        let fields: Vec<_> = labels
            .iter()
            .map(|(name, _)| format!("labels.{name}").parse().unwrap())
            .collect();
        let labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        self.0
            .snapshots()
            .update(&key(k), labels, &fields)
            .map(drop)
            .map_err(|e| e.to_string())
    }
    fn usage(&self, k: &str) -> Result<(u64, u64), String> {
        self.0
            .snapshots()
            .usage(&key(k))
            .map(|u| (u.bytes, u.inodes))
            .map_err(|e| e.to_string())
    }
    fn mounts(&self, k: &str) -> Result<Value, String> {
        self.0
            .snapshots()
            .mounts(&key(k))
            .map(|plan| serde_json::to_value(plan).unwrap())
            .map_err(|e| e.to_string())
    }
}

struct CommandLine<'a>(&'a Cairn);

impl CommandLine<'_> {
    fn run(&self, args: &[&str]) -> Result<String, String> {
        let args: Vec<&str> = ["--json", "snapshot"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let output = self.0.output(&args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

impl Drive for CommandLine<'_> {
    fn prepare(&self, k: &str, parent: Option<&str>) -> Result<(), String> {
        self.run(&[&["prepare", k], parent.as_slice()].concat())
            .map(drop)
    }
    fn view(&self, k: &str, parent: Option<&str>) -> Result<(), String> {
        self.run(&[&["view", k], parent.as_slice()].concat())
            .map(drop)
    }
    fn commit(&self, name: &str, k: &str) -> Result<(), String> {
        self.run(&["commit", name, k]).map(drop)
    }
    fn remove(&self, k: &str) -> Result<(), String> {
        self.run(&["rm", k]).map(drop)
    }
    fn stat(&self, k: &str) -> Result<Value, String> {
        let s = parsed(&self.run(&["stat", k])?);
        Ok(json!({"kind": s["kind"], "parent": s["parent"], "labels": s["labels"]}))
    }
    fn walk(&self, filters: &[&str]) -> Result<Vec<String>, String> {
        let list = parsed(&self.run(&[&["ls"], filters].concat())?);
        Ok(list
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].as_str().unwrap().to_owned())
            .collect())
    }
    fn label(&self, k: &str, labels: &[(&str, &str)]) -> Result<(), String> {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let args: Vec<&str> = ["label", k]
            .into_iter()
            .chain(labels.iter().map(String::as_str))
            .collect();
        self.run(&args).map(drop)
    }
    fn usage(&self, k: &str) -> Result<(u64, u64), String> {
        let usage = parsed(&self.run(&["usage", k])?);
        Ok((
            usage["bytes"].as_u64().unwrap(),
            usage["inodes"].as_u64().unwrap(),
        ))
    }
    fn mounts(&self, k: &str) -> Result<Value, String> {
        Ok(parsed(&self.run(&["mounts", k])?))
    }
}

/// Runs a case with the library and with the command line.
fn both(case: impl Fn(&dyn Drive)) {
    let cairn = Cairn::new();
    let options = Options {
        driver: (!is_root()).then_some(cairn_model::Driver::Copy),
        ..Options::default()
    };
    case(&Library(
        Repo::open_or_create(&cairn.root(), options).unwrap(),
    ));
    let cairn = Cairn::new();
    case(&CommandLine(&cairn));
}

/// The directory a process would write to, without a mount: enough to make new files.
fn upper(drive: &dyn Drive, key: &str) -> PathBuf {
    PathBuf::from(
        drive.mounts(key).unwrap()["head"]["upper"]
            .as_str()
            .unwrap(),
    )
}

fn refused<T: std::fmt::Debug>(done: Result<T, String>, words: &str) {
    let said = done.expect_err(words);
    assert!(said.contains(words), "should say {words:?}: {said}");
}

#[test]
fn a_commit_replaces_its_key_and_children_see_it() {
    both(|s| {
        s.prepare("a", None).unwrap();
        assert_eq!(
            s.stat("a").unwrap(),
            json!({"kind": "active", "parent": null, "labels": {}})
        );
        std::fs::write(upper(s, "a").join("file"), "content").unwrap();
        s.commit("base", "a").unwrap();
        refused(s.stat("a"), "does not exist");
        assert_eq!(s.stat("base").unwrap()["kind"], "committed");
        s.prepare("b", Some("base")).unwrap();
        assert_eq!(s.stat("b").unwrap()["parent"], "base");
        s.commit("empty", "b").unwrap();
        assert_eq!(s.usage("empty").unwrap().0, 0);
        assert_eq!(s.usage("base").unwrap().0, 7);
        s.view("v", Some("empty")).unwrap();
        assert_eq!(s.stat("v").unwrap()["kind"], "view");
        assert_eq!(s.mounts("v").unwrap()["head"], Value::Null);
    });
}

#[test]
fn parents_must_be_committed_and_keys_are_unique() {
    both(|s| {
        s.prepare("a", None).unwrap();
        refused(s.prepare("b", Some("a")), "not committed");
        refused(s.prepare("b", Some("nothing")), "does not exist");
        for done in [s.prepare("a", None), s.view("a", None)] {
            refused(done, "already exists");
        }
        s.view("v", None).unwrap();
        for done in [s.prepare("v", None), s.view("v", None)] {
            refused(done, "already exists");
        }
        refused(s.commit("x", "v"), "not active");
        s.commit("c", "a").unwrap();
        s.prepare("d", Some("c")).unwrap();
        refused(s.commit("c", "d"), "already exists");
        refused(s.commit("e", "c"), "not active");
        refused(s.commit("e", "nothing"), "does not exist");
        refused(s.mounts("c"), "committed");
    });
}

#[test]
fn removal_respects_children_and_frees_names() {
    both(|s| {
        s.prepare("1", None).unwrap();
        s.commit("one", "1").unwrap();
        s.prepare("2", Some("one")).unwrap();
        s.commit("two", "2").unwrap();
        s.view("v", Some("two")).unwrap();
        refused(s.remove("one"), "remove");
        refused(s.remove("two"), "remove");
        s.remove("v").unwrap();
        s.remove("two").unwrap();
        refused(s.remove("two"), "does not exist");
        s.remove("one").unwrap();
        assert_eq!(s.walk(&[]).unwrap(), Vec::<String>::new());
        s.prepare("two", None).unwrap();
        s.remove("two").unwrap();
    });
}

#[test]
fn labels_change_one_by_one_and_filters_find_them() {
    both(|s| {
        s.prepare("ns/1/a", None).unwrap();
        s.commit("c", "ns/1/a").unwrap();
        s.view("v", Some("c")).unwrap();
        s.label("c", &[("x.y", "1"), ("z", "2")]).unwrap();
        s.label("c", &[("z", "3")]).unwrap();
        assert_eq!(
            s.stat("c").unwrap()["labels"],
            json!({"x.y": "1", "z": "3"})
        );
        s.label("c", &[("z", "")]).unwrap();
        assert_eq!(s.stat("c").unwrap()["labels"], json!({"x.y": "1"}));
        refused(s.label("c", &[("long", &"x".repeat(4096))]), "4096");
        refused(s.label("nothing", &[("a", "b")]), "does not exist");
        assert_eq!(s.walk(&["kind==view", "name==c"]).unwrap(), ["c", "v"]);
        assert_eq!(
            s.walk(&["kind==committed,labels.\"x.y\"==1"]).unwrap(),
            ["c"]
        );
        assert_eq!(s.walk(&["labels.\"x.y\"!=1"]).unwrap(), ["v"]);
        assert_eq!(s.walk(&["parent==c"]).unwrap(), ["v"]);
        refused(s.walk(&["size==1"]), "field");
    });
}

/// Mounts an active snapshot, changes it with a script, and commits it.
fn change(cairn: &Cairn, name: &str, parent: Option<&str>, script: &str) {
    let parent: Vec<&str> = parent.into_iter().collect();
    cairn.ok(&[&["snapshot", "prepare", "work"], &parent[..]].concat());
    let place = cairn.path("mnt");
    std::fs::create_dir_all(&place).unwrap();
    cairn.ok(&["mount", "work", place.to_str().unwrap()]);
    let done = std::process::Command::new("sh")
        .args(["-ec", script])
        .current_dir(&place)
        .status();
    cairn.ok(&["unmount", place.to_str().unwrap()]);
    assert!(done.unwrap().success(), "{script}");
    cairn.ok(&["snapshot", "commit", name, "work"]);
}

fn seen(cairn: &Cairn, name: &str, look: &mut dyn FnMut(&Path)) {
    let place = cairn.path("seen");
    std::fs::create_dir_all(&place).unwrap();
    cairn.ok(&["mount", name, place.to_str().unwrap()]);
    look(&place);
    assert!(
        std::fs::write(place.join("no"), "").is_err(),
        "a view refuses a real write"
    );
    cairn.ok(&["unmount", place.to_str().unwrap()]);
}

/// Content of a mounted snapshot, without the times of directories that the survey's reader may differ in.
fn tree(cairn: &Cairn, name: &str) -> std::collections::BTreeMap<PathBuf, String> {
    let mut out = Default::default();
    seen(cairn, name, &mut |place| out = survey(place));
    out
}

const CHANGES: [&str; 9] = [
    "mkdir -p a/b c; echo one > a/b/f; echo two > c/g; ln a/b/f c/hard; ln -s ../a c/sym; chmod 1777 c; chown 12:34 a",
    "rm -r c; mkdir c; echo new > c/only",
    "mv a moved; echo more > moved/b/h; rm moved/b/f",
    "chown -R 55:66 moved; chmod 700 moved/b; touch -d 2001-01-01 moved/b/h",
    "ln moved/b/h link; rm moved/b/h; echo x >> link",
    "mv moved/b up; mv up/h . 2>/dev/null || true; mkdir moved/b; echo again > moved/b/z",
    "rm -r moved; echo 'a file now' > moved",
    "rm moved; mkdir -p moved/deep/er; mknod fifo p",
    "mv moved/deep/er moved/shallow; rmdir moved/deep; rm fifo",
];

#[test]
fn what_a_mount_shows_before_a_commit_is_what_it_shows_after() {
    if !is_root() {
        skip!("mounting needs root");
    }
    for driver in ["erofs", "overlay"] {
        let cairn = Cairn {
            driver: Some(driver),
            ..Cairn::new()
        };
        let mut parent: Option<String> = None;
        for (i, script) in CHANGES.iter().enumerate() {
            let name = format!("c{i}");
            // The same steps on a plain directory are what it has to come to.
            let plain = cairn.path("plain");
            std::fs::create_dir_all(&plain).unwrap();
            let done = std::process::Command::new("sh")
                .args(["-ec", script])
                .current_dir(&plain)
                .status()
                .unwrap();
            assert!(done.success());
            change(&cairn, &name, parent.as_deref(), script);
            let (shown, wanted) = (tree(&cairn, &name), survey(&plain));
            let paths = |t: &std::collections::BTreeMap<PathBuf, String>| {
                t.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(paths(&shown), paths(&wanted), "{driver}: {script}");
            for (path, text) in &wanted {
                // Times of what the script just made are not the same in both; all else is.
                let cut = |text: &str| {
                    let mut words: Vec<&str> = text.split(' ').collect();
                    words.remove(2);
                    words.join(" ")
                };
                assert_eq!(
                    cut(&shown[path]),
                    cut(text),
                    "{driver}: {path:?} after {script}"
                );
            }
            parent = Some(name);
        }
        cairn.ok(&["check"]);
    }
}

#[test]
fn a_chown_or_rename_of_much_commits_without_storing_data() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let source = cairn.path("tree");
    std::fs::create_dir_all(source.join("big")).unwrap();
    for i in 0..20 {
        std::fs::write(source.join("big").join(i.to_string()), noise(i, 500_000)).unwrap();
    }
    cairn.import_dir(&source, "base");
    let stored = |cairn: &Cairn| {
        cairn.json(&["stats"])["stored_content_bytes"]
            .as_u64()
            .unwrap()
    };
    let before = stored(&cairn);
    let top = cairn.json(&["inspect", "base"])["top_snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    change(&cairn, "owned", Some(&top), "chown -R 7:8 big");
    change(&cairn, "renamed", Some("owned"), "mv big bigger");
    assert_eq!(stored(&cairn), before);
    seen(&cairn, "renamed", &mut |place| {
        use std::os::unix::fs::MetadataExt;
        for i in 0..20 {
            let path = place.join("bigger").join(i.to_string());
            assert!(std::fs::read(&path).unwrap() == noise(i, 500_000));
            assert_eq!(
                (
                    path.metadata().unwrap().uid(),
                    path.metadata().unwrap().gid()
                ),
                (7, 8)
            );
        }
    });
}

#[test]
fn a_hundred_and_twenty_eight_layers_stack() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let repo = Library(Repo::open_or_create(&cairn.root(), Options::default()).unwrap());
    let mut parent: Option<String> = None;
    for i in 0..128 {
        let work = format!("work{i}");
        repo.prepare(&work, parent.as_deref()).unwrap();
        std::fs::write(upper(&repo, &work).join(format!("f{i}")), format!("{i}")).unwrap();
        std::fs::write(upper(&repo, &work).join("same"), format!("{i}")).unwrap();
        repo.commit(&format!("layer{i}"), &work).unwrap();
        parent = Some(format!("layer{i}"));
    }
    seen(&cairn, "layer127", &mut |place| {
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 129);
        assert_eq!(std::fs::read_to_string(place.join("same")).unwrap(), "127");
        assert_eq!(std::fs::read_to_string(place.join("f0")).unwrap(), "0");
    });
}

#[test]
fn views_show_every_kind_of_file_as_it_was() {
    if !is_root() {
        skip!("mounting needs root");
    }
    let cairn = Cairn::new();
    let source = cairn.path("tree");
    std::fs::create_dir(&source).unwrap();
    common::odd_tree(&source);
    std::fs::create_dir(source.join("many")).unwrap();
    for i in 0..3000 {
        std::fs::write(
            source.join(format!("many/{i:04}{}", "n".repeat(i % 200))),
            i.to_string().repeat(i % 40),
        )
        .unwrap();
    }
    cairn.import_dir(&source, "odd");
    let wanted = survey(&source);
    for driver in ["erofs", "erofs-loop", "overlay", "copy"] {
        let cairn = Cairn {
            driver: Some(driver),
            dir: tempfile::tempdir().unwrap(),
        };
        cairn.import_dir(&source, "odd");
        let shown = tree(&cairn, "odd");
        assert_eq!(shown.len(), wanted.len(), "{driver}");
        for (path, text) in &wanted {
            assert_eq!(&shown[path], text, "{driver}: {path:?}");
        }
    }
    assert!(
        common::has("fsck.erofs") || std::env::var_os("CAIRN_TESTS_ALL").is_none(),
        "fsck.erofs should be here"
    );
}

#[test]
fn the_copy_driver_commits_without_privilege() {
    let cairn = Cairn {
        driver: Some("copy"),
        ..Cairn::new()
    };
    let source = cairn.path("tree");
    std::fs::create_dir_all(source.join("d")).unwrap();
    for name in ["keep", "change", "remove", "d/inner"] {
        std::fs::write(source.join(name), name).unwrap();
    }
    cairn.import_dir(&source, "base");
    cairn.ok(&["snapshot", "prepare", "work", "base"]);
    let plan = cairn.json(&["snapshot", "mounts", "work"]);
    let copy = PathBuf::from(plan["head"]["upper"].as_str().unwrap());
    std::fs::write(copy.join("change"), "other").unwrap();
    std::fs::remove_file(copy.join("remove")).unwrap();
    std::fs::write(copy.join("d/new"), "new").unwrap();
    let changes = cairn.json(&["snapshot", "diff", "work"]);
    let list: Vec<String> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {}",
                c["change"].as_str().unwrap(),
                c["path"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        list,
        [
            "changed /",
            "changed /change",
            "changed /d",
            "added /d/new",
            "deleted /remove"
        ]
    );
    cairn.ok(&["snapshot", "commit", "done", "work"]);
    assert_eq!(cairn.json(&["snapshot", "diff", "done"]), changes);
    assert_eq!(cairn.json(&["snapshot", "usage", "done"])["bytes"], 8);
}
