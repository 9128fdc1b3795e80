//! The snapshot contract: what containerd's own suite asks of any snapshotter, and what its callers rely on.
//!
//! [`Snapshotter`] is a way to reach snapshots: the library ([`Library`]), the command ([`CommandLine`]) and
//! the server ([`Served`]). [`contract!`] makes a test of every case for one of them.
//!
//! ```text
//! fn fresh(driver: Option<cairn_model::Driver>) -> Box<dyn cairn_contract::Snapshotter> { … }
//! cairn_contract::contract!(fresh);
//! ```

mod command_line;
pub mod content;
mod eyes;
pub mod graph;
mod library;
mod served;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_model::{Class, Driver};

pub use command_line::CommandLine;
pub use library::Library;
pub use served::{Served, client, mount_all, unmount_kept};

/// Makes an empty snapshotter; with a driver, or the best one.
pub type Fresh<'a> = &'a dyn Fn(Option<Driver>) -> Box<dyn Snapshotter>;

/// What a snapshotter said no with.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The class, where this edge can tell.
    pub class: Option<Class>,
    /// The words.
    pub words: String,
}

/// Result of an operation.
pub type Answer<T> = Result<T, Refusal>;

/// The record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key or name.
    pub name: String,
    /// `active`, `view` or `committed`.
    pub kind: String,
    /// The committed snapshot below.
    pub parent: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in words of this edge.
    pub created: String,
    /// When it changed last.
    pub updated: String,
}

/// Labels as a case writes them.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A way to reach snapshots.
pub trait Snapshotter {
    /// Makes a writable snapshot.
    fn prepare(&self, key: &str, parent: Option<&str>, labels: Labels<'_>) -> Answer<()>;
    /// Makes a read-only snapshot.
    fn view(&self, key: &str, parent: Option<&str>) -> Answer<()>;
    /// Asks for the mounts of an active snapshot or view: where writes go, if they do.
    fn mounts(&self, key: &str) -> Answer<Option<PathBuf>>;
    /// Commits an active snapshot.
    fn commit(&self, name: &str, key: &str, labels: Labels<'_>) -> Answer<()>;
    /// Removes a snapshot.
    fn remove(&self, key: &str) -> Answer<()>;
    /// The record of one.
    fn stat(&self, key: &str) -> Answer<Record>;
    /// Sets these labels and no others; an empty value removes one.
    fn label(&self, key: &str, labels: Labels<'_>) -> Answer<()>;
    /// The records that a filter accepts, by name.
    fn walk(&self, filters: &[&str]) -> Answer<Vec<Record>>;
    /// Own bytes and inodes.
    fn usage(&self, key: &str) -> Answer<(u64, u64)>;
    /// Frees what removed snapshots left.
    fn cleanup(&self) -> Answer<()>;
    /// Whether all that is stored is found whole, where this edge can ask.
    fn is_sound(&self) -> Option<bool>;
    /// Runs a shell script in the mounted active snapshot `key`.
    fn change(&self, key: &str, script: &str);
    /// Shows a committed snapshot, mounted.
    fn show(&self, name: &str, look: &mut dyn FnMut(&Path));
}

/// Says why a case does not run; a failure where `CAIRN_TESTS_ALL` says that all have to.
pub fn may_mount() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        let all = std::env::var_os("CAIRN_TESTS_ALL").is_some();
        assert!(!all, "mounting needs root");
        eprintln!("skipped: mounting needs root");
    }
    may
}

/// Runs a shell script in a directory; it must work.
fn run_script(directory: &Path, script: &str) {
    let mut shell = std::process::Command::new("sh");
    let done = shell.args(["-ec", script]).current_dir(directory).status();
    assert!(done.expect("sh starts").success(), "{script}");
}

/// A test for each case, against what `$fresh` makes (a function as [`Fresh`]). The deepest of them,
/// [`content::a_hundred_and_twenty_eight_layers_stack`], takes a minute and is asked for by name, where it
/// is not the edge that counts.
#[macro_export]
macro_rules! contract {
    ($fresh:path) => {
        $crate::contract! { $fresh, graph:
            a_commit_replaces_its_key_and_children_see_it
            parents_must_be_committed_and_keys_are_unique
            removal_respects_children_and_frees_names
            labels_change_one_by_one_and_filters_find_them
            a_commit_has_labels_and_times_of_its_own
            stat_and_walk_give_the_same_record
            usage_counts_a_snapshot_without_its_parents
            a_cleanup_takes_nothing_that_is_there
        }
        $crate::contract! { $fresh, content:
            what_a_mount_shows_before_a_commit_is_what_it_shows_after
            changes_within_one_second_are_seen
            an_empty_snapshot_has_an_ordinary_root
        }
    };
    ($fresh:path, $module:ident: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::$module::$case(&$fresh);
            }
        )*
    };
}
