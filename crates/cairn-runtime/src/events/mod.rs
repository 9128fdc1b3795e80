//! What happened in a repository: a small log that is appended to and follows nothing but its own size.
//!
//! `events` is written, `events.1` is the one before it: a line of JSON each, of a few hundred bytes. A line is
//! one write under a lock of the file, so a crash leaves one that is cut off, at worst; the next writer ends it
//! and readers pass it over. Nothing is synced, and no work fails because its event could not be written. Lines
//! have names, ids and numbers: no command lines, no variables, nothing that could be a secret.

mod read;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_model::Moment;
use serde::{Deserialize, Serialize};

pub use read::EventReader;

/// Size at which the file is rotated.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What a line has at most: names are bounded where they are made.
const LINE_BYTES_MAX: usize = 8 << 10;
const FILE: &str = "events";
const OLD_FILE: &str = "events.1";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When (RFC 3339, UTC).
    pub time: String,
    /// To what: `container`, `image`, `volume` or `repository`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What: `create`, `start`, `die`, …
    pub action: String,
    /// Its id, or name where it has no other.
    pub id: String,
    /// Its name, where it has one.
    #[serde(default)]
    pub name: Option<String>,
    /// More about it.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something that happens now.
    pub fn now(kind: &str, action: &str, id: &str) -> Self {
        Self {
            time: Moment::now().to_string(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            name: None,
            attributes: BTreeMap::new(),
        }
    }

    /// The same with a name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The same with an attribute.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.attributes.insert(name.to_owned(), value.to_string());
        self
    }

    /// Appends it to the log of the repository in `root`.
    pub fn write(&self, root: &Path) {
        if let Err(e) = append(root, self) {
            // What it tells has happened all the same.
            tracing::warn!(error = %e, "write an event");
        }
    }
}

/// The file of the log that is written (0), or the one before it.
fn file_name(root: &Path, age: u32) -> PathBuf {
    root.join(if age == 0 { FILE } else { OLD_FILE })
}

/// The repository of a container's directory; none where it is not in one.
pub(crate) fn repository_of(directory: &Path) -> Option<&Path> {
    let root = directory.parent()?.parent()?;
    root.join("format").is_file().then_some(root)
}

/// Where a container's name is, for those who have no database.
const NAME: &str = "name";

/// Writes down the name of the container in `directory`, for its events.
pub fn note_name(directory: &Path, name: &str) {
    // Without it its events have its id alone.
    let _ = std::fs::write(directory.join(NAME), name);
}

/// Something that happens to the container in `directory` now.
pub(crate) fn of_container(directory: &Path, action: &str) -> Event {
    let id = directory.file_name().unwrap_or_default().to_string_lossy();
    let event = Event::now("container", action, &id);
    let mut name = String::new();
    let file = File::open(directory.join(NAME));
    let read = file.and_then(|file| file.take(1024).read_to_string(&mut name));
    match read {
        Ok(1..) => event.named(&name),
        _ => event,
    }
}

fn append(root: &Path, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    if line.len() >= LINE_BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    line.push(b'\n');
    let path = file_name(root, 0);
    loop {
        let mut options = File::options();
        let mut file = options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.lock()?;
        let meta = file.metadata()?;
        let still = path
            .metadata()
            .is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino()));
        if !still {
            // Another one has rotated it.
            continue;
        }
        if meta.len() > 0 && meta.len() + line.len() as u64 > FILE_BYTES_MAX {
            std::fs::rename(&path, file_name(root, 1))?;
            continue;
        }
        if meta.len() > 0 && last_byte(&mut file)? != b'\n' {
            line.insert(0, b'\n');
        }
        return file.write_all(&line);
    }
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(root: &Path) -> Vec<Event> {
        let mut reader = EventReader::from_start(root);
        reader.read().unwrap()
    }

    #[test]
    fn a_line_that_is_cut_off_is_ended_and_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let event = |n: u32| Event::now("container", "start", "id").with("n", n);
        event(1).write(root.path());
        let path = root.path().join("events");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"time\":\"20").unwrap();
        event(2).write(root.path());
        let found: Vec<String> = all(root.path())
            .iter()
            .map(|e| e.attributes["n"].clone())
            .collect();
        assert_eq!(found, ["1", "2"]);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_log_is_rotated_and_a_follower_that_keeps_up_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut follower = EventReader::from_end(root.path());
        let (count, mut seen) = (12_000, 0);
        for n in 0..count {
            Event::now("image", "import", &"x".repeat(100))
                .with("n", n)
                .write(root.path());
            if n % 1000 == 0 {
                for event in follower.read().unwrap() {
                    assert_eq!(event.attributes["n"], seen.to_string());
                    seen += 1;
                }
            }
        }
        seen += follower.read().unwrap().len();
        assert_eq!(seen, count);
        let bytes = |name: &str| root.path().join(name).metadata().unwrap().len();
        assert!(bytes("events") <= FILE_BYTES_MAX && bytes("events.1") <= FILE_BYTES_MAX);
        let kept = all(root.path());
        assert!(
            kept.len() < count && kept.last().unwrap().attributes["n"] == (count - 1).to_string()
        );
    }

    #[test]
    fn many_writers_keep_lines_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                scope.spawn(move || {
                    for n in 0..200 {
                        Event::now("volume", "create", "v\n\"")
                            .with("n", writer * 200 + n)
                            .write(path);
                    }
                });
            }
        });
        assert_eq!(all(path).len(), 1600);
        Event::now("x", "y", &"z".repeat(10_000)).write(path);
        assert_eq!(all(path).len(), 1600, "what is too long is left out");
    }
}
