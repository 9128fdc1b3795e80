//! What may be on a disk after power was cut.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use cairn_store::Op;

/// One state of the disk that is possible after a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
    /// What survived, for messages.
    pub choice: String,
}

impl Image {
    /// Makes the files of this image, as they were below `from`, below `to`.
    pub fn write(&self, from: &Path, to: &Path) -> io::Result<()> {
        let place = |path: &Path| to.join(path.strip_prefix(from).unwrap_or(path));
        for directory in &self.directories {
            std::fs::create_dir_all(place(directory))?;
        }
        for (path, content) in &self.files {
            let path = place(path);
            std::fs::create_dir_all(path.parent().unwrap_or(to))?;
            std::fs::write(path, content)?;
        }
        Ok(())
    }

    /// Equal for images that hold the same.
    pub fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (path, content) in &self.files {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(blake3::hash(content).as_bytes());
        }
        for path in &self.directories {
            hasher.update(b"/");
            hasher.update(path.as_os_str().as_encoded_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

#[derive(Default)]
struct File {
    data: Vec<u8>,
    synced: usize,
}

/// A change of names; which parts of it are certain is known from the syncs that came later.
struct Event {
    change: Change,
    certain: bool,
    /// For a rename that is certain: whether the old name is certainly gone.
    source_gone: bool,
}

enum Change {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    /// A directory with all that is in it.
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
    Mkdir(PathBuf),
}

/// The images that are possible behind `ops`: all of them, or the extremes and others drawn by `seed`
/// where there are more than `limit`.
pub fn images(ops: &[Op], limit: usize, seed: u64) -> Vec<Image> {
    let (events, files) = replay(ops);
    let doubtful = events
        .iter()
        .filter(|e| !e.certain || !e.source_gone)
        .count();
    let dirty: Vec<usize> = (0..files.len())
        .filter(|i| files[*i].data.len() > files[*i].synced)
        .collect();
    let total = 2_u128
        .checked_pow(doubtful as u32)
        .and_then(|n| n.checked_mul(3_u128.checked_pow(dirty.len() as u32)?));
    let digits = doubtful + dirty.len();
    let base = |i: usize| if i < doubtful { 2 } else { 3 };
    let mut choices: Vec<Vec<u8>> = Vec::new();
    match total {
        Some(total) if total <= limit as u128 => {
            for mut number in 0..total {
                let digit = |i| {
                    let digit = (number % base(i)) as u8;
                    number /= base(i);
                    digit
                };
                choices.push((0..digits).map(digit).collect());
            }
        }
        _ => {
            for (names, data) in [(0, 0), (1, 2), (1, 0), (0, 2), (1, 1)] {
                let digit = |i| if i < doubtful { names } else { data };
                choices.push((0..digits).map(digit).collect());
            }
            let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
            while choices.len() < limit {
                let digit = |i| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (u128::from(state >> 8) % base(i)) as u8
                };
                choices.push((0..digits).map(digit).collect());
            }
        }
    }
    let mut seen = HashSet::new();
    choices
        .iter()
        .map(|choice| assemble(&events, &files, doubtful, &dirty, choice))
        .filter(|image| seen.insert(image.key()))
        .collect()
}

fn replay(ops: &[Op]) -> (Vec<Event>, Vec<File>) {
    let synced_after = |at: usize, path: &Path| {
        let parent = path.parent();
        ops[at..]
            .iter()
            .any(|op| matches!(op, Op::SyncDir(dir) if Some(&**dir) == parent))
    };
    let mut files: Vec<File> = Vec::new();
    let mut live: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut events = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let mut simple = |change, path: &Path| {
            events.push(Event {
                change,
                certain: synced_after(at, path),
                source_gone: true,
            });
        };
        match op {
            Op::Create(path) => {
                files.push(File::default());
                live.insert(path.clone(), files.len() - 1);
                simple(Change::Add(path.clone(), files.len() - 1), path);
            }
            Op::Append(path, bytes) => files[live[&**path]].data.extend_from_slice(bytes),
            Op::Truncate(path, len) => {
                let file = &mut files[live[&**path]];
                file.data.truncate(*len as usize);
                file.synced = file.synced.min(*len as usize);
            }
            Op::Sync(path) => {
                let file = &mut files[live[&**path]];
                file.synced = file.data.len();
            }
            Op::Rename(from, to) => {
                let gone = synced_after(at, from);
                let change = match live.remove(&**from) {
                    Some(file) => {
                        live.insert(to.clone(), file);
                        Change::Rename(from.clone(), to.clone(), file)
                    }
                    None => {
                        live = live
                            .into_iter()
                            .map(|(path, file)| (moved(&path, from, to), file))
                            .collect();
                        Change::Move(from.clone(), to.clone())
                    }
                };
                events.push(Event {
                    change,
                    // The old name cannot go without the new one coming.
                    certain: gone || synced_after(at, to),
                    source_gone: gone,
                });
            }
            Op::Unlink(path) => {
                if live.remove(&**path).is_some() {
                    simple(Change::Remove(path.clone()), path);
                }
            }
            Op::Mkdir(path) => simple(Change::Mkdir(path.clone()), path),
            Op::SyncDir(_) => {}
        }
    }
    (events, files)
}

/// Where `path` is when `from` has become `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from)
        .map_or_else(|_| path.to_owned(), |rest| to.join(rest))
}

fn assemble(
    events: &[Event],
    files: &[File],
    doubtful: usize,
    dirty: &[usize],
    choice: &[u8],
) -> Image {
    let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
    let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
    let mut doubts = choice[..doubtful].iter().map(|digit| *digit == 1);
    let mut told = Vec::new();
    for event in events {
        let happened = if event.certain && event.source_gone {
            true
        } else {
            doubts.next().unwrap_or(true)
        };
        match &event.change {
            Change::Add(path, file) if happened => drop(names.insert(path.clone(), *file)),
            Change::Remove(path) if happened => drop(names.remove(&**path)),
            Change::Mkdir(path) if happened => drop(directories.insert(path.clone())),
            Change::Mkdir(path) => drop(lost.insert(path.clone())),
            Change::Rename(from, to, file) => {
                if happened || event.certain {
                    names.insert(to.clone(), *file);
                }
                if happened {
                    names.remove(&**from);
                }
            }
            // A directory has one name: the new one is certain as soon as either is.
            Change::Move(from, to) if happened || event.certain => {
                names = names
                    .into_iter()
                    .map(|(path, file)| (moved(&path, from, to), file))
                    .collect();
                // Its new name is what counts from here on.
                if lost.remove(from) {
                    directories.insert(from.clone());
                }
                for set in [&mut directories, &mut lost] {
                    *set = set.iter().map(|path| moved(path, from, to)).collect();
                }
            }
            _ => {}
        }
        if !happened {
            told.push(match &event.change {
                Change::Add(path, _) => format!("+{}", name(path)),
                Change::Remove(path) => format!("-{}", name(path)),
                Change::Mkdir(path) => format!("{}/", name(path)),
                Change::Rename(_, to, _) | Change::Move(_, to) => format!(">{}", name(to)),
            });
        }
    }
    let there = |path: &Path| !path.ancestors().any(|above| lost.contains(above));
    let length = |file: usize| {
        let File { data, synced } = &files[file];
        let place = dirty.iter().position(|i| *i == file);
        match place.map(|place| choice[doubtful + place]) {
            Some(0) => *synced,
            Some(1) => synced + (data.len() - synced) / 2,
            _ => data.len(),
        }
    };
    let content = |(path, file): (PathBuf, usize)| {
        let data = &files[file].data[..length(file)];
        (path, data.to_vec())
    };
    Image {
        files: names
            .into_iter()
            .filter(|(path, _)| there(path))
            .map(content)
            .collect(),
        directories: directories.into_iter().filter(|path| there(path)).collect(),
        choice: format!(
            "lost names [{}], data {:?}",
            told.join(" "),
            &choice[doubtful..]
        ),
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new("/r").join(name)
    }

    #[test]
    fn what_was_synced_is_certain_and_all_else_may_be_lost() {
        let mut ops = vec![
            Op::Create(path("a.new")),
            Op::Append(path("a.new"), vec![1; 10]),
            Op::Rename(path("a.new"), path("a")),
        ];
        let names = |image: &Image| -> Vec<(String, usize)> {
            let of = |(path, data): (&PathBuf, &Vec<u8>)| (name(path), data.len());
            image.files.iter().map(of).collect()
        };
        let all: Vec<_> = images(&ops, 100, 0).iter().map(names).collect();
        let one = |name: &str, len| vec![(name.to_owned(), len)];
        for possible in [
            vec![],
            one("a.new", 5),
            one("a", 0),
            one("a", 5),
            one("a", 10),
        ] {
            assert!(all.contains(&possible), "{possible:?} is not in {all:?}");
        }
        ops.insert(2, Op::Sync(path("a.new")));
        ops.push(Op::SyncDir(path("")));
        let all: Vec<_> = images(&ops, 100, 0).iter().map(names).collect();
        assert_eq!(all, [one("a", 10)]);
    }

    #[test]
    fn many_possibilities_are_drawn_from_within_the_limit() {
        let ops: Vec<Op> = (0..40).map(|i| Op::Create(path(&format!("{i}")))).collect();
        let drawn = images(&ops, 30, 7);
        assert!((20..=30).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().any(|image| image.files.is_empty()));
        assert!(drawn.iter().any(|image| image.files.len() == 40));
    }
}
