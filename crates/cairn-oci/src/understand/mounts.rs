//! The mounts of a document, with options as fstab(5) and mount(8) have them.

use std::path::Path;

use cairn_runtime::bundle::{BundleMount, BundleMountKind, IdMaps};

use super::{LIST_MAX, invalid, propagation, runs};
use crate::document::Mount;
use crate::error::Result;

/// `MOUNT_ATTR_*` of mount_setattr(2).
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Attributes: name, what it clears, what it sets.
const ATTRIBUTES: [(&str, u64, u64); 19] = [
    ("ro", 0, RDONLY),
    ("rw", RDONLY, 0),
    ("nosuid", 0, NOSUID),
    ("suid", NOSUID, 0),
    ("nodev", 0, NODEV),
    ("dev", NODEV, 0),
    ("noexec", 0, NOEXEC),
    ("exec", NOEXEC, 0),
    ("nodiratime", 0, NODIRATIME),
    ("diratime", NODIRATIME, 0),
    ("nosymfollow", 0, NOSYMFOLLOW),
    ("symfollow", NOSYMFOLLOW, 0),
    // The three ways of access times are one field.
    ("noatime", ATIME, NOATIME),
    ("strictatime", ATIME, STRICTATIME),
    ("norelatime", ATIME, STRICTATIME),
    ("relatime", ATIME, 0),
    ("atime", ATIME, 0),
    ("nostrictatime", ATIME, 0),
    ("defaults", 0, 0),
];
/// Without a meaning for a new mount.
const NOTHING: [&str; 9] = [
    "remount",
    "async",
    "mand",
    "nomand",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "nolazytime",
];
const OPTIONS_MAX: usize = 256;

/// All options that are not a file system's own.
pub fn options() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned());
    let below = attributes.clone().filter(|name| name != "defaults");
    let ways = ["private", "shared", "slave", "unbindable"];
    let others = ["bind", "rbind", "tmpcopyup", "idmap", "ridmap"];
    let mut all: Vec<String> = below.map(|name| format!("r{name}")).collect();
    all.extend(attributes);
    all.extend(NOTHING.iter().chain(&others).map(|name| (*name).to_owned()));
    all.extend(
        ways.iter()
            .flat_map(|way| [(*way).to_owned(), format!("r{way}")]),
    );
    all.sort();
    all
}

/// Understands them; what a relative source is below is the bundle.
pub fn mounts(mounts: &[Mount], bundle: &Path) -> Result<Vec<BundleMount>> {
    if mounts.len() > LIST_MAX {
        return invalid(format!("mounts: more than {LIST_MAX}"));
    }
    mounts.iter().map(|mount| one(mount, bundle)).collect()
}

#[derive(Default)]
struct Options {
    set: u64,
    clear: u64,
    set_below: u64,
    clear_below: u64,
    bind: Option<bool>,
    copy_up: bool,
    mapped: Option<bool>,
    propagation: Vec<cairn_runtime::bundle::Propagation>,
    others: Vec<String>,
}

impl Options {
    fn attribute(&mut self, name: &str) -> bool {
        let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        if let Some((_, clear, set)) = find(name) {
            // The last word counts.
            self.set = self.set & !clear | set;
            self.clear = self.clear & !set | clear;
        } else if let Some((_, clear, set)) = name.strip_prefix('r').and_then(find) {
            self.set_below = self.set_below & !clear | set;
            self.clear_below = self.clear_below & !set | clear;
        } else {
            return false;
        }
        true
    }

    fn read(options: &[String]) -> Self {
        let mut read = Self::default();
        for option in options {
            match option.as_str() {
                "bind" => read.bind = Some(read.bind.unwrap_or(false)),
                "rbind" => read.bind = Some(true),
                "tmpcopyup" => read.copy_up = true,
                "idmap" => read.mapped = Some(read.mapped.unwrap_or(false)),
                "ridmap" => read.mapped = Some(true),
                name if NOTHING.contains(&name) => {}
                name => match propagation(name) {
                    Some(way) => read.propagation.push(way),
                    None if read.attribute(name) => {}
                    None => read.others.push(name.to_owned()),
                },
            }
        }
        read
    }
}

fn one(mount: &Mount, bundle: &Path) -> Result<BundleMount> {
    let what = format!("mounts: {}", mount.destination);
    if mount.options.len() > OPTIONS_MAX {
        return invalid(format!("{what}: more than {OPTIONS_MAX} options"));
    }
    if mount.destination.is_empty() {
        return invalid("mounts: a destination is missing");
    }
    let options = Options::read(&mount.options);
    let bind = match mount.kind.as_str() {
        "bind" => Some(options.bind.unwrap_or(false)),
        _ => options.bind,
    };
    let ids = IdMaps {
        uids: runs(&what, &mount.uid_mappings)?,
        gids: runs(&what, &mount.gid_mappings)?,
    };
    let has_ids = !ids.uids.is_empty() || !ids.gids.is_empty();
    if ids.uids.is_empty() != ids.gids.is_empty() {
        return invalid(format!("{what}: needs both uidMappings and gidMappings"));
    }
    if (has_ids || options.mapped.is_some()) && bind.is_none() {
        return invalid(format!("{what}: only a bind mount has ids of its own"));
    }
    Ok(BundleMount {
        // Relative ones are below the root, as with every runtime.
        target: format!("/{}", mount.destination.trim_start_matches('/')),
        what: kind(mount, bind, &options, bundle)?,
        set: options.set,
        clear: options.clear,
        set_below: options.set_below,
        clear_below: options.clear_below,
        propagation: options.propagation.clone(),
        copy_up: options.copy_up && mount.kind == "tmpfs",
        ids: (has_ids || options.mapped.is_some()).then(|| (ids, options.mapped.unwrap_or(false))),
    })
}

fn kind(
    mount: &Mount,
    bind: Option<bool>,
    options: &Options,
    bundle: &Path,
) -> Result<BundleMountKind> {
    let what = format!("mounts: {}", mount.destination);
    Ok(match (mount.kind.as_str(), bind) {
        (_, Some(recursive)) => {
            if mount.source.is_empty() {
                return invalid(format!("{what}: a bind mount needs a source"));
            }
            BundleMountKind::Bind {
                source: bundle.join(&mount.source),
                recursive,
            }
        }
        ("cgroup", None) => BundleMountKind::Groups { unified: false },
        ("cgroup2", None) => BundleMountKind::Groups { unified: true },
        ("" | "none", None) => return invalid(format!("{what}: its type is missing")),
        (kind, None) => BundleMountKind::FileSystem {
            kind: kind.to_owned(),
            source: Some(mount.source.clone()).filter(|source| !source.is_empty()),
            options: options.others.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Options {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        Options::read(&options)
    }

    #[test]
    fn options_are_attributes_propagation_or_the_file_systems_own() {
        let options = read(&[
            "rbind", "ro", "nosuid", "rnodev", "suid", "noatime", "rprivate", "size=64m", "rro",
        ]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(
            (options.set, options.clear),
            (RDONLY | NOATIME, NOSUID | ATIME)
        );
        assert_eq!(
            (options.set_below, options.clear_below),
            (NODEV | RDONLY, 0)
        );
        assert_eq!(options.others, ["size=64m"]);
        assert!(options.propagation[0].recursive);
        let options = read(&["ro", "rw", "relatime", "mode=755"]);
        assert_eq!((options.set, options.clear), (0, RDONLY | ATIME));
    }
}
