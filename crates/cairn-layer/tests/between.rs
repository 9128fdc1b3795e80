//! The layer between two trees, applied to the first, gives the second.

use cairn_layer::{Limits, Tree, diff, layer_between};
use cairn_model::{Content, Entry, Kind, Meta};
use cairn_store::{Disk, Store};
use proptest::prelude::*;

/// Few names, so that layers meet.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("b-"), Just("c")];
    prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/").into_bytes())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::File(Content::default())),
        3 => Just(Kind::Directory),
        2 => path().prop_map(Kind::Hardlink),
        1 => path().prop_map(Kind::Symlink),
        1 => Just(Kind::Fifo),
        2 => Just(Kind::Whiteout),
        1 => Just(Kind::Opaque),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let mode = prop_oneof![Just(0o644), Just(0o755)];
    (path(), kind(), mode).prop_map(|(path, kind, mode)| Entry {
        path,
        meta: Meta::root(mode),
        kind,
    })
}

/// The tree with what of the entries can be applied: hard links may lead nowhere.
fn applied(mut tree: Tree, entries: &[Entry]) -> Tree {
    for entry in entries {
        let mut next = tree.clone();
        if next.apply(std::slice::from_ref(entry)).is_ok() {
            tree = next;
        }
    }
    tree
}

/// The names of each file, in order.
fn groups(tree: &Tree) -> Vec<Vec<Vec<u8>>> {
    let mut groups = std::collections::BTreeMap::<_, Vec<Vec<u8>>>::new();
    for (path, id) in tree.walk() {
        groups.entry(id).or_default().push(path);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort();
    groups
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_makes_the_second_of_the_first(
        below in prop::collection::vec(entry(), 0..25),
        above in prop::collection::vec(entry(), 0..25),
    ) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("store");
        Store::create(&root, Disk::default()).unwrap();
        let store = Store::open(&root, Disk::default(), None).unwrap();
        let old = applied(Tree::new(), &below);
        let new = applied(old.clone(), &above);
        let ingest = store.ingest().unwrap();
        let layer = layer_between(&store, &old, &new, ingest.feeder(), Limits::default()).unwrap();
        let mut again = old.clone();
        again.apply(&layer.entries).unwrap();
        prop_assert_eq!(diff(&new, &again), []);
        prop_assert_eq!(groups(&again), groups(&new));
        // Nothing that is there already is written once more.
        let none = layer_between(&store, &new, &new, ingest.feeder(), Limits::default()).unwrap();
        prop_assert_eq!(none.entries.len(), 0);
    }
}
