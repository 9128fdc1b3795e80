//! Names and places of the files in a tar, found without reading their content, by the reader of layers and
//! within its limits.

use std::fs::File;
use std::ops::ControlFlow;

use cairn_layer::{Indexed, IndexedKind, Limits};

/// A file in a tar.
#[derive(Debug, Clone)]
pub enum Member {
    /// Its bytes are here.
    Data { offset: u64, size: u64 },
    /// It is another name of this one.
    Link(String),
}

/// How a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// At the end of the archive, or where the caller had seen enough.
    Reached,
    /// In the middle of it, for this reason.
    Broken(String),
}

/// A name without `./` and doubled slashes; `None` where it would leave the archive.
pub fn tidy(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Tells `each` the files and links of a tar, in their order. Names and links that lead out of it are no
/// files of an archive; as those of a root file system they are judged elsewhere.
pub fn walk(file: &File, each: &mut dyn FnMut(String, Member) -> ControlFlow<()>) -> End {
    let limits = Limits {
        entries_max: u64::MAX,
        ..Limits::default()
    };
    let done = cairn_layer::index_tar(file, limits, &mut |indexed| match member(indexed) {
        Some((name, member)) => each(name, member).is_continue(),
        None => true,
    });
    match done {
        Ok(()) => End::Reached,
        Err(e) => End::Broken(cairn_model::one_line(&e)),
    }
}

/// A file or link under its tidy name; `None` for anything else.
fn member(indexed: Indexed) -> Option<(String, Member)> {
    let path = tidy(&String::from_utf8_lossy(&indexed.path))?;
    let member = match indexed.kind {
        IndexedKind::Data { offset, size } => Member::Data { offset, size },
        IndexedKind::Hardlink(target) => Member::Link(tidy(&String::from_utf8_lossy(&target))?),
        IndexedKind::Symlink(target) => {
            let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = String::from_utf8_lossy(&target);
            Member::Link(tidy(&format!("{beside}/{target}"))?)
        }
        IndexedKind::Other => return None,
    };
    Some((path, member))
}
