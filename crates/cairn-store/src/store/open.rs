//! How a store is made, and opened.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use cairn_model::{Class, Watch};

use super::reconcile::reconcile;
use super::{Inner, Store};
use crate::base;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::format::{FRAMES, Format};
use crate::index::{Index, List};
use crate::layout::{BEGINNINGS, DIRECTORIES, Layout, index_list};
use crate::meta::{Db, Notice};
use crate::pack::{OpenPacks, PackDirectory, PackSource};
use crate::place::{mend_modes, read_format};
use crate::reserve;
use crate::room::Room;

/// How a store is opened.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Where changes of files go.
    pub disk: Disk,
    /// Told when the repository lock is waited for.
    pub notice: Option<Notice>,
    /// Told of progress; what is done with the store ends when it is cancelled.
    pub watch: Watch,
    /// How long the repository lock is waited for; without it, as long as it takes.
    pub patience: Option<Duration>,
    /// Where published packs are read from, instead of the repository's directory.
    pub packs: Option<Arc<dyn PackSource>>,
    /// Where the base of a repository that has one is, instead of where it was last.
    pub base: Option<PathBuf>,
    /// Asked before content is written; by default the disk alone says when it is full.
    pub room: Option<Arc<dyn Room>>,
}

/// What a store is to be, where it is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewStore<'a> {
    /// The repository that it stands above.
    pub base: Option<&'a Path>,
    /// It has the feature `frames`: its blobs can be read by the kernel, and not by older versions.
    pub frames: bool,
}

/// Images hold other people's files, setuid programs and secrets among them: nobody else walks in.
fn make_private(path: &Path) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path, mode).at("change the mode of", path)
}

/// Makes a directory of a repository, for its owner alone whatever the mode of the one above it; one that
/// exists stays as it is.
pub fn private_directory(path: &Path, disk: &Disk) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    disk.mkdir(path)?;
    make_private(path)
}

/// Puts a repository that is there above `base`.
fn put_above(root: &Path, disk: &Disk, before: Format, base: &Path) -> Result<()> {
    let mut format = before.clone();
    Db::new(root, disk.clone(), None).locked(|| {
        base::adopt(root, disk, &mut format, base)?;
        if format == before {
            return Ok(());
        }
        disk.replace(&Layout::of(root).format(), format.text().as_bytes())
    })
}

/// True where an index does not open for a reason that making it anew takes away.
fn is_derivable(error: &Error) -> bool {
    matches!(error.class(), Class::Corrupt | Class::NotFound)
}

impl Store {
    /// Makes an empty store in `root`, which may exist but must be empty.
    pub fn create(root: &Path, disk: Disk) -> Result<()> {
        Self::create_as(root, disk, NewStore::default())
    }

    /// As [`Store::create`], with what `wanted` says. A store that is there is put above a base, too.
    ///
    /// # Errors
    /// Where frames are wanted and the store that is there has none.
    pub fn create_as(root: &Path, disk: Disk, wanted: NewStore<'_>) -> Result<()> {
        let NewStore { base, frames } = wanted;
        if !root.exists() {
            let missing = root.ancestors().take_while(|path| !path.exists()).count();
            disk.mkdir(root)?;
            // Each new name is in the directory above it.
            for above in root.ancestors().skip(1).take(missing) {
                let here = above.as_os_str().is_empty();
                disk.sync_dir(if here { Path::new(".") } else { above })?;
            }
            make_private(root)?;
        }
        match read_format(root) {
            Err(Error::NotARepository(_)) => {}
            done => {
                let before = done?;
                if frames && !before.requires.contains(FRAMES) {
                    let why = "only a new repository can have it; make another one and bring the images there";
                    return Err(Error::Io {
                        action: "give the feature frames to the repository in",
                        path: root.into(),
                        source: std::io::Error::other(why),
                    });
                }
                return base.map_or(Ok(()), |base| put_above(root, &disk, before, base));
            }
        }
        // What an earlier try left behind when it was cut off is ours; anything else is somebody's.
        let mut present = std::fs::read_dir(root).at("list", root)?.flatten();
        if !present.all(|entry| BEGINNINGS.iter().any(|name| entry.file_name() == *name))
            && !Layout::of(root).format().exists()
        {
            return Err(Error::Io {
                action: "make a repository in",
                path: root.into(),
                source: std::io::Error::other("the directory is not empty"),
            });
        }
        // One maker at a time; `format` comes last and says that all is there.
        let db = Db::new(root, disk.clone(), None);
        db.locked(|| {
            if Layout::of(root).format().exists() {
                return Ok(());
            }
            for name in DIRECTORIES {
                private_directory(&root.join(name), &disk)?;
            }
            if !index_list(&Layout::of(root).index()).exists() {
                List::default().put(&disk, &Layout::of(root).index(), &[])?;
            }
            db.create()?;
            let mut format = Format::default();
            if frames {
                format.requires.insert(FRAMES);
            }
            if let Some(base) = base {
                base::adopt(root, &disk, &mut format, base)?;
            }
            let text = format.text();
            disk.replace(&Layout::of(root).format(), text.as_bytes())?;
            reserve::fill(root);
            Ok(())
        })
    }

    /// Opens the store in `root`. `notice` is told when the repository lock is waited for.
    pub fn open(root: &Path, disk: Disk, notice: Option<Notice>) -> Result<Self> {
        let options = OpenOptions {
            disk,
            notice,
            ..OpenOptions::default()
        };
        Self::open_with(root, options)
    }

    /// Opens the store in `root`.
    pub fn open_with(root: &Path, options: OpenOptions) -> Result<Self> {
        let _span = tracing::debug_span!("open_store", root = %root.display()).entered();
        let OpenOptions {
            disk,
            notice,
            watch,
            patience,
            packs,
            base,
            room,
        } = options;
        let format = read_format(root)?;
        let base = base::open(root, &format, base.as_deref())?;
        mend_modes(root);
        let db = Db::new(root, disk.clone(), notice)
            .watched(watch.clone())
            .patient(patience);
        let packs =
            packs.unwrap_or_else(|| Arc::new(PackDirectory::new(&Layout::of(root).packs())));
        let index = match Index::open(&Layout::of(root).index(), None) {
            Ok(index) => index,
            // Short of descriptors or memory, refused: nothing that a new index would change.
            Err(e) if !is_derivable(&e) => return Err(e),
            Err(_) => {
                // The index is derived: make it anew from the packs' own directories.
                for name in DIRECTORIES {
                    private_directory(&root.join(name), &disk)?;
                }
                db.write(|txn| match Index::open(&Layout::of(root).index(), None) {
                    // Another process was first.
                    Ok(_) => Ok(()),
                    Err(e) if !is_derivable(&e) => Err(e),
                    Err(_) => reconcile(root, &disk, &*packs, txn, &Index::default()),
                })?;
                Index::open(&Layout::of(root).index(), None)?
            }
        };
        let inner = Inner {
            root: root.into(),
            disk,
            db,
            index: RwLock::new(Arc::new(index)),
            packs: OpenPacks::new(packs),
            base,
            room,
            framed: format.requires.contains(FRAMES),
        };
        Ok(Self(Arc::new(inner), watch))
    }
}
