//! rpm's database in its SQLite form: `rpmdb.sqlite`, whose table `Packages` has the header of each package. Its
//! older forms, Berkeley DB and ndb, are not read, and neither is a write-ahead log that was not taken into it.

mod header;
mod sqlite;

use super::Found;
use super::form::{Form, Tell, shown};
use header::Header;
use sqlite::Database;

pub(super) const FORM: Form = Form {
    is_record: is_database,
    read: read_files,
};

const PLACES: [&[u8]; 2] = [b"var/lib/rpm/", b"usr/lib/sysimage/rpm/"];

fn name(path: &[u8]) -> Option<&[u8]> {
    PLACES.iter().find_map(|place| path.strip_prefix(*place))
}

/// A big-endian number of four bytes.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn is_database(path: &[u8]) -> bool {
    name(path) == Some(b"rpmdb.sqlite")
}

/// True for what says of packages what is not read.
pub(super) fn is_unread(path: &[u8], bytes: u64) -> bool {
    match name(path) {
        Some(b"Packages" | b"Packages.db") => true,
        Some(b"rpmdb.sqlite-wal") => bytes > 0,
        _ => false,
    }
}

/// True for a database that can be read to its end.
pub(super) fn is_sound(bytes: &[u8]) -> bool {
    each_header(bytes, &mut |_| {})
}

/// Tells each package; false where the database is not one, or ends early.
fn each_header(bytes: &[u8], tell: &mut dyn FnMut(&Header<'_>)) -> bool {
    let Some(database) = Database::new(bytes) else {
        return false;
    };
    let Some(root) = database.root_of(b"Packages") else {
        return false;
    };
    database.blobs(root, &mut |blob| {
        if let Some(header) = Header::new(blob) {
            tell(&header);
        }
    })
}

pub(super) fn read(bytes: &[u8]) -> Found {
    let mut found = Found::new();
    each_header(bytes, &mut |header| {
        if let Some((name, version)) = header.name().zip(header.version()) {
            let name = String::from_utf8_lossy(name).into_owned();
            found.push((name, version));
        }
    });
    found
}

fn read_files(_: &[u8], bytes: &[u8], tell: &mut Tell<'_>) {
    each_header(bytes, &mut |header| {
        if let Some(name) = header.name() {
            let package = shown("rpm", name);
            header.files(&mut |path| tell(package.clone(), path));
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with these tags: number, type, count and bytes of each.
    fn header(tags: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, count, bytes) in tags {
            for word in [*tag, *kind, data.len() as u32, *count] {
                index.extend(word.to_be_bytes());
            }
            data.extend_from_slice(bytes);
        }
        let lengths = [tags.len() as u32, data.len() as u32].map(u32::to_be_bytes);
        [&lengths.concat()[..], &index, &data].concat()
    }

    fn bash() -> Vec<u8> {
        header(&[
            (1000, 6, 1, b"bash\0"),
            (1001, 6, 1, b"5.2\0"),
            (1002, 6, 1, b"1.fc40\0"),
            (1003, 4, 1, &2_u32.to_be_bytes()),
            (1116, 4, 2, &[0, 0, 0, 1, 0, 0, 0, 0]),
            (1117, 8, 2, b"bash\0profile\0"),
            (1118, 8, 2, b"/etc/\0/usr/bin/\0"),
        ])
    }

    fn files(header: &Header<'_>) -> Vec<String> {
        let mut files = Vec::new();
        header.files(&mut |path| files.push(String::from_utf8_lossy(path).into_owned()));
        files
    }

    #[test]
    fn a_header_says_name_version_and_files() {
        let bytes = bash();
        let found = Header::new(&bytes).unwrap();
        assert_eq!(found.name(), Some(&b"bash"[..]));
        assert_eq!(found.version().as_deref(), Some("2:5.2-1.fc40"));
        assert_eq!(files(&found), ["/usr/bin/bash", "/etc/profile"]);
        let old = header(&[(1000, 6, 1, b"old\0"), (1027, 8, 1, b"/bin/old\0")]);
        let old = Header::new(&old).unwrap();
        assert_eq!(
            (old.version(), files(&old)),
            (None, vec!["/bin/old".to_owned()])
        );
    }

    /// A database that the program of SQLite makes, with pages of this size; none where it is not there.
    fn database(page: u32, blobs: &[Vec<u8>]) -> Option<Vec<u8>> {
        use std::io::Write;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("rpmdb.sqlite");
        let mut script = format!(
            "PRAGMA page_size={page};\nCREATE TABLE first (a);\n\
             CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL);\n\
             CREATE INDEX i ON first (a);\nBEGIN;\n"
        );
        for blob in blobs {
            let hex: String = blob.iter().map(|byte| format!("{byte:02x}")).collect();
            script.push_str(&format!("INSERT INTO Packages (blob) VALUES (x'{hex}');\n"));
        }
        script.push_str("COMMIT;\n");
        let mut command = std::process::Command::new("sqlite3");
        let command = command.arg(&path).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().ok()?;
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
        Some(std::fs::read(&path).unwrap())
    }

    fn blobs(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut found = Vec::new();
        let Some(database) = Database::new(bytes) else {
            return (found, false);
        };
        let root = database.root_of(b"Packages").unwrap();
        let whole = database.blobs(root, &mut |blob| found.push(blob.to_vec()));
        (found, whole)
    }

    #[test]
    fn what_sqlite_wrote_is_read_whatever_the_size_of_pages_and_rows() {
        for page in [512, 4096, 65_536] {
            // Around each bound at which a row no longer fits its page, and many more than one page has.
            let lengths = (0..900).chain([page - 36, page - 35, page - 34, page, page * 3, 70_000]);
            let rows: Vec<Vec<u8>> = lengths
                .map(|n| (0..n).map(|i| (i * 7 + n) as u8).collect())
                .collect();
            let Some(bytes) = database(page, &rows) else {
                eprintln!("skipped: sqlite3 is not installed");
                return;
            };
            let (found, whole) = blobs(&bytes);
            assert!(whole && found == rows, "pages of {page} bytes");
            assert!(!is_sound(&bytes[..bytes.len() / 2]), "cut in the middle");
        }
    }

    #[test]
    fn packages_of_a_database_are_told_with_their_files() {
        let Some(bytes) = database(1024, &[bash(), b"no header".to_vec()]) else {
            eprintln!("skipped: sqlite3 is not installed");
            return;
        };
        assert_eq!(
            read(&bytes),
            [("bash".to_owned(), "2:5.2-1.fc40".to_owned())]
        );
        let mut told = Vec::new();
        read_files(b"", &bytes, &mut |package, path| {
            told.push((package, path.to_vec()))
        });
        assert_eq!(told[0], ("rpm bash".to_owned(), b"/usr/bin/bash".to_vec()));
        assert!(
            is_unread(b"var/lib/rpm/Packages", 1) && is_unread(b"var/lib/rpm/rpmdb.sqlite-wal", 1)
        );
        assert!(!is_unread(b"var/lib/rpm/rpmdb.sqlite-wal", 0) && !is_unread(b"srv/Packages", 1));
    }

    #[test]
    fn pages_that_lead_in_a_circle_come_to_an_end() {
        let rows: Vec<Vec<u8>> = (0..200).map(|n| vec![n as u8; 3000]).collect();
        let Some(sound) = database(512, &rows) else {
            eprintln!("skipped: sqlite3 is not installed");
            return;
        };
        // Every page number in turn is put wherever a page number may stand.
        for at in (0..sound.len() - 4).step_by(4).filter(|at| *at % 512 < 16) {
            let mut bytes = sound.clone();
            bytes[at..at + 4].copy_from_slice(&2_u32.to_be_bytes());
            read(&bytes);
        }
    }

    proptest! {
        #[test]
        fn a_header_of_any_bytes_is_read_without_a_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = bash();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for bytes in [noise, bytes] {
                if let Some(header) = Header::new(&bytes) {
                    let _ = (header.name(), header.version(), files(&header));
                }
            }
        }
    }
}
