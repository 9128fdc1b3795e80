//! Views of images that were committed one from another: each is a small image over the one before, and shows what a
//! whole one would.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cairn, framed, noise, shell_tree, shown, survey};

/// A repository under the driver packs with a base image of more than a thousand files; none where that does not work.
fn with_base() -> Result<Cairn, String> {
    let cairn = framed()?;
    let tree = cairn.path("tree");
    shell_tree(&tree);
    for n in 0..1050_usize {
        let directory = tree.join(format!("many/d{}", n % 12));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("f{n}")), noise(n as u64, 30 + n)).unwrap();
    }
    std::fs::write(tree.join("one"), noise(9000, 5000)).unwrap();
    std::fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
    let holes = std::fs::File::create(tree.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    cairn.import_dir(&tree, "i0");
    Ok(cairn)
}

/// Runs a script in a container of one image and commits it as another.
fn change(cairn: &Cairn, from: &str, script: &str, to: &str) {
    cairn.ok(&["run", "--name", "c", from, "/bin/sh", "-ec", script]);
    cairn.ok(&["commit", "c", to]);
    cairn.ok(&["rm", "c"]);
}

/// Images of metadata that a view of this image is made of, the topmost first.
fn images(cairn: &Cairn, image: &str) -> Vec<PathBuf> {
    let plan = cairn.json(&["snapshot", "view", "v", image]);
    assert_eq!(plan["driver"], "packs");
    cairn.ok(&["snapshot", "rm", "v"]);
    let lowers = plan["lowers"].as_array().unwrap().iter();
    lowers.map(|path| path.as_str().unwrap().into()).collect()
}

/// That the view shows what the whole image of the driver erofs does.
fn assert_same(cairn: &mut Cairn, image: &str) {
    let packs = shown(cairn, image, survey);
    let with = cairn.driver.replace("erofs");
    let erofs = shown(cairn, image, survey);
    cairn.driver = with;
    assert!(packs.len() > 800, "{image}");
    let differ: Vec<_> = packs
        .iter()
        .filter(|(path, seen)| erofs.get(*path) != Some(seen))
        .collect();
    assert_eq!(differ, Vec::new(), "{image}");
    assert_eq!(packs.len(), erofs.len(), "{image}");
}

/// What a container may do to what is below, in an order in which each step meets what the one before left.
const CHANGES: [&str; 9] = [
    "echo new > many/new; chmod 700 many/d1; rm many/d0/f12",
    "rm -r many/d2; mkdir many/d2; echo again > many/d2/f2; mv many/d3/f3 many/moved",
    "rm -r many/d2; rm many/d4/f4; mkdir many/d4/f4; echo in > many/d4/f4/in",
    "rm -r many/d5; echo file > many/d5; ln -s d6 many/link; chmod 600 many/d7/f7",
    "rm many/d5; mkdir many/d5; echo back > many/d5/f5; rm many/link; mkdir many/link",
    "echo a > many/a; ln many/a many/b; rm -r many/d4/f4; echo f > many/d4/f4",
    "chmod 711 many; chmod 755 /; mkdir many/fresh; echo a > many/fresh/a; echo b > many/fresh/b",
    "mv many/d8 many/d9/in; rm many/d9/in/f8; rm many/fresh/a many/d5/f5",
    "rm -r many/d9/in; echo last > many/d8",
];

#[test]
fn a_chain_of_commits_shows_what_whole_views_show() {
    let mut cairn = match with_base() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let mut names = vec!["i0".to_owned()];
    images(&cairn, "i0");
    for n in 0..CHANGES.len() + 8 {
        let script = match CHANGES.get(n) {
            Some(script) => (*script).to_owned(),
            None => format!(
                "echo {n} > many/new; echo {n} > many/more{n}; rm -f many/more{}",
                n - 1
            ),
        };
        let (from, to) = (format!("i{n}"), format!("i{}", n + 1));
        change(&cairn, &from, &script, &to);
        names.push(to);
        let name = names.last().unwrap();
        let below = images(&cairn, &from);
        let own = images(&cairn, name);
        // Each adds an image to those of the one before, until there are too many.
        if own[1..] != below {
            assert_eq!((below.len(), own.len()), (16, 2), "{name}");
            assert_eq!(own.last(), below.last());
        }
        assert!(own[0].metadata().unwrap().len() < 60_000, "{name}: {own:?}");
        if n < CHANGES.len() || n % 4 == 0 || own.len() < 4 {
            assert_same(&mut cairn, name);
        }
    }
    // After everything of the cache is gone, the image is whole, and so is the one below, which came later.
    let last = names.last().unwrap();
    cairn.ok(&["gc", "--prune-cache"]);
    assert_eq!(images(&cairn, last).len(), 1);
    assert_same(&mut cairn, last);
    assert_eq!(images(&cairn, &names[4]).len(), 1);
    let report = cairn.json(&["check", "--full"]);
    assert_eq!(report["sound"], true, "{report}");
}

#[test]
fn a_view_that_others_lie_on_stays_and_is_missed_when_it_is_gone() {
    let mut cairn = match with_base() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    change(&cairn, "i0", "echo new > many/new", "i1");
    let own = images(&cairn, "i1");
    assert_eq!(own.len(), 2);
    // What is written to stands on both, though nothing is written over the one below.
    let plan = cairn.json(&["snapshot", "prepare", "s", "i1"]);
    assert_eq!(plan["lowers"].as_array().unwrap().len(), 2);
    cairn.ok(&["gc", "--prune-cache"]);
    assert!(own.iter().all(|image| image.exists()));
    cairn.ok(&["snapshot", "rm", "s"]);
    // What layers that come together do to each other is not seen, nor what the base has for a file with holes forgotten.
    let script = "mkdir many/fresh; echo a > many/fresh/a; echo b > many/fresh/b; rm -r many/d3; mkdir many/d3; \
        echo c > many/d3/c";
    change(&cairn, "i1", script, "i2");
    change(&cairn, "i2", "rm many/fresh/a many/d3/c", "i3");
    cairn.ok(&["gc", "--prune-cache"]);
    images(&cairn, "i0");
    let objects = cairn.root().join("cache/objects");
    assert!(objects.read_dir().unwrap().next().is_some());
    std::fs::remove_dir_all(&objects).unwrap();
    let folded = images(&cairn, "i3");
    assert_eq!(folded.len(), 2);
    assert!(objects.read_dir().unwrap().next().is_some());
    assert_same(&mut cairn, "i3");
    for image in ["i3", "i2"] {
        cairn.ok(&["rmi", image]);
    }
    assert_eq!(images(&cairn, "i1").len(), 2);
    // Damage of the lower one is found in both, and both are made anew.
    for damage in [&b"nonsense"[..], b""] {
        std::fs::write(&own[1], damage).unwrap();
        assert_same(&mut cairn, "i1");
    }
    images(&cairn, "i1");
    std::fs::write(&own[1], "nonsense").unwrap();
    let report = cairn.output(&["--json", "check"]);
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(text.contains("over packs is damaged"), "{text}");
    assert_eq!(report.status.code(), Some(3), "{text}");
    assert_eq!(text.matches("over packs is damaged").count(), 1, "{text}");
    assert_same(&mut cairn, "i1");
    cairn.ok(&["rmi", "i1"]);
    assert_same(&mut cairn, "i0");
    let report = cairn.json(&["check", "--full"]);
    assert_eq!(report["sound"], true, "{report}");
}

#[test]
fn what_cannot_be_small_is_whole() {
    let mut cairn = match with_base() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let much = "for i in 0 1 2 3 4 5 6 7 8 9; do for k in 0 1 2 3 4 5 6 7 8 9; do \
        for j in 0 1 2 3; do echo $i$j > much$i$k$j; done; done; done";
    // Each view is there before the next image is made.
    for (n, (script, count, why)) in [
        ("echo new > many/new", 2, "it is small"),
        ("rm two", 1, "the number of names of a file below changes"),
        ("echo new > many/other", 2, "it lies over a whole one"),
        (
            "rm -r many/d1",
            3,
            "much is gone, and little is said about it",
        ),
        ("mkdir a0; echo x > a0/x", 4, "it is the top of its stack"),
        (
            "echo y > y",
            4,
            "overlayfs would look for objects in a0: it lies over what is below that",
        ),
        (much, 1, "there is too much of it"),
    ]
    .into_iter()
    .enumerate()
    {
        images(&cairn, &format!("i{n}"));
        let name = format!("i{}", n + 1);
        change(&cairn, &format!("i{n}"), script, &name);
        assert_eq!(images(&cairn, &name).len(), count, "{why}");
        assert_same(&mut cairn, &name);
    }
}

#[test]
fn a_marker_in_the_root_says_nothing_of_the_root() {
    let cairn = match with_base() {
        Ok(cairn) => cairn,
        Err(why) => skip!("{why}"),
    };
    let tree = cairn.path("marked");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join(".wh..wh..opq"), "").unwrap();
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o711)).unwrap();
    let tar = cairn.path("marked.tar");
    let made = Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(&tree)
        .args([".", "./.wh..wh..opq"])
        .status();
    assert!(made.unwrap().success());
    cairn.ok(&["import", tar.to_str().unwrap(), "--name", "marked"]);
    let plan = cairn.json(&["snapshot", "prepare", "s", "marked"]);
    let upper = Path::new(plan["head"]["upper"].as_str().unwrap());
    assert_eq!(
        upper.metadata().unwrap().permissions().mode() & 0o7777,
        0o711
    );
}
