//! The directory of a head that overlayfs writes to: `upper`, `work`, and how overlayfs writes there.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cairn_layer::{OverlayAttributes, Owners};
use cairn_model::Head;
use cairn_sys::IdMap;

use crate::error::{At, Error, Result};

/// Beside an upper that is mounted with `userxattr`: the ids there were in the user namespace.
const USER: &str = "user-attributes";
/// Longest text of that file, bytes.
const IDS_BYTES_MAX: u64 = 16 << 10;

/// Where a head's changes are, or all of it.
pub fn upper(head: &Path) -> PathBuf {
    head.join("upper")
}

/// How a head is written that was not told of otherwise.
pub(super) fn attributes_of(head: &Path) -> (OverlayAttributes, Owners) {
    let Ok(file) = File::open(head.join(USER)) else {
        return (OverlayAttributes::Trusted, Owners::of_ids(IdMap::full()));
    };
    let mut text = String::new();
    // What cannot be read is no map of ids.
    let _ = file.take(IDS_BYTES_MAX).read_to_string(&mut text);
    let ids = text.parse();
    (
        OverlayAttributes::User,
        Owners::of_ids(ids.unwrap_or_else(|()| IdMap::full())),
    )
}

/// Writes down, durably, how a new head is going to be written.
pub(super) fn begin(head: &Path, attributes: OverlayAttributes) -> Result<()> {
    if attributes == OverlayAttributes::User {
        let path = head.join(USER);
        let mut file = File::create(&path).at("create", &path)?;
        let ids = IdMap::of_this_process().to_string();
        let written = file.write_all(ids.as_bytes());
        written.and_then(|()| file.sync_all()).at("write", &path)?;
        let directory = File::open(head).at("open", head)?;
        directory.sync_all().at("sync", head)?;
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
