//! Where everything in a repository's directory is. Names at its top are here and nowhere else; what is inside
//! of `cache/`, `containers/` and `heads/` is a matter of the crates that fill them.

use std::path::{Path, PathBuf};

/// What a file or directory at the top of a repository counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Packs: blobs, alive and dead.
    Packs,
    /// Where each blob is.
    Index,
    /// Journal and database.
    Database,
    /// Views and objects.
    Cache,
    /// What writable snapshots changed.
    Heads,
    /// What volumes hold.
    Volumes,
    /// All else.
    Other,
}

/// A file or directory at the top of a repository.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TopLevel {
    /// Its name.
    pub name: &'static str,
    /// What it counts as.
    pub part: Part,
    /// True for a directory that every repository has.
    pub always: bool,
}

const fn directory(name: &'static str, part: Part) -> TopLevel {
    TopLevel {
        name,
        part,
        always: true,
    }
}

const fn at_times(name: &'static str, part: Part) -> TopLevel {
    TopLevel {
        name,
        part,
        always: false,
    }
}

/// All that stays at the top of a repository. Statistics and `docs/format.md` have the same.
pub const TOP_LEVEL: [TopLevel; 28] = [
    directory(PACKS, Part::Packs),
    directory(INDEX, Part::Index),
    directory(LEASES, Part::Other),
    directory(TMP, Part::Other),
    directory(HEADS, Part::Heads),
    directory(CONTAINERS, Part::Other),
    directory(CACHE, Part::Cache),
    at_times(VOLUMES, Part::Volumes),
    at_times(EVENTS, Part::Other),
    at_times(OLD_EVENTS, Part::Other),
    at_times(DB, Part::Database),
    at_times(JOURNAL, Part::Database),
    at_times(JOURNAL_COPY, Part::Database),
    at_times(BOOT_ROWS, Part::Database),
    at_times(FORMAT, Part::Other),
    at_times(BASE, Part::Other),
    at_times(LOCK, Part::Other),
    at_times(GC_LOCK, Part::Other),
    at_times(GC_RECORD, Part::Other),
    at_times(HISTORY, Part::Other),
    at_times(CHECK_RECORD, Part::Other),
    at_times(SETTINGS, Part::Other),
    at_times(RESERVE, Part::Other),
    at_times(QUARANTINE, Part::Other),
    at_times(DOWNLOADS, Part::Other),
    at_times(REFERRERS, Part::Other),
    at_times(DB_BROKEN, Part::Other),
    at_times(DB_NEW, Part::Other),
];

/// Names of the directories that every repository has.
pub fn directories() -> impl Iterator<Item = &'static str> {
    let always = TOP_LEVEL.iter().filter(|place| place.always);
    always.map(|place| place.name)
}

const FORMAT: &str = "format";
const LOCK: &str = "lock";
const PACKS: &str = "packs";
const INDEX: &str = "index";
const LEASES: &str = "leases";
const TMP: &str = "tmp";
const JOURNAL: &str = "journal";
const JOURNAL_COPY: &str = "journal.copy";
const BOOT_ROWS: &str = "boot.rows";
const DB: &str = "db";
const DB_NEW: &str = "db.new";
const DB_BROKEN: &str = "db.broken";
const BASE: &str = "base";
const RESERVE: &str = "reserve";
const CURRENT: &str = "CURRENT";
const GC_LOCK: &str = "gc.lock";
const GC_RECORD: &str = "gc.json";
const HISTORY: &str = "history";
const CHECK_RECORD: &str = "check.json";
const SETTINGS: &str = "cairn.toml";
const HEADS: &str = "heads";
const CONTAINERS: &str = "containers";
const VOLUMES: &str = "volumes";
/// Written by whoever does something, without the database: by `cairn-runtime`.
const EVENTS: &str = "events";
const OLD_EVENTS: &str = "events.1";
const CACHE: &str = "cache";
const QUARANTINE: &str = "quarantine";
const DOWNLOADS: &str = "downloads";
const REFERRERS: &str = "referrers";

/// Directories that a new store has.
pub const DIRECTORIES: [&str; 4] = [PACKS, INDEX, LEASES, TMP];

/// What there may be before a repository has its file `format`.
pub const BEGINNINGS: [&str; 12] = [
    LOCK,
    PACKS,
    INDEX,
    LEASES,
    TMP,
    JOURNAL,
    "journal.new",
    JOURNAL_COPY,
    "format.new",
    BASE,
    "base.new",
    "lost+found",
];

/// What only the owner may read; the last ones are made by the floors above.
pub const PRIVATE: [&str; 29] = [
    JOURNAL,
    JOURNAL_COPY,
    BOOT_ROWS,
    LOCK,
    GC_LOCK,
    GC_RECORD,
    HISTORY,
    CHECK_RECORD,
    SETTINGS,
    "index/CURRENT",
    "index/lock",
    "db/db",
    "db/conf",
    PACKS,
    INDEX,
    LEASES,
    TMP,
    DB,
    DB_BROKEN,
    RESERVE,
    HEADS,
    CONTAINERS,
    VOLUMES,
    EVENTS,
    OLD_EVENTS,
    CACHE,
    QUARANTINE,
    DOWNLOADS,
    REFERRERS,
];

/// The parts of the repository in one directory.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a>(&'a Path);

impl<'a> Layout<'a> {
    /// Of the repository in `root`.
    pub fn of(root: &'a Path) -> Self {
        Self(root)
    }

    /// What says that this is a repository, and of which format.
    pub fn format(self) -> PathBuf {
        self.0.join(FORMAT)
    }

    /// Where the base is.
    pub fn base(self) -> PathBuf {
        self.0.join(BASE)
    }

    /// The repository lock.
    pub fn lock(self) -> PathBuf {
        self.0.join(LOCK)
    }

    /// Published packs.
    pub fn packs(self) -> PathBuf {
        self.0.join(PACKS)
    }

    /// The index.
    pub fn index(self) -> PathBuf {
        self.0.join(INDEX)
    }

    /// Held by who merges the index.
    pub fn index_lock(self) -> PathBuf {
        self.index().join(LOCK)
    }

    /// Leases, a file each.
    pub fn leases(self) -> PathBuf {
        self.0.join(LEASES)
    }

    /// Unfinished files, a directory for each lease.
    pub fn tmp(self) -> PathBuf {
        self.0.join(TMP)
    }

    /// The journal.
    pub fn journal(self) -> PathBuf {
        self.0.join(JOURNAL)
    }

    /// The journal's copy.
    pub fn journal_copy(self) -> PathBuf {
        self.0.join(JOURNAL_COPY)
    }

    /// Rows that end with this boot of the machine.
    pub fn boot_rows(self) -> PathBuf {
        self.0.join(BOOT_ROWS)
    }

    /// sled's files.
    pub fn db(self) -> PathBuf {
        self.0.join(DB)
    }

    /// sled's files while they are made anew.
    pub fn db_new(self) -> PathBuf {
        self.0.join(DB_NEW)
    }

    /// sled's files that were set aside.
    pub fn db_broken(self) -> PathBuf {
        self.0.join(DB_BROKEN)
    }

    /// Held by the one who takes things away.
    pub fn gc_lock(self) -> PathBuf {
        self.0.join(GC_LOCK)
    }

    /// What the last collection did.
    pub fn gc_record(self) -> PathBuf {
        self.0.join(GC_RECORD)
    }

    /// How the repository grew.
    pub fn history(self) -> PathBuf {
        self.0.join(HISTORY)
    }

    /// What the last check found.
    pub fn check_record(self) -> PathBuf {
        self.0.join(CHECK_RECORD)
    }

    /// The file of settings.
    pub fn settings(self) -> PathBuf {
        self.0.join(SETTINGS)
    }

    /// What active snapshots changed, a directory each.
    pub fn heads(self) -> PathBuf {
        self.0.join(HEADS)
    }

    /// Containers, a directory each.
    pub fn containers(self) -> PathBuf {
        self.0.join(CONTAINERS)
    }

    /// Volumes, a directory each.
    pub fn volumes(self) -> PathBuf {
        self.0.join(VOLUMES)
    }

    /// Views and objects.
    pub fn cache(self) -> PathBuf {
        self.0.join(CACHE)
    }

    /// Parts of blobs that a pull fetched.
    pub fn downloads(self) -> PathBuf {
        self.0.join(DOWNLOADS)
    }

    /// What refers to images, a directory for each image.
    pub fn referrers(self) -> PathBuf {
        self.0.join(REFERRERS)
    }

    /// What a repair set aside.
    pub fn quarantine(self) -> PathBuf {
        self.0.join(QUARANTINE)
    }

    /// What is given up when the disk is full.
    pub fn reserve(self) -> PathBuf {
        self.0.join(RESERVE)
    }
}

/// Which segments are in force, in the directory of an index.
pub fn index_list(index: &Path) -> PathBuf {
    index.join(CURRENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/format.md");

    #[test]
    fn the_document_of_the_format_names_exactly_what_is_at_the_top() {
        let (_, drawing) = DOCUMENT.split_once("ROOT/\n").unwrap();
        let (drawing, _) = drawing.split_once("```").unwrap();
        let mut written: Vec<&str> = drawing
            .lines()
            // Lines that go on with the one above are indented more.
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| !line.starts_with(' '))
            .flat_map(|line| line.split("  ").next().unwrap_or_default().split(' '))
            .map(|name| name.split('/').next().unwrap_or_default())
            .collect();
        let mut there: Vec<&str> = TOP_LEVEL.iter().map(|place| place.name).collect();
        written.sort_unstable();
        there.sort_unstable();
        assert_eq!(written, there);
    }

    #[test]
    fn no_name_is_given_twice_and_what_is_private_is_known() {
        let mut names: Vec<&str> = TOP_LEVEL.iter().map(|place| place.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in PRIVATE {
            let top = name.split('/').next().unwrap_or_default();
            assert!(names.contains(&top), "{name}");
        }
        assert!(directories().all(|name| PRIVATE.contains(&name)));
    }
}
