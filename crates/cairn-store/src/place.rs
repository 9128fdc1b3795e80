//! The directory of a repository: whether there is one, and who may look into it.
//!
//! Modes are set without [`crate::Disk`]: they are set again with the next opening.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::format::{BASE, DELTAS, FORMAT, FRAMES, Fault, Format, OWN_NAMES};
use crate::layout::{Layout, PRIVATE};
use crate::meta::{is_journal, is_worth_keeping};
use crate::pack::{Codec, PackDirectory, PackSource};

/// Takes from others what an earlier version, or a hand, gave them: images hold other people's files,
/// setuid programs and secrets among them. For the owner; whoever only reads changes nothing.
pub fn mend_modes(root: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for path in PRIVATE.map(|name| root.join(name)) {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if meta.is_symlink() || meta.mode() & 0o077 == 0 || meta.uid() != me {
            continue;
        }
        // A file system that cannot be written is somebody else's to protect.
        let _ = std::fs::set_permissions(&path, Permissions::from_mode(meta.mode() & 0o7700));
    }
}

/// True where names can be made in a directory.
pub fn can_write(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Fails where `root` holds no repository that this program knows the format of.
pub fn require(root: &Path) -> Result<()> {
    read_format(root).map(drop)
}

/// What the file `format` says.
pub fn read_format(root: &Path) -> Result<Format> {
    let path = Layout::of(root).format();
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(if is_used(root) {
                Error::FormatLost(root.into())
            } else {
                Error::NotARepository(root.into())
            });
        }
        Err(e) => return Err(e).at("read", &path),
    };
    match Format::parse(&text) {
        Ok(format) => Ok(format),
        Err(Fault::Unknown(names)) => Err(Error::UnknownFeature {
            root: root.into(),
            names: names.join(", "),
        }),
        Err(Fault::Damaged) if is_used(root) => Err(Error::FormatLost(root.into())),
        Err(_) => Err(Error::Format {
            path,
            found: text.chars().take(100).collect(),
            known: FORMAT,
        }),
    }
}

/// True where a repository was made to its end and has something in it: a maker that was cut off leaves
/// an empty journal at most.
fn is_used(root: &Path) -> bool {
    let packs = std::fs::read_dir(Layout::of(root).packs());
    let any = packs.is_ok_and(|mut packs| packs.next().is_some());
    any || is_worth_keeping(&Layout::of(root).journal())
        || is_worth_keeping(&Layout::of(root).journal_copy())
}

/// Writes `format` again where the rest proves what it said; false where nothing was wrong with it.
///
/// # Errors
/// [`Error::NotARepository`] where nothing proves that this is one.
pub fn restore_format(root: &Path, disk: &Disk) -> Result<bool> {
    match read_format(root) {
        Err(Error::FormatLost(_)) => {}
        done => return done.map(|_| false),
    }
    let packs = PackDirectory::new(&Layout::of(root).packs());
    let mut found = false;
    let mut format = Format::default();
    for id in packs.list()? {
        let Ok(directory) = packs.open(&id).and_then(|pack| pack.directory()) else {
            continue;
        };
        found = true;
        // Without the feature an older program would take these blobs for damage.
        for slot in &directory.slots {
            match slot.codec {
                Codec::Frame => drop(format.requires.insert(FRAMES)),
                Codec::Delta(_) => drop(format.requires.insert(DELTAS)),
                Codec::Plain | Codec::Zstd => {}
            }
        }
    }
    if !found
        && !is_journal(&Layout::of(root).journal())
        && !is_journal(&Layout::of(root).journal_copy())
    {
        return Err(Error::NotARepository(root.into()));
    }
    // Nothing else makes this file, and without the feature blobs of the base would count as lost.
    if Layout::of(root).base().exists() {
        format.requires.insert(BASE);
    }
    // Only documents could tell, and no program that knows the feature minds it.
    format.requires.insert(OWN_NAMES);
    let text = format.text();
    disk.replace(&Layout::of(root).format(), text.as_bytes())?;
    Ok(true)
}
