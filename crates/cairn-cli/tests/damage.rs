//! Random damage to every kind of file in a repository, then reading, checking and repairing it.
//!
//! Whatever happened: no reading command and no mounted view gives out wrong data, `check` says what is wrong, `check --repair`
//! brings back all that still exists somewhere, and afterwards every command works. `CAIRN_DAMAGE_ROUNDS`
//! makes it longer, `CAIRN_DAMAGE_SEED` begins elsewhere.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Cairn, noise};

/// Kinds of files that are left alone.
const LEFT_ALONE: [&str; 2] = ["reserve", "quarantine"];
/// Kinds of which another part of the repository holds the same: their damage loses nothing.
const DERIVED: [&str; 9] = [
    "containers",
    "db",
    "index",
    "journal.copy",
    "lock",
    "gc.lock",
    "leases",
    "cache",
    "format",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n.max(1)
    }
}

/// What every round starts from.
struct Sound {
    cairn: Cairn,
    archives: Vec<PathBuf>,
    contents: BTreeMap<String, Content>,
}

/// A way to read an image as a process does. Within a boot a plain mount believes what was looked at before.
struct Way {
    image: &'static str,
    options: &'static [&'static str],
}

const WAYS: [Way; 4] = [
    Way {
        image: "app:0",
        options: &["--verify=always"],
    },
    Way {
        image: "app:1",
        options: &["--verify=always"],
    },
    Way {
        image: "app:2",
        options: &["--verify=always"],
    },
    Way {
        image: "app:2",
        options: &["--driver=overlay", "--verify=always"],
    },
];

type Content = BTreeMap<PathBuf, Vec<u8>>;

fn read_tree(root: &Path) -> Content {
    let mut out = Content::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                out.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    out
}

fn sound() -> Sound {
    let cairn = Cairn::new();
    let mut archives = Vec::new();
    for i in 0..4_u64 {
        let mut base = common::Tar::new();
        let mut own = common::Tar::new();
        for f in 0..10 {
            base = base.file(&format!("base{f}"), &noise(f, 40_000));
            own = own.file(
                &format!("own{f}"),
                &noise(100 * (i + 1) + f, 9_000 * (f as usize + 1)),
            );
        }
        let archive = cairn.path(&format!("app{i}.tar"));
        let layers = [base.done(), own.done()];
        let bytes = common::docker_archive(&format!("app:{i}"), &layers, |_| ());
        std::fs::write(&archive, bytes).unwrap();
        cairn.ok(&["import", archive.to_str().unwrap()]);
        archives.push(archive);
    }
    cairn.ok(&["rmi", "app:3"]);
    cairn.ok(&["gc"]);
    cairn.ok(&["import", archives[3].to_str().unwrap()]);
    cairn.ok(&["snapshot", "prepare", "work", "app:1"]);
    cairn.ok(&["tag", "app:0", "other:0"]);
    // What a kill left behind, and a container whose command is not there.
    let lease = "0123456789abcdef0123456789abcdef";
    std::fs::write(cairn.root().join("leases").join(lease), "2 99999\n").unwrap();
    std::fs::create_dir(cairn.root().join("tmp").join(lease)).unwrap();
    std::fs::write(
        cairn.root().join("tmp").join(lease).join("x.pack"),
        noise(5, 3000),
    )
    .unwrap();
    if common::is_root() {
        cairn.output(&["run", "--name", "gone", "app:2", "/nosuch"]);
    }
    // A view of a full copy is a bind mount of a directory of its own.
    cairn.ok(&["--driver=copy", "snapshot", "view", "flat", "app:2"]);
    cairn.ok(&["snapshot", "rm", "flat"]);
    let mut contents = BTreeMap::new();
    for name in cairn.image_names() {
        let out = cairn.path("expected");
        let done = export(&cairn, &name, &out);
        assert!(done.status.success());
        contents.insert(name, read_tree(&out));
        std::fs::remove_dir_all(&out).unwrap();
    }
    let sound = Sound {
        cairn,
        archives,
        contents,
    };
    if common::is_root() {
        for way in &WAYS {
            assert!(sees_the_truth(
                &sound,
                &sound.cairn,
                way,
                "while it is sound"
            ));
        }
    }
    sound
}

/// Mounts an image and compares all of it: right, or refused. Says whether it was right.
fn sees_the_truth(sound: &Sound, cairn: &Cairn, way: &Way, what: &str) -> bool {
    let place = cairn.path("place");
    std::fs::create_dir_all(&place).unwrap();
    let at = place.to_str().unwrap();
    let mount = [way.options, &["mount", way.image, at]].concat();
    if !run(cairn, &mount, &[0, 1, 3], what).status.success() {
        return false;
    }
    let seen = std::panic::catch_unwind(|| read_tree(&place));
    // Not the program's own command, which may fail on what was damaged. Lazily: a process that another
    // thread is starting has what was open here until it runs its program.
    let gone = Command::new("umount")
        .arg("-l")
        .arg(&place)
        .status()
        .unwrap();
    assert!(gone.success(), "{what}: umount");
    let name = format!("docker.io/library/{}", way.image);
    let expected = sound.contents.get(&name).or(sound.contents.get(way.image));
    let right = seen.is_ok_and(|seen| Some(&seen) == expected);
    assert!(right, "{what}: {mount:?} shows wrong data");
    true
}

/// The number of images whose views were right; the others were refused.
fn see_all(sound: &Sound, cairn: &Cairn, what: &str) -> usize {
    if !common::is_root() {
        return WAYS.len();
    }
    let right = |way: &&Way| sees_the_truth(sound, cairn, way, what);
    WAYS.iter().filter(right).count()
}

fn export(cairn: &Cairn, name: &str, out: &Path) -> Output {
    let _ = std::fs::remove_dir_all(out);
    cairn.output(&[
        "export",
        name,
        "--format",
        "dir",
        "-o",
        out.to_str().unwrap(),
    ])
}

/// A copy of the repository for one round.
fn copy(sound: &Sound) -> Cairn {
    let cairn = Cairn::new();
    let done = Command::new("cp")
        .arg("-a")
        .args([sound.cairn.root(), cairn.root()])
        .status();
    assert!(done.unwrap().success());
    cairn
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap();
            if LEFT_ALONE.iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            if path.is_dir() {
                stack.push(path);
            } else {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names
}

/// What a file is of: the first part of its name, in the cache the second as well, and a list apart from
/// its image.
fn kind(name: &Path) -> String {
    let parts: Vec<&str> = name.iter().map(|part| part.to_str().unwrap()).collect();
    let extension = name.extension().and_then(|e| e.to_str()).unwrap_or("");
    match parts[..] {
        ["cache", "views" | "flat", ..] => format!("cache/{} {extension}", parts[1]),
        ["cache", second, ..] => format!("cache/{second}"),
        ["containers", .., last] => format!("containers {last}"),
        _ => parts[0].to_owned(),
    }
}

/// Damages one file; says what was done.
fn damage(root: &Path, random: &mut Random) -> (PathBuf, String) {
    let all = files(root);
    // Each kind as often as another, however many files it has.
    let kinds: BTreeSet<String> = all.iter().map(|name| kind(name)).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    let chosen = &kinds[random.below(kinds.len())];
    let of_kind: Vec<&PathBuf> = all.iter().filter(|name| kind(name) == *chosen).collect();
    let name = of_kind[random.below(of_kind.len())].clone();
    let other = of_kind[random.below(of_kind.len())].clone();
    let path = root.join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    let what = match random.below(9) {
        0..=2 if length > 0 => {
            let bit = random.below(length * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            format!("bit {bit} flipped")
        }
        3 => {
            let to = random.below(length + 1);
            std::fs::write(&path, &bytes[..to]).unwrap();
            format!("cut to {to} of {length}")
        }
        4 => {
            let from = random.below(length + 1);
            let to = (from + 1 + random.below(5000)).min(length);
            bytes[from.min(to)..to].fill(0);
            std::fs::write(&path, bytes).unwrap();
            format!("zeros from {from} to {to}")
        }
        5 => {
            std::fs::remove_file(&path).unwrap();
            "removed".to_owned()
        }
        6 => {
            let theirs = std::fs::read(root.join(&other)).unwrap();
            std::fs::write(root.join(&other), bytes).unwrap();
            std::fs::write(&path, theirs).unwrap();
            format!("swapped with {}", other.display())
        }
        7 => {
            std::fs::write(root.join(&other), bytes).unwrap();
            format!("copied over {}", other.display())
        }
        _ => {
            bytes.extend(noise(7, 1 + random.below(600)));
            std::fs::write(&path, bytes).unwrap();
            "garbage added".to_owned()
        }
    };
    (name, what)
}

fn text(output: &Output) -> String {
    format!(
        "exit {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs it; it ends with one of these codes and never panics.
fn run(cairn: &Cairn, args: &[&str], codes: &[i32], what: &str) -> Output {
    let output = cairn.output(args);
    let said = text(&output);
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| codes.contains(&code)),
        "{what}: cairn {args:?}: {said}"
    );
    assert!(!said.contains("panicked"), "{what}: cairn {args:?}: {said}");
    output
}

/// Exports what there is: right, or refused. Returns the names that came out.
fn read_all(sound: &Sound, cairn: &Cairn, what: &str) -> BTreeSet<String> {
    let mut whole = BTreeSet::new();
    for (name, expected) in &sound.contents {
        let out = cairn.path("out");
        let done = export(cairn, name, &out);
        let said = text(&done);
        assert!(!said.contains("panicked"), "{what}: {said}");
        match done.status.code() {
            Some(0) => {
                assert!(read_tree(&out) == *expected, "{what}: {name} is wrong");
                whole.insert(name.clone());
            }
            Some(1 | 3) => {}
            _ => panic!("{what}: export {name}: {said}"),
        }
    }
    whole
}

fn round(sound: &Sound, seed: u64) {
    let cairn = copy(sound);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        random.below(2);
    }
    let mut what = format!("CAIRN_DAMAGE_SEED={seed}");
    let mut derived = 0;
    let count = 1 + random.below(2);
    for _ in 0..count {
        let (name, done) = damage(&cairn.root(), &mut random);
        what = format!("{what}; {}: {done}", name.display());
        derived += usize::from(DERIVED.iter().any(|kind| name.starts_with(kind)));
    }
    let any = [0, 1, 3];
    for args in [
        &["images"][..],
        &["history", "app:1"],
        &["inspect", "app:0"],
        &["snapshot", "ls"],
        &["stats"],
        &["ps", "-a"],
        &["inspect", "gone"],
        &["logs", "gone"],
        &["commit", "gone"],
    ] {
        run(&cairn, args, &any, &what);
    }
    // A mount makes again what it finds damaged; then there is nothing left for the check to find.
    if random.below(2) == 0 {
        see_all(sound, &cairn, &what);
    }
    let whole = read_all(sound, &cairn, &what);
    let all: BTreeSet<String> = sound.contents.keys().cloned().collect();
    let checked = run(&cairn, &["check"], &[0, 3], &what);
    if checked.status.success() {
        let now = read_all(sound, &cairn, &what);
        assert_eq!(now, all, "{what}: check found nothing");
        let seen = see_all(sound, &cairn, &what);
        assert_eq!(seen, WAYS.len(), "{what}: check found nothing");
    }
    let repaired = run(&cairn, &["check", "--repair"], &[0, 3], &what);
    let after = format!(
        "{what}\ncheck: {}\nrepair: {}",
        text(&checked),
        text(&repaired)
    );
    let is_whole = repaired.status.success();
    let again = run(&cairn, &["check"], &[0, 3], &after);
    let lost = String::from_utf8_lossy(&repaired.stdout).contains("lost: ");
    assert!(
        lost || again.status.success() == is_whole,
        "{after}\nagain: {}",
        text(&again)
    );
    let now = read_all(sound, &cairn, &after);
    assert!(
        now.is_superset(&whole),
        "{after}: a repair took {whole:?} and left {now:?}"
    );
    let seen = see_all(sound, &cairn, &after);
    if is_whole {
        assert_eq!(now, all, "{after}");
        assert_eq!(seen, WAYS.len(), "{after}");
    }
    if derived == count || (count == 1 && what.contains("; journal")) {
        assert!(is_whole, "nothing is lost, but {after}");
    }
    // Everything works, and an import brings back the rest.
    for args in [
        &["images"][..],
        &["snapshot", "ls"],
        &["stats"],
        &["ps", "-a"],
        &["tag", now.first().map_or("-", String::as_str), "more:1"],
    ] {
        if now.is_empty() && args[0] == "tag" {
            continue;
        }
        run(&cairn, args, if is_whole { &[0] } else { &any }, &after);
    }
    for archive in &sound.archives {
        run(&cairn, &["import", archive.to_str().unwrap()], &[0], &after);
    }
    run(&cairn, &["gc"], &[0], &after);
    let last = run(&cairn, &["check"], &[0], &after);
    let now = read_all(sound, &cairn, &after);
    let names = all.iter().filter(|name| name.starts_with("app:"));
    for name in names {
        assert!(now.contains(name), "{after}\nlast: {}", text(&last));
    }
    let seen = see_all(sound, &cairn, &after);
    assert_eq!(seen, WAYS.len(), "{after}\nlast: {}", text(&last));
    if common::is_root() {
        run(
            &cairn,
            &["rm", "-f", "gone"],
            if is_whole { &[0] } else { &any },
            &after,
        );
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_damage_gives_wrong_data_or_stays_unmended() {
    let sound = sound();
    let first = number("CAIRN_DAMAGE_SEED", 1);
    let end = first + number("CAIRN_DAMAGE_ROUNDS", 14);
    // Most of a round is waiting for the disk.
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < end)
                {
                    round(&sound, seed);
                }
            });
        }
    });
}

#[test]
fn a_segment_of_the_index_in_the_place_of_another_loses_nothing() {
    let sound = sound();
    let all: BTreeSet<String> = sound.contents.keys().cloned().collect();
    let is_segment = |name: &PathBuf| name.extension().is_some_and(|e| e == "idx");
    let mut segments = files(&sound.cairn.root());
    segments.retain(is_segment);
    assert!(segments.len() > 1);
    for (one, other) in segments.iter().zip(segments.iter().cycle().skip(1)) {
        let what = format!("{} copied over {}", one.display(), other.display());
        let cairn = copy(&sound);
        std::fs::copy(cairn.root().join(one), cairn.root().join(other)).unwrap();
        run(&cairn, &["check"], &[3], &what);
        run(&cairn, &["check", "--repair"], &[0], &what);
        run(&cairn, &["check"], &[0], &what);
        assert_eq!(read_all(&sound, &cairn, &what), all, "{what}");
    }
}
