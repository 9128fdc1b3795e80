//! Mounts that are attached nowhere yet (fsopen(2), open_tree(2)): nothing shows or stays when a later step
//! fails. Also used by whoever builds a root around a view.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

/// A user namespace whose ids a mount shows; none for the ids as they are on the disk.
pub type Users<'a> = Option<BorrowedFd<'a>>;

/// A step of a mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed{hint}")]
pub struct Refused {
    /// Which system call or option.
    pub step: String,
    /// What the kernel logged, in brackets after a space; often empty.
    pub hint: String,
    /// Its answer.
    pub source: io::Error,
}

impl Refused {
    /// A step that failed without a word from the kernel.
    pub fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            step: step.into(),
            hint: String::new(),
            source: source.into(),
        }
    }
}

/// A file system that is being set up.
#[derive(Debug)]
pub struct Context {
    kind: String,
    fd: OwnedFd,
}

impl Context {
    /// Begins a file system of this kind.
    pub fn open(kind: &str) -> Result<Self, Refused> {
        let fd = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC);
        let fd = fd.map_err(|e| Refused::new(format!("fsopen {kind}"), e))?;
        Ok(Self {
            kind: kind.to_owned(),
            fd,
        })
    }

    fn check<T>(
        &self,
        done: Result<T, Errno>,
        step: impl FnOnce() -> String,
    ) -> Result<T, Refused> {
        done.map_err(|source| Refused {
            step: format!("{}: {}", self.kind, step()),
            hint: self.message(),
            source: source.into(),
        })
    }

    /// What the kernel wrote to the context about an error.
    fn message(&self) -> String {
        let mut buffer = [0; 512];
        match rustix::io::read(&self.fd, &mut buffer) {
            // A letter for the severity and a space come first.
            Ok(length) if length > 2 => {
                format!(" ({})", String::from_utf8_lossy(&buffer[2..length]).trim())
            }
            _ => String::new(),
        }
    }

    /// Sets `key=value`.
    pub fn set(&self, key: &str, value: &Path) -> Result<(), Refused> {
        let done = fsconfig_set_string(&self.fd, key, value);
        self.check(done, || format!("{key}={}", value.display()))
    }

    /// Sets a flag.
    pub fn flag(&self, name: &str) -> Result<(), Refused> {
        self.check(fsconfig_set_flag(&self.fd, name), || name.to_owned())
    }

    /// Sets `key` to an open directory or a detached mount.
    pub fn set_fd(&self, key: &str, value: BorrowedFd<'_>) -> Result<(), Refused> {
        // Descriptors are taken since Linux 6.13; before, by the name they have under /proc.
        if fsconfig_set_fd(&self.fd, key, value).is_ok() {
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", value.as_raw_fd());
        self.set(key, Path::new(&path))
    }

    /// Makes the mount.
    pub fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd, Refused> {
        let created = fsconfig_create(&self.fd);
        self.check(created, || "creating the file system".to_owned())?;
        let mount = fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        self.check(mount, || "fsmount".to_owned())
    }
}

/// Mounts an EROFS image read-only, over the files that it names as its devices, in its order.
pub(crate) fn mount_erofs(image: &Path, devices: &[File]) -> Result<OwnedFd, Refused> {
    let context = Context::open("erofs")?;
    context.flag("ro")?;
    context.set("source", image)?;
    for device in devices {
        // The very file that was looked at, whatever has its name by now.
        let path = format!("/proc/self/fd/{}", device.as_raw_fd());
        context.set("device", Path::new(&path))?;
    }
    context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Shows the ids of a detached mount as `users` maps them. What is on the disk keeps its ids.
pub fn map_ids(mount: &OwnedFd, users: Users<'_>, shown: &Path) -> Result<(), Refused> {
    let Some(users) = users else {
        return Ok(());
    };
    cairn_sys::mount_map_ids(mount, &users, true).map_err(|source| Refused {
        step: format!("mapping the ids of {}", shown.display()),
        hint: " (mapped ids need Linux 5.12 and a file system that supports them; use \"--userns host\")"
            .into(),
        source,
    })
}

/// A mount of what an open directory shows.
pub fn clone_open(directory: &OwnedFd) -> Result<OwnedFd, Refused> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(directory, "", flags).map_err(|e| Refused::new("open_tree", e))
}

/// A mount of what `path` shows; `recursive`, with all that is mounted below it.
pub fn clone(path: &Path, recursive: bool) -> Result<OwnedFd, Refused> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(rustix::fs::CWD, path, flags)
        .map_err(|e| Refused::new(format!("open_tree {}", path.display()), e))
}
