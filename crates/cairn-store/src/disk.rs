//! The narrow interface through which the store changes files.
//!
//! Every change of a file or directory that durability depends on is one of the operations here, so
//! that a [`Probe`] can watch, record or fail each of them; with none, they are plain system calls.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoContext, Result};
use crate::reserve::Reserve;

/// One change that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A new file appears, empty.
    Create(PathBuf),
    /// Bytes are appended to a file.
    Append(PathBuf, Vec<u8>),
    /// A file is cut to this length.
    Truncate(PathBuf, u64),
    /// What was appended to the file becomes durable.
    Sync(PathBuf),
    /// A file takes another name, replacing what had it.
    Rename(PathBuf, PathBuf),
    /// A file loses its name.
    Unlink(PathBuf),
    /// A new directory.
    Mkdir(PathBuf),
    /// Names made, changed and removed in a directory become durable.
    SyncDir(PathBuf),
}

/// Watches operations before they happen; an error takes the place of the operation. For an append it
/// may ask for a short write first.
pub trait Probe: Send + Sync {
    /// Called before each operation.
    fn before(&self, op: &Op) -> io::Result<()>;

    /// How many bytes of an append that fails still reach the file.
    fn short_write(&self, _len: usize) -> usize {
        0
    }
}

/// Handle to the disk: the real one, with or without a probe.
#[derive(Clone, Default)]
pub struct Disk {
    probe: Option<Arc<dyn Probe>>,
    reserve: Arc<Reserve>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk(probe: {})", self.probe.is_some())
    }
}

impl Disk {
    /// The real disk under a probe.
    pub fn probed(probe: Arc<dyn Probe>) -> Self {
        Self {
            probe: Some(probe),
            ..Self::default()
        }
    }

    /// From now on a full disk makes this one spend the reserve of the repository in `root`.
    pub(crate) fn may_spend_reserve(&self, root: &Path) {
        self.reserve.arm(root);
    }

    /// Does it again with the reserve's room where there is none.
    pub fn with_room<T>(&self, mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match f() {
            Err(e) if cairn_model::is_full(&e) && self.reserve.spend() => f(),
            done => done,
        }
    }

    fn before(&self, op: impl FnOnce() -> Op) -> io::Result<()> {
        self.probe
            .as_ref()
            .map_or(Ok(()), |probe| probe.before(&op()))
    }

    /// Creates a file that must not exist yet.
    pub fn create(&self, path: &Path) -> Result<DiskFile> {
        self.before(|| Op::Create(path.into())).at("create", path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = self.with_room(|| options.open(path)).at("create", path)?;
        Ok(DiskFile {
            disk: self.clone(),
            path: path.into(),
            file,
            len: 0,
        })
    }

    /// Opens an existing file to append to it.
    pub fn append(&self, path: &Path) -> Result<DiskFile> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .at("open", path)?;
        let len = file.metadata().at("stat", path)?.len();
        Ok(DiskFile {
            disk: self.clone(),
            path: path.into(),
            file,
            len,
        })
    }

    /// Makes a directory with its parents; one that exists is fine.
    pub fn mkdir(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.before(|| Op::Mkdir(path.into()))
            .at("create directory", path)?;
        self.with_room(|| std::fs::create_dir_all(path))
            .at("create directory", path)
    }

    /// Renames within one file system, replacing the target.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.before(|| Op::Rename(from.into(), to.into()))
            .at("rename", from)?;
        self.with_room(|| std::fs::rename(from, to))
            .at("rename", from)
    }

    /// Unlinks a file; one that is gone already is fine.
    pub fn unlink(&self, path: &Path) -> Result<()> {
        self.before(|| Op::Unlink(path.into())).at("remove", path)?;
        match std::fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", path),
        }
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: &Path) -> Result<()> {
        self.before(|| Op::SyncDir(path.into())).at("sync", path)?;
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .at("sync", path)
    }

    /// Puts a whole file in place at once: temporary file beside it, sync, rename, sync of the directory.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = path.with_extension("new");
        self.unlink(&temporary)?;
        let mut file = self.create(&temporary)?;
        file.write_all(bytes)?;
        file.sync()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// A file being written at its end.
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    path: PathBuf,
    file: File,
    len: u64,
}

impl DiskFile {
    /// Appends all of `bytes`.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(probe) = &self.disk.probe
            && let Err(e) = probe.before(&Op::Append(self.path.clone(), bytes.to_vec()))
        {
            let short = probe.short_write(bytes.len()).min(bytes.len());
            self.file
                .write_all(&bytes[..short])
                .at("write", &self.path)?;
            return Err(e).at("write", &self.path);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.disk.with_room(|| (&self.file).write(rest));
            match written {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => rest = &rest[done.at("write", &self.path)?..],
            }
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes the content durable (fdatasync: the length is part of it).
    pub fn sync(&mut self) -> Result<()> {
        self.disk
            .before(|| Op::Sync(self.path.clone()))
            .at("sync", &self.path)?;
        // A file system that allocates late says only now that it is full.
        self.disk
            .with_room(|| self.file.sync_data())
            .at("sync", &self.path)
    }

    /// Cuts the file.
    pub fn truncate(&mut self, len: u64) -> Result<()> {
        self.disk
            .before(|| Op::Truncate(self.path.clone(), len))
            .at("truncate", &self.path)?;
        self.file.set_len(len).at("truncate", &self.path)?;
        self.len = len;
        Ok(())
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True where nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, to read from.
    pub fn file(&self) -> &File {
        &self.file
    }
}
