//! Packages by the databases that their managers keep inside of images: which are installed in a tree, and (`owners`)
//! which of them a file belongs to.
//!
//! What is in an image is anybody's text: everything is bounded, and what does not read is no package.

mod apk;
mod dpkg;
mod form;
mod node;
mod owners;
mod python;
mod rpm;

use std::io::Read;

use cairn_layer::{ContentReader, NodeKind, Tree};
use cairn_store::Store;
use serde::Serialize;

pub(crate) use owners::{Owners, Records};

/// A longer database is not read.
const DATABASE_BYTES_MAX: u64 = 64 << 20;
/// Nor more of a file about one package than this.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A longer name or version is none.
const NAME_BYTES_MAX: usize = 300;

/// Who installed a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageManager {
    /// Debian and what is made of it.
    Dpkg,
    /// Alpine.
    Apk,
    /// Fedora, SUSE and what is made of them.
    Rpm,
    /// pip and its like.
    Python,
    /// npm and its like.
    Node,
}

impl PackageManager {
    /// Its name, as `--json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct Package {
    /// Who installed it.
    pub manager: PackageManager,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What a database says.
type Found = Vec<(String, String)>;

/// Whose database it is, how it is read, and how much of it.
type Database = (PackageManager, fn(&[u8]) -> Found, u64);

/// Which database a path is.
fn database(path: &[u8]) -> Option<Database> {
    let whole = DATABASE_BYTES_MAX;
    if dpkg::is_database(path) {
        return Some((PackageManager::Dpkg, dpkg::read, whole));
    }
    if apk::is_database(path) {
        return Some((PackageManager::Apk, apk::read, whole));
    }
    if rpm::is_database(path) {
        return Some((PackageManager::Rpm, rpm::read, whole));
    }
    if python::is_database(path) {
        return Some((PackageManager::Python, python::read, FILE_BYTES_MAX));
    }
    let node: Database = (PackageManager::Node, node::read, FILE_BYTES_MAX);
    node::is_database(path).then_some(node)
}

/// The packages of a tree, sorted. Databases that cannot be read are passed over.
pub(crate) fn packages(store: &Store, tree: &Tree) -> Vec<Package> {
    let mut all = Vec::new();
    for (path, id) in tree.walk() {
        let NodeKind::File(content) = &tree.node(id).kind else {
            continue;
        };
        let Some((manager, read, bytes_max)) = database(&path) else {
            continue;
        };
        let mut bytes = Vec::new();
        let reader = ContentReader::new(store, content);
        if reader.take(bytes_max).read_to_end(&mut bytes).is_err() {
            continue;
        }
        let sound = |(name, version): &(String, String)| {
            !name.is_empty() && name.len().max(version.len()) <= NAME_BYTES_MAX
        };
        let found = read(&bytes).into_iter().filter(sound);
        all.extend(found.map(|(name, version)| Package {
            manager,
            name,
            version,
        }));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The value of `NAME: value` or `N:value` in a line, whatever its bytes.
fn value(line: &[u8], name: &str) -> Option<String> {
    let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
    Some(String::from_utf8_lossy(rest).trim().to_owned())
}

/// The values of two names, of each part between empty lines that has both.
fn pairs(text: &[u8], names: [&str; 2], counts: impl Fn(&[&[u8]]) -> bool) -> Found {
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    let parts = lines.split(|line| line.trim_ascii().is_empty());
    let pair = |part: &[&[u8]]| {
        let [name, version] = names.map(|name| part.iter().find_map(|line| value(line, name)));
        Some((name?, version?))
    };
    parts.filter(|part| counts(part)).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_manager_is_known_by_where_its_database_is() {
        let of = |path: &str| database(path.as_bytes()).map(|found| found.0);
        for (path, manager) in [
            ("var/lib/dpkg/status", Some(PackageManager::Dpkg)),
            ("var/lib/dpkg/status.d/base", Some(PackageManager::Dpkg)),
            ("var/lib/dpkg/status-old", None),
            ("lib/apk/db/installed", Some(PackageManager::Apk)),
            ("usr/lib/apk/db/installed", Some(PackageManager::Apk)),
            (
                "usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA",
                Some(PackageManager::Python),
            ),
            ("opt/x.egg-info/PKG-INFO", Some(PackageManager::Python)),
            ("var/lib/rpm/rpmdb.sqlite", Some(PackageManager::Rpm)),
            ("usr/lib/sysimage/rpm/Packages.db", None),
            ("opt/METADATA", None),
            (
                "srv/node_modules/left-pad/package.json",
                Some(PackageManager::Node),
            ),
            (
                "srv/node_modules/@a/b/package.json",
                Some(PackageManager::Node),
            ),
            ("srv/package.json", None),
            ("srv/node_modules/a/lib/package.json", None),
        ] {
            assert_eq!(of(path), manager, "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_database_holds_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for read in [dpkg::read, apk::read, rpm::read, python::read, node::read] {
                read(&bytes);
            }
        }
    }
}
