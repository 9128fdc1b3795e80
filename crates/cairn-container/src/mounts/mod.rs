//! What is mounted in a container beside its root: `-v`, `--mount`, `--tmpfs`, `--volumes-from`, and the
//! volumes an image declares.
//!
//! Each option is read into what it [wants](Wanted), which touches nothing; [`settle`](settle::settle) then makes
//! volumes and views.

mod long;
mod settle;
mod short;
mod tmpfs;

use std::collections::BTreeMap;

use cairn_runtime::{Mount, MountKind, Text};

use crate::error::{Error, Result};

pub(crate) use long::{csv, mode};
pub(crate) use settle::{Settled, settle};

const PROPAGATION: &str =
    "mounts of the host and of the container do not reach each other; only private is supported";

/// A mount as an option asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All about it is known.
    Mount(Mount),
    /// A volume, by its name or a new one without.
    Volume(WantedVolume),
    /// What an image shows, read-only.
    Image {
        /// As the user names it.
        image: String,
        /// In the container.
        target: Text,
    },
}

/// A volume as an option asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedVolume {
    /// Its name; none for one of the container's own.
    pub name: Option<String>,
    /// In the container.
    pub target: Text,
    /// Without write access.
    pub read_only: bool,
    /// An empty one gets what the image has there.
    pub copy: bool,
    /// Labels of a new one.
    pub labels: BTreeMap<String, String>,
}

impl Wanted {
    fn target(&self) -> &Text {
        match self {
            Self::Mount(mount) => &mount.target,
            Self::Volume(volume) => &volume.target,
            Self::Image { target, .. } => target,
        }
    }
}

/// A place in the container as the user writes it: absolute, and not the root itself.
pub(crate) fn absolute(target: &[u8]) -> Result<Text> {
    let names = normal(target);
    if target.first() == Some(&b'/') && !names.is_empty() {
        return Ok(Text::from(target.to_vec()));
    }
    let target = String::from_utf8_lossy(target);
    let rule = "it must start with / and must not be / itself";
    Err(Error::Usage(format!(
        "{target:?} is not a valid mount point: {rule}"
    )))
}

/// The names of a path, without empty ones and `.`; `..` goes back.
pub fn normal(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// What of the mounts the root file system has to have a mount point for: directories and files. What lies
/// below another mount is made there when its turn comes.
pub fn mount_points(mounts: &[Mount], cwd: &Text) -> (Vec<Text>, Vec<Text>) {
    let below_another = |mount: &Mount| {
        let names = normal(mount.target.as_bytes());
        mounts.iter().any(|other| {
            let above = normal(other.target.as_bytes());
            above.len() < names.len() && names.starts_with(&above)
        })
    };
    let mut directories: Vec<Text> = ["/proc", "/sys", "/dev"].map(Text::from).into();
    directories.push(cwd.clone());
    let mut files = Vec::new();
    for mount in mounts {
        let names = normal(mount.target.as_bytes());
        if names.first() == Some(&&b"dev"[..]) && names.len() > 1 || below_another(mount) {
            continue;
        }
        let is_directory = match &mount.what {
            MountKind::Bind { source } | MountKind::FlatBind { source } => source.is_dir(),
            MountKind::Tmpfs { .. } | MountKind::Image { .. } => true,
            MountKind::Secret(_) => false,
        };
        if is_directory {
            directories.push(mount.target.clone());
        } else {
            files.push(mount.target.clone());
        }
    }
    (directories, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str) -> Mount {
        tmpfs::tmpfs(target).unwrap()
    }

    #[test]
    fn only_what_no_other_mount_covers_needs_a_mount_point() {
        let mounts = [
            mount("/data"),
            mount("/data/sub/x"),
            mount("/dev/foo"),
            mount("/data2/"),
        ];
        let (directories, files) = mount_points(&mounts, &Text::from("/work"));
        let shown: Vec<String> = directories.iter().map(Text::lossy).collect();
        assert_eq!(
            shown,
            ["/proc", "/sys", "/dev", "/work", "/data", "/data2/"]
        );
        assert!(files.is_empty());
        assert_eq!(normal(b"//a/./b/../c/"), [b"a", b"c"]);
    }
}
