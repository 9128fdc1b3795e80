//! The rules of the snapshot graph, held against a model that has them in a few lines.

use std::collections::BTreeMap;

use cairn_model::{Class, LayerId, SnapshotKey};
use cairn_snapshot::{Error, FieldPath, Kind, Labels, Usage, graph};
use cairn_store::{Disk, Store, Txn};
use proptest::prelude::*;

/// Runs `work` in a transaction over an empty store. Nothing of it is committed.
fn in_transaction(work: impl FnOnce(&mut Txn<'_>)) {
    struct Undo;
    impl From<cairn_store::Error> for Undo {
        fn from(e: cairn_store::Error) -> Self {
            panic!("{e}")
        }
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("store");
    Store::create(&root, Disk::default()).unwrap();
    let store = Store::open(&root, Disk::default(), None).unwrap();
    let done = store.db().write::<(), Undo>(|txn| {
        work(txn);
        Err(Undo)
    });
    assert!(done.is_err());
}

fn key(name: &str) -> SnapshotKey {
    name.parse().unwrap()
}

fn layer(name: &str) -> LayerId {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    LayerId::from_bytes(bytes)
}

fn class_of<T>(done: Result<T, Error>) -> Result<(), Class> {
    done.map(drop).map_err(|e| e.class())
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    Create(usize, Kind, Option<usize>),
    Commit(usize, usize),
    Remove(usize),
    Label(usize, &'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let kind = prop_oneof![Just(Kind::Active), Just(Kind::View)];
    prop_oneof![
        3 => (name.clone(), kind, prop::option::of(name.clone())).prop_map(|(n, k, p)| Step::Create(n, k, p)),
        3 => (name.clone(), name.clone()).prop_map(|(to, from)| Step::Commit(to, from)),
        1 => name.clone().prop_map(Step::Remove),
        1 => (name, prop_oneof![Just(""), Just("x"), Just("y")]).prop_map(|(n, v)| Step::Label(n, v)),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Node {
    kind: Kind,
    parent: Option<&'static str>,
    label: Option<&'static str>,
}

type Model = BTreeMap<&'static str, Node>;

/// Whether a new snapshot may have this key and parent.
fn may_be_new(model: &Model, name: &str, parent: Option<&str>) -> Result<(), Class> {
    if model.contains_key(name) {
        return Err(Class::Exists);
    }
    match parent.map(|parent| model.get(parent)) {
        None => Ok(()),
        Some(None) => Err(Class::NotFound),
        Some(Some(parent)) if parent.kind == Kind::Committed => Ok(()),
        Some(Some(_)) => Err(Class::FailedPrecondition),
    }
}

/// What the rules say of a step, and the model after it.
fn expected(model: &mut Model, step: &Step) -> Result<(), Class> {
    match *step {
        Step::Create(n, kind, parent) => {
            let parent = parent.map(|n| NAMES[n]);
            may_be_new(model, NAMES[n], parent)?;
            let label = None;
            model.insert(
                NAMES[n],
                Node {
                    kind,
                    parent,
                    label,
                },
            );
        }
        Step::Commit(to, from) => {
            let active = model.get(NAMES[from]).ok_or(Class::NotFound)?.clone();
            if active.kind != Kind::Active {
                return Err(Class::FailedPrecondition);
            }
            // The key is free by then: a snapshot may be committed under its own key.
            if to != from {
                may_be_new(model, NAMES[to], None)?;
            }
            model.remove(NAMES[from]);
            let (kind, label) = (Kind::Committed, None);
            model.insert(
                NAMES[to],
                Node {
                    kind,
                    label,
                    ..active
                },
            );
        }
        Step::Remove(n) => {
            model.get(NAMES[n]).ok_or(Class::NotFound)?;
            if model.values().any(|node| node.parent == Some(NAMES[n])) {
                return Err(Class::FailedPrecondition);
            }
            model.remove(NAMES[n]);
        }
        Step::Label(n, value) => {
            let node = model.get_mut(NAMES[n]).ok_or(Class::NotFound)?;
            node.label = Some(value).filter(|value| !value.is_empty());
        }
    }
    Ok(())
}

fn perform(txn: &mut Txn<'_>, step: &Step) -> Result<(), Class> {
    let named = |n: usize| key(NAMES[n]);
    match *step {
        Step::Create(n, kind, parent) => {
            let parent = parent.map(named);
            let none = Labels::default();
            class_of(graph::create(
                txn,
                &named(n),
                kind,
                parent.as_ref(),
                none,
                None,
            ))
        }
        Step::Commit(to, from) => {
            let (usage, none) = (Usage::default(), Labels::default());
            class_of(graph::commit(
                txn,
                &named(to),
                &named(from),
                None,
                layer(NAMES[to]),
                usage,
                none,
            ))
        }
        Step::Remove(n) => class_of(graph::remove(txn, &named(n))),
        Step::Label(n, value) => {
            let labels = Labels::from([("l".to_owned(), value.to_owned())]);
            let fields = [FieldPath::Label("l".to_owned())];
            class_of(graph::update(txn, &named(n), labels, &fields))
        }
    }
}

fn assert_as_model(txn: &Txn<'_>, model: &Model) {
    let found = graph::list(txn).unwrap();
    let names: Vec<&str> = found.iter().map(|s| s.key.as_str()).collect();
    assert_eq!(names, model.keys().copied().collect::<Vec<_>>());
    for snapshot in found {
        let node = &model[snapshot.key.as_str()];
        assert_eq!(snapshot.kind, node.kind);
        assert_eq!(snapshot.parent.as_ref().map(|p| p.as_str()), node.parent);
        assert_eq!(
            snapshot.labels.get("l").map(String::as_str),
            node.label,
            "labels of {}",
            snapshot.key
        );
        let children = graph::children(txn, &snapshot.key).unwrap();
        let names: Vec<&str> = children.iter().map(|key| key.as_str()).collect();
        let expected = model
            .iter()
            .filter(|(_, child)| child.parent == Some(snapshot.key.as_str()));
        assert_eq!(names, expected.map(|(name, _)| *name).collect::<Vec<_>>());
        let mut chain: Vec<LayerId> =
            std::iter::successors(Some(snapshot.key.as_str()), |name| model[name].parent)
                .filter(|name| model[name].kind == Kind::Committed)
                .map(layer)
                .collect();
        chain.reverse();
        assert_eq!(graph::layers(txn, &snapshot.key).unwrap(), chain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_graph_does_as_the_model(steps in prop::collection::vec(step(), 1..40)) {
        in_transaction(|txn| {
            let mut model = Model::new();
            for step in &steps {
                let mut next = model.clone();
                let expected = expected(&mut next, step);
                // A step that is refused is followed by others here; a transaction would end with it.
                if expected.is_ok() {
                    assert_eq!(perform(txn, step), expected, "{step:?} over {model:?}");
                    model = next;
                } else if !matches!(step, Step::Commit(..)) {
                    assert_eq!(perform(txn, step), expected, "{step:?} over {model:?}");
                }
                assert_as_model(txn, &model);
            }
        });
    }
}

#[test]
fn a_commit_that_is_refused_says_why() {
    in_transaction(|txn| {
        let none = Labels::default;
        graph::create(txn, &key("view"), Kind::View, None, none(), None).unwrap();
        let usage = Usage::default();
        let commit = |txn: &mut Txn<'_>, name: &str, from: &str, onto: Option<&str>| {
            let (name, from, onto) = (key(name), key(from), onto.map(key));
            let (layer, onto) = (layer(name.as_str()), onto.as_ref());
            class_of(graph::commit(txn, &name, &from, onto, layer, usage, none()))
        };
        assert_eq!(
            commit(txn, "x", "view", None),
            Err(Class::FailedPrecondition)
        );
        assert_eq!(commit(txn, "x", "gone", None), Err(Class::NotFound));
        graph::create(txn, &key("active"), Kind::Active, None, none(), None).unwrap();
        assert_eq!(commit(txn, "view", "active", None), Err(Class::Exists));
    });
}

#[test]
fn what_stands_on_nothing_is_committed_onto_another_and_nothing_else_is() {
    in_transaction(|txn| {
        let none = Labels::default;
        let active = |txn: &mut Txn<'_>, name: &str, parent: Option<&str>| {
            let parent = parent.map(key);
            graph::create(txn, &key(name), Kind::Active, parent.as_ref(), none(), None).unwrap()
        };
        let commit = |txn: &mut Txn<'_>, name: &str, from: &str, onto: Option<&str>| {
            let (name, from, onto) = (key(name), key(from), onto.map(key));
            let (layer, onto) = (layer(name.as_str()), onto.as_ref());
            let usage = Usage::default();
            class_of(graph::commit(txn, &name, &from, onto, layer, usage, none()))
        };
        for name in ["one", "two"] {
            active(txn, &format!("{name}-active"), None);
        }
        commit(txn, "one", "one-active", None).unwrap();
        commit(txn, "two", "two-active", Some("one")).unwrap();
        let two = graph::stat(txn, &key("two")).unwrap();
        assert_eq!(two.parent, Some(key("one")));
        assert_eq!(graph::children(txn, &key("one")).unwrap(), [key("two")]);
        assert_eq!(
            graph::layers(txn, &key("two")).unwrap(),
            [layer("one"), layer("two")]
        );
        // Its own parent may be named, another one not, nor one that is none.
        let child = active(txn, "child", Some("one"));
        let (one, two) = (key("one"), key("two"));
        let parent_of = |onto| graph::parent_of_commit(&child, onto).map(Option::<&_>::cloned);
        assert_eq!(class_of(parent_of(Some(&two))), Err(Class::Usage));
        assert_eq!(parent_of(Some(&one)).unwrap(), Some(key("one")));
        assert_eq!(parent_of(None).unwrap(), Some(key("one")));
        active(txn, "a", None);
        let onto_active = commit(txn, "x", "a", Some("child"));
        assert_eq!(onto_active, Err(Class::FailedPrecondition));
        active(txn, "b", None);
        assert_eq!(commit(txn, "x", "b", Some("gone")), Err(Class::NotFound));
    });
}

#[test]
fn labels_are_bounded_and_a_named_one_without_a_value_goes() {
    in_transaction(|txn| {
        let labels = |value: String| Labels::from([("l".to_owned(), value)]);
        let create = |txn: &mut Txn<'_>, name: &str, labels| {
            graph::create(txn, &key(name), Kind::Active, None, labels, None)
        };
        // containerd's limit: key and value together.
        assert!(create(txn, "a", labels("x".repeat(4095))).is_ok());
        let done = create(txn, "b", labels("x".repeat(4096)));
        assert_eq!(class_of(done), Err(Class::Usage));
        let nameless = Labels::from([(String::new(), "x".to_owned())]);
        assert_eq!(class_of(create(txn, "c", nameless)), Err(Class::Usage));

        let one = [FieldPath::Label("l".to_owned())];
        let updated = graph::update(txn, &key("a"), labels(String::new()), &one).unwrap();
        assert!(updated.labels.is_empty());
        let all = graph::update(txn, &key("a"), labels("new".to_owned()), &[]).unwrap();
        assert_eq!(all.labels["l"], "new");
        assert_eq!(graph::stat(txn, &key("a")).unwrap().labels, all.labels);
    });
}

#[test]
fn a_chain_that_leads_in_a_circle_is_damage_and_ends() {
    in_transaction(|txn| {
        let none = Labels::default;
        graph::create(txn, &key("a"), Kind::Active, None, none(), None).unwrap();
        let mut snapshot = graph::stat(txn, &key("a")).unwrap();
        snapshot.parent = Some(key("a"));
        let chain: Vec<_> =
            graph::ancestors(Some(&key("a")), |_| Ok(Some(snapshot.clone()))).collect();
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1].as_ref().unwrap_err().class(), Class::Corrupt);
    });
}
