//! That a view was looked at in this boot and found whole: `views/TREE.seen`, so that the next mount need not look
//! at each of its objects again.
//!
//! The file (see `checked.rs`) names the boot, the state of image and list, and the state of the object
//! directories that the view uses: an object that is removed, replaced or made anew changes the directory it is
//! in. So the cost of a mount does not grow with the number of files. What this cannot tell is a file that
//! was written to in place, by hand; the next boot does, and `--verify always`, and `check`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_model::{Content, ObjectId, TreeId};
use cairn_store::codec::{decode_bare, encode_bare};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use serde::{Deserialize, Serialize};

use crate::cache::Views;
use crate::checked::{read_checked, write_checked};
use crate::verified::boot_id;
use crate::verify::{Fingerprint, Verify};

/// Longest file, bytes.
const SEEN_BYTES_MAX: u64 = 1024;
/// Older kernels give two changes within this time one and the same time.
const TICK: Duration = Duration::from_millis(20);

/// The directories that objects of a view are in: a bit for each first byte of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Directories([u64; 4]);

impl Directories {
    fn of(objects: &[Content]) -> Self {
        let mut all = Self::default();
        for content in objects {
            let first = ObjectId::as_bytes(&content.object())[0];
            all.0[usize::from(first / 64)] |= 1 << (first % 64);
        }
        all
    }

    fn names(self) -> impl Iterator<Item = String> {
        let has = move |first: &u8| self.0[usize::from(first / 64)] >> (first % 64) & 1 == 1;
        (0..=u8::MAX)
            .filter(has)
            .map(|first| format!("{first:02x}"))
    }
}

/// What a view stands on, and how that was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    boot: String,
    directories: Directories,
    /// Hash over the states of all of them, of image and list.
    state: [u8; 32],
}

impl Views {
    fn seen_path(&self, id: &TreeId) -> PathBuf {
        self.image_path(id).with_extension("seen")
    }

    /// True where the view `id` was found whole in this boot, and nothing it stands on came, went or was replaced
    /// since.
    pub(crate) fn is_as_seen(&self, id: &TreeId) -> bool {
        if self.verify() == Verify::Always {
            return false;
        }
        let bytes = read_checked(&self.seen_path(id), SEEN_BYTES_MAX);
        let seen = bytes.and_then(|bytes| decode_bare::<Seen>(&mut &bytes[..]));
        seen.is_some_and(|seen| self.now(id, seen.directories).as_ref() == Some(&seen))
    }

    /// How the view `id`, which stands on `objects`, is now: to be taken before it is looked at.
    pub(crate) fn before_look(&self, id: &TreeId, objects: &[Content]) -> Option<Seen> {
        self.now(id, Directories::of(objects))
    }

    /// Writes down that the view was found whole, unless something happened meanwhile.
    pub(crate) fn remember_look(&self, id: &TreeId, before: &Seen) {
        if self.now(id, before.directories).as_ref() == Some(before) {
            // It is only remembered to save the next look.
            let _ = write_checked(&self.seen_path(id), &encode_bare(before));
        }
    }

    /// `None` where it cannot be told, or where something changed so recently that the next change might have
    /// the same time.
    fn now(&self, id: &TreeId, directories: Directories) -> Option<Seen> {
        let boot = boot_id()?;
        let mut stamps = Vec::new();
        let image = self.image_path(id);
        for path in [image.with_extension("list"), image] {
            let meta = path.symlink_metadata().ok().filter(|meta| meta.is_file())?;
            stamps.push(Fingerprint::from(&meta));
        }
        let objects = self.objects();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(CWD, objects.directory(), flags, Mode::empty());
        for name in directories.names() {
            let stat = statat(place.as_ref().ok()?, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            stamps.push(Fingerprint::from(&stat));
        }
        let settled = SystemTime::now().duration_since(UNIX_EPOCH).ok()? - TICK;
        let newest = stamps.iter().map(|stamp| stamp.ctime).max()?;
        if newest >= (settled.as_secs() as i64, settled.subsec_nanos()) {
            return None;
        }
        Some(Seen {
            boot,
            directories,
            state: *blake3::hash(&encode_bare(&stamps)).as_bytes(),
        })
    }
}
