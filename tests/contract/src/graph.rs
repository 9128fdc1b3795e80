//! Cases about records: names, parents, kinds, labels, usage.

use std::path::PathBuf;

use cairn_model::Class;

use crate::{Answer, Fresh, Snapshotter};

/// The directory a process would write to, without a mount: enough to make new files.
pub(crate) fn upper(s: &dyn Snapshotter, key: &str) -> PathBuf {
    let mounts = s.mounts(key).expect("mounts");
    mounts.expect("an active snapshot has a place for writes")
}

fn refused<T: std::fmt::Debug>(done: Answer<T>, class: Class, words: &str) {
    let said = done.expect_err(words);
    assert!(said.words.contains(words), "should say {words:?}: {said:?}");
    if let Some(found) = said.class {
        assert_eq!(found, class, "{said:?}");
    }
}

fn names(found: Answer<Vec<crate::Record>>) -> Vec<String> {
    found
        .expect("records")
        .into_iter()
        .map(|r| r.name)
        .collect()
}

fn kind(s: &dyn Snapshotter, key: &str) -> String {
    s.stat(key).expect("a record").kind
}

/// After a commit the key is gone and the name is there; a child has it for its parent.
pub fn a_commit_replaces_its_key_and_children_see_it(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("a", None, &[]).unwrap();
    let record = s.stat("a").unwrap();
    assert_eq!((&record.kind[..], &record.parent), ("active", &None));
    assert!(record.labels.is_empty());
    std::fs::write(upper(s, "a").join("file"), "content").unwrap();
    s.commit("base", "a", &[]).unwrap();
    refused(s.stat("a"), Class::NotFound, "does not exist");
    assert_eq!(kind(s, "base"), "committed");
    s.prepare("b", Some("base"), &[]).unwrap();
    assert_eq!(s.stat("b").unwrap().parent.unwrap(), "base");
    s.commit("empty", "b", &[]).unwrap();
    assert_eq!(s.usage("empty").unwrap().0, 0);
    assert_eq!(s.usage("base").unwrap().0, 7);
    s.view("v", Some("empty")).unwrap();
    assert_eq!(kind(s, "v"), "view");
    assert_eq!(s.mounts("v").unwrap(), None);
}

/// A parent is committed, or there is none; keys and names are one namespace.
pub fn parents_must_be_committed_and_keys_are_unique(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("a", None, &[]).unwrap();
    let not_yet = s.prepare("b", Some("a"), &[]);
    refused(not_yet, Class::FailedPrecondition, "not committed");
    let nothing = s.prepare("b", Some("nothing"), &[]);
    refused(nothing, Class::NotFound, "does not exist");
    for done in [s.prepare("a", None, &[]), s.view("a", None)] {
        refused(done, Class::Exists, "already exists");
    }
    s.view("v", None).unwrap();
    for done in [s.prepare("v", None, &[]), s.view("v", None)] {
        refused(done, Class::Exists, "already exists");
    }
    let precondition = Class::FailedPrecondition;
    refused(s.commit("x", "v", &[]), precondition, "not active");
    s.commit("c", "a", &[]).unwrap();
    s.prepare("d", Some("c"), &[]).unwrap();
    refused(s.commit("c", "d", &[]), Class::Exists, "already exists");
    refused(s.commit("e", "c", &[]), precondition, "not active");
    let nothing = s.commit("e", "nothing", &[]);
    refused(nothing, Class::NotFound, "does not exist");
    refused(s.mounts("c"), precondition, "committed");
}

/// What has children stays, and a name can be used again once it is free.
pub fn removal_respects_children_and_frees_names(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("1", None, &[]).unwrap();
    s.commit("one", "1", &[]).unwrap();
    s.prepare("2", Some("one"), &[]).unwrap();
    s.commit("two", "2", &[]).unwrap();
    s.view("v", Some("two")).unwrap();
    refused(s.remove("one"), Class::FailedPrecondition, "remove");
    refused(s.remove("two"), Class::FailedPrecondition, "remove");
    s.remove("v").unwrap();
    s.remove("two").unwrap();
    refused(s.remove("two"), Class::NotFound, "does not exist");
    s.remove("one").unwrap();
    assert_eq!(names(s.walk(&[])), Vec::<String>::new());
    s.prepare("two", None, &[]).unwrap();
    s.remove("two").unwrap();
}

/// One label changes and the others stay; comma is "and", several filters are "or".
pub fn labels_change_one_by_one_and_filters_find_them(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    let labels = |key: &str| {
        let labels = s.stat(key).unwrap().labels.into_iter();
        labels.map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
    };
    s.prepare("ns/1/a", None, &[]).unwrap();
    s.commit("c", "ns/1/a", &[]).unwrap();
    s.view("v", Some("c")).unwrap();
    s.label("c", &[("x.y", "1"), ("z", "2")]).unwrap();
    s.label("c", &[("z", "3")]).unwrap();
    assert_eq!(labels("c"), ["x.y=1", "z=3"]);
    s.label("c", &[("z", "")]).unwrap();
    assert_eq!(labels("c"), ["x.y=1"]);
    let long = "x".repeat(4096);
    refused(s.label("c", &[("long", &long)]), Class::Usage, "4096");
    let nothing = s.label("nothing", &[("a", "b")]);
    refused(nothing, Class::NotFound, "does not exist");
    assert_eq!(names(s.walk(&["kind==view", "name==c"])), ["c", "v"]);
    let both = "kind==committed,labels.\"x.y\"==1";
    assert_eq!(names(s.walk(&[both])), ["c"]);
    assert_eq!(names(s.walk(&["labels.\"x.y\"!=1"])), ["v"]);
    assert_eq!(names(s.walk(&["parent==c"])), ["v"]);
    refused(s.walk(&["size==1"]), Class::Usage, "field");
}

/// Labels of the key do not go over to the name.
pub fn a_commit_has_labels_and_times_of_its_own(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("a", None, &[("old", "1"), ("both", "2")])
        .unwrap();
    let active = s.stat("a").unwrap();
    assert_eq!(active.created, active.updated);
    assert_eq!(active.labels["old"], "1");
    s.commit("c", "a", &[("both", "3")]).unwrap();
    let committed = s.stat("c").unwrap();
    assert_eq!(committed.created, committed.updated);
    assert!(committed.created >= active.created);
    let labels: Vec<_> = committed.labels.into_iter().collect();
    assert_eq!(labels, [("both".to_owned(), "3".to_owned())]);
}

/// Whichever way one asks.
pub fn stat_and_walk_give_the_same_record(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("ns/7/a:b@c+d_e.f-g", None, &[("l", "1")])
        .unwrap();
    s.commit("base", "ns/7/a:b@c+d_e.f-g", &[("l", "2")])
        .unwrap();
    s.view("v", Some("base")).unwrap();
    s.prepare("ns/7/active", Some("base"), &[]).unwrap();
    let walked = s.walk(&[]).unwrap();
    let found: Vec<&str> = walked.iter().map(|r| &r.name[..]).collect();
    assert_eq!(found, ["base", "ns/7/active", "v"]);
    for record in &walked {
        assert_eq!(&s.stat(&record.name).unwrap(), record);
    }
}

/// Each byte belongs to the snapshot that brought it.
pub fn usage_counts_a_snapshot_without_its_parents(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("a", None, &[]).unwrap();
    std::fs::write(upper(s, "a").join("big"), vec![b'a'; 100_000]).unwrap();
    let active = s.usage("a").unwrap();
    assert!(active.0 >= 100_000 && active.1 >= 1, "{active:?}");
    s.commit("base", "a", &[]).unwrap();
    s.prepare("b", Some("base"), &[]).unwrap();
    assert!(s.usage("b").unwrap().0 < 100_000);
    std::fs::write(upper(s, "b").join("small"), "small").unwrap();
    s.commit("child", "b", &[]).unwrap();
    assert_eq!(s.usage("base").unwrap().0, 100_000);
    assert_eq!(s.usage("child").unwrap().0, 5);
    refused(s.usage("nothing"), Class::NotFound, "does not exist");
}

/// Twice, with a snapshot of each kind, and after removals.
pub fn a_cleanup_takes_nothing_that_is_there(fresh: Fresh<'_>) {
    let s = &*fresh(None);
    s.prepare("a", None, &[]).unwrap();
    std::fs::write(upper(s, "a").join("file"), "kept").unwrap();
    s.commit("base", "a", &[]).unwrap();
    s.prepare("active", Some("base"), &[]).unwrap();
    std::fs::write(upper(s, "active").join("more"), "kept too").unwrap();
    s.view("view", Some("base")).unwrap();
    s.prepare("gone", Some("base"), &[]).unwrap();
    s.remove("gone").unwrap();
    s.cleanup().unwrap();
    s.cleanup().unwrap();
    assert_eq!(names(s.walk(&[])), ["active", "base", "view"]);
    s.commit("child", "active", &[]).unwrap();
    assert_eq!(s.usage("child").unwrap().0, 8);
}
