//! `/dev` of a container: a small file system in memory with what every process may expect.

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_sys::IdMap;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mkdirat, mknodat, symlinkat,
};
use rustix::mount::MountAttrFlags;

use crate::detached::{QUIET, attach, clone, filesystem, open_exact};
use crate::error::{Error, Result, Step};
use crate::limits::{DeviceKind, DeviceNode};
use crate::spec::{LaunchSpec, Space};

/// Devices that every process may expect: name below `/dev`, major and minor number.
pub const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// The group of terminals.
const TERMINALS: u32 = 5;
/// Links that programs expect in `/dev`.
pub const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The mounts of a container's `/dev`.
pub struct Dev {
    directory: OwnedFd,
    pts: OwnedFd,
    /// Where devices may not be made the nodes are the host's, mounted on empty files.
    bound: bool,
}

impl Dev {
    /// Builds `/dev` on the open directory `target`.
    pub fn mount(target: &OwnedFd, spec: &LaunchSpec, privileged: bool) -> Result<Self> {
        let dev = filesystem(
            "tmpfs",
            "mode=755,size=64m",
            MountAttrFlags::MOUNT_ATTR_NOSUID,
        )?;
        fill(&dev, privileged, owner(spec, 0, 0))?;
        for node in &spec.nodes {
            add(&dev, node, owner(spec, node.uid, node.gid))?;
        }
        attach(&dev, target, "/dev")?;
        if !privileged {
            for (name, ..) in NODES {
                let node = clone(&Path::new("/dev").join(name), false)?;
                attach(&node, &exact(&dev, name)?, name)?;
            }
        }
        let group = match privileged || IdMap::of_this_process().has_gid(TERMINALS) {
            true => format!(",gid={}", owner(spec, 0, TERMINALS).1.as_raw()),
            false => String::new(),
        };
        let pts = filesystem(
            "devpts",
            &format!("newinstance,ptmxmode=0666,mode=0620{group}"),
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )?;
        give(&pts, spec)?;
        attach(&pts, &exact(&dev, "pts")?, "/dev/pts")?;
        let shared = super::shared_memory::mount(spec)?;
        attach(&shared, &exact(&dev, "shm")?, "/dev/shm")?;
        // Those of the IPC namespace. A kernel without message queues is no reason not to run.
        if let Ok(queues) = filesystem("mqueue", "", QUIET) {
            if spec.ipc == Space::Private {
                give(&queues, spec)?;
            }
            attach(&queues, &exact(&dev, "mqueue")?, "/dev/mqueue")?;
        }
        Ok(Self {
            directory: dev,
            pts,
            bound: !privileged,
        })
    }

    /// The container's own `/dev/null`, by O_PATH.
    pub fn null(&self) -> Result<OwnedFd> {
        if !self.bound {
            return exact(&self.directory, "null");
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, "null", flags, Mode::empty()).step("open /dev/null")
    }

    /// Both ends of a new terminal; the process's end is also `/dev/console`.
    pub fn terminal(&self) -> Result<(OwnedFd, OwnedFd)> {
        let (master, slave) = crate::monitor::terminal::open_pair(&self.pts)?;
        let name = rustix::termios::ttyname(&slave, Vec::new());
        let number = name.ok().and_then(|name| {
            let name = name.to_string_lossy().into_owned();
            name.rsplit('/').next().map(str::to_owned)
        });
        if let Some(number) = number
            && let Some(node) = open_exact(&self.pts, &number)?
        {
            let console = crate::detached::clone_fd(&node, false)?;
            attach(
                &console,
                &exact(&self.directory, "console")?,
                "/dev/console",
            )?;
        }
        Ok((master, slave))
    }
}

/// Who owns what a user and a group of the container should own, as the host numbers them; its root where it
/// does not have them.
fn owner(spec: &LaunchSpec, uid: u32, gid: u32) -> (Uid, Gid) {
    let (uid, gid) = match &spec.ids {
        None => (uid, gid),
        Some(range) => range.owner(uid, gid).unwrap_or((range.uid, range.gid)),
    };
    (Uid::from_raw(uid), Gid::from_raw(gid))
}

/// Gives the root of a file system to root of the container: some begin as the host's.
fn give(mount: &OwnedFd, spec: &LaunchSpec) -> Result<()> {
    let (uid, gid) = owner(spec, 0, 0);
    match spec.ids {
        Some(_) => chownat(mount, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .step("give /dev to the container"),
        None => Ok(()),
    }
}

fn exact(directory: &OwnedFd, name: &str) -> Result<OwnedFd> {
    open_exact(directory, name)?
        .ok_or_else(|| Error::Invalid(format!("/dev/{name} of the container is missing")))
}

/// Makes a node that the user named, and the directories above it. Names of the usual ones are theirs.
fn add(dev: &OwnedFd, node: &DeviceNode, (uid, gid): (Uid, Gid)) -> Result<()> {
    let made = || format!("make /dev/{}", node.path);
    let mut above = dev.try_clone().step(made())?;
    let mut names: Vec<&str> = node.path.split('/').collect();
    let Some(name) = names.pop() else {
        return Ok(());
    };
    for directory in names {
        match mkdirat(&above, directory, Mode::from_raw_mode(0o755)) {
            Err(rustix::io::Errno::EXIST) => {}
            done => done.step(made())?,
        }
        above = exact(&above, directory)?;
    }
    let kind = match node.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Character => FileType::CharacterDevice,
    };
    let mode = Mode::from_raw_mode(node.mode);
    match mknodat(&above, name, kind, mode, makedev(node.major, node.minor)) {
        Err(rustix::io::Errno::EXIST) if is_device(&above, name, node) => return Ok(()),
        done => done.step(made())?,
    }
    rustix::fs::chmodat(&above, name, mode, AtFlags::empty()).step(made())?;
    chownat(
        &above,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .step(made())
}

/// True where the name is that device already.
fn is_device(directory: &OwnedFd, name: &str, node: &DeviceNode) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_rdev == makedev(node.major, node.minor))
}

fn fill(dev: &OwnedFd, privileged: bool, (uid, gid): (Uid, Gid)) -> Result<()> {
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        let (kind, device) = if privileged {
            (FileType::CharacterDevice, makedev(major, minor))
        } else {
            (FileType::RegularFile, 0)
        };
        mknodat(dev, name, kind, mode, device).step(format!("make /dev/{name}"))?;
        if privileged {
            rustix::fs::chmodat(dev, name, mode, AtFlags::empty())
                .step(format!("make /dev/{name}"))?;
        }
    }
    for (name, link) in LINKS {
        symlinkat(link, dev, name).step(format!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(dev, name, Mode::from_raw_mode(0o755)).step(format!("make /dev/{name}"))?;
        chownat(dev, name, Some(uid), Some(gid), AtFlags::empty())
            .step(format!("make /dev/{name}"))?;
    }
    mknodat(
        dev,
        "console",
        FileType::RegularFile,
        Mode::from_raw_mode(0o600),
        0,
    )
    .step("create /dev/console")
}
