//! Where everything in a repository's directory is: names of files and directories are here and nowhere
//! else in the store.

use std::path::{Path, PathBuf};

const FORMAT: &str = "format";
const LOCK: &str = "lock";
const PACKS: &str = "packs";
const INDEX: &str = "index";
const LEASES: &str = "leases";
const TMP: &str = "tmp";
const JOURNAL: &str = "journal";
const JOURNAL_COPY: &str = "journal.copy";
const DB: &str = "db";
const DB_NEW: &str = "db.new";
const DB_BROKEN: &str = "db.broken";
const BASE: &str = "base";
const RESERVE: &str = "reserve";
const CURRENT: &str = "CURRENT";

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
pub const PRIVATE: [&str; 20] = [
    JOURNAL,
    JOURNAL_COPY,
    LOCK,
    "gc.lock",
    "cairn.toml",
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
    "heads",
    "containers",
    "cache",
    "quarantine",
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

    /// What is given up when the disk is full.
    pub fn reserve(self) -> PathBuf {
        self.0.join(RESERVE)
    }
}

/// Which segments are in force, in the directory of an index.
pub fn index_list(index: &Path) -> PathBuf {
    index.join(CURRENT)
}
