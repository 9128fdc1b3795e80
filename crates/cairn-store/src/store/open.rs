//! How a store is made, and opened.

use std::path::Path;
use std::sync::{Arc, RwLock};

use cairn_model::Class;

use super::reconcile::reconcile;
use super::{Inner, Store};
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::format::Format;
use crate::index::{Index, List};
use crate::layout::{BEGINNINGS, DIRECTORIES, Layout, index_list};
use crate::meta::{Db, Notice};
use crate::pack::{OpenPacks, PackDirectory, PackSource};
use crate::place::{mend_modes, read_format};
use crate::reserve;

/// How a store is opened.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Where changes of files go.
    pub disk: Disk,
    /// Told when the repository lock is waited for.
    pub notice: Option<Notice>,
    /// Where published packs are read from, instead of the repository's directory.
    pub packs: Option<Arc<dyn PackSource>>,
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

/// True where an index does not open for a reason that making it anew takes away.
fn is_derivable(error: &Error) -> bool {
    matches!(error.class(), Class::Corrupt | Class::NotFound)
}

impl Store {
    /// Makes an empty store in `root`, which may exist but must be empty.
    pub fn create(root: &Path, disk: Disk) -> Result<()> {
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
            done => return done.map(drop),
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
            let text = Format::default().text();
            disk.replace(&Layout::of(root).format(), text.as_bytes())?;
            reserve::fill(root);
            Ok(())
        })
    }

    /// Opens the store in `root`. `notice` is told when the repository lock is waited for.
    pub fn open(root: &Path, disk: Disk, notice: Option<Notice>) -> Result<Self> {
        Self::open_with(
            root,
            OpenOptions {
                disk,
                notice,
                ..OpenOptions::default()
            },
        )
    }

    /// Opens the store in `root`.
    pub fn open_with(root: &Path, options: OpenOptions) -> Result<Self> {
        let OpenOptions {
            disk,
            notice,
            packs,
        } = options;
        read_format(root)?;
        mend_modes(root);
        let db = Db::new(root, disk.clone(), notice);
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
        };
        Ok(Self(Arc::new(inner)))
    }
}
