//! The directory of a head that overlayfs writes to: `upper`, `work`, and how overlayfs writes there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use cairn_layer::{OverlayAttributes, Owners};
use cairn_model::{Head, MappedIds, Meta};
use cairn_sys::IdMap;

use crate::error::{At, Error, Result};

/// Beside an upper that is mounted with `userxattr`: the ids there were in the user namespace.
const USER: &str = "user-attributes";
/// Beside an upper that a container with a user namespace writes to: which ids of the host are which of its own.
const MAPPED: &str = "mapped-ids";
/// Longest text of these files, bytes.
const IDS_BYTES_MAX: u64 = 16 << 10;

/// Where a head's changes are, or all of it.
pub fn upper(head: &Path) -> PathBuf {
    head.join("upper")
}

/// The text of a file beside an upper; what cannot be read is no map of ids.
fn text(head: &Path, name: &str) -> Option<String> {
    let file = File::open(head.join(name)).ok()?;
    let mut text = String::new();
    let _ = file.take(IDS_BYTES_MAX).read_to_string(&mut text);
    Some(text)
}

/// How a head is written that was not told of otherwise.
pub(super) fn attributes_of(head: &Path) -> (OverlayAttributes, Owners) {
    let user = text(head, USER).map(|ids| ids.parse().unwrap_or_else(|()| IdMap::full()));
    if let Some(ids) = user {
        return (OverlayAttributes::User, Owners::of_ids(ids));
    }
    let mapped = text(head, MAPPED).and_then(|ids| ids.parse().ok());
    let all = || Owners::of_ids(IdMap::full());
    (
        OverlayAttributes::Trusted,
        mapped.map_or_else(all, Owners::of_host),
    )
}

/// Makes a new head one that a container with these ids writes to by an overlay over a view that shows them: its root
/// directory, which is `root` to the container, belongs to it, and a commit has the container's ids. Done again, it
/// changes nothing.
pub fn map_head(head: &Path, ids: &MappedIds, root: &Meta) -> Result<()> {
    if text(head, MAPPED).is_some() {
        return Ok(());
    }
    let upper = upper(head);
    let owner = ids.to_host(root.uid, root.gid);
    if let Some((uid, gid)) = owner.or_else(|| ids.to_host(0, 0)) {
        lchown(&upper, Some(uid), Some(gid)).at("change the owner of", &upper)?;
    }
    // Last: where it is missing the rest is done again.
    write(&head.join(MAPPED), &ids.to_string())
}

/// Writes a small file durably.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = File::create(path).at("create", path)?;
    let written = file.write_all(text.as_bytes());
    written.and_then(|()| file.sync_all()).at("write", path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let opened = File::open(directory).at("open", directory)?;
    opened.sync_all().at("sync", directory)
}

/// Writes down, durably, how a new head is going to be written.
pub(super) fn begin(head: &Path, attributes: OverlayAttributes) -> Result<()> {
    if attributes == OverlayAttributes::User {
        write(&head.join(USER), &IdMap::of_this_process().to_string())?;
    }
    Ok(())
}

/// The two directories that overlayfs writes to, with attributes of this kind. Changes that were written with
/// others are not understood there.
pub(super) fn overlay_head(head: &Path, attributes: OverlayAttributes) -> Result<Head> {
    let found = Head {
        upper: upper(head),
        work: head.join("work"),
    };
    if attributes_of(head).0 != attributes && !super::copy::is_copy(head) {
        let mut entries = std::fs::read_dir(&found.upper).at("list", &found.upper)?;
        if entries.next().is_some() {
            let why = match attributes {
                OverlayAttributes::User => "another driver than overlay-user wrote to it",
                OverlayAttributes::Trusted => {
                    "the driver overlay-user wrote to it; name that with --driver"
                }
            };
            return Err(Error::Io {
                action: "mount over",
                path: found.upper,
                source: std::io::Error::other(why),
            });
        }
        match attributes {
            OverlayAttributes::User => begin(head, attributes)?,
            OverlayAttributes::Trusted => {
                let path = head.join(USER);
                std::fs::remove_file(&path).at("remove", &path)?;
            }
        }
    }
    Ok(found)
}
