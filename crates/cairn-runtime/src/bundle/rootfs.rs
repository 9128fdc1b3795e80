//! The root of a container of a bundle: its directory, and all that its document mounts there, in order.
//!
//! As for images, a target is looked up below the root's descriptor at the moment its turn comes, and used by
//! descriptor only; links in the root stay inside, and none of procfs is followed. Unlike there, what is missing
//! is made in the root itself, which belongs to the container.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::mount::MountAttrFlags;

use super::ids::Users;
use super::mount;
use super::nodes::Nodes;
use super::spec::{BundleMount, BundleMountKind, BundleSpec, Propagation, PropagationWay};
use crate::cgroup::GroupPlace;
use crate::detached::{attach, clone, clone_fd};
use crate::error::{Error, Result, Step};
use crate::rootfs::place::{self, Placed};
use crate::rootfs::protect::mask_with;

/// Parts of `/proc` that may be mounted over (lxcfs does): each shows figures, none steers or tells more.
const IN_PROC: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// `SYSFS_MAGIC` of linux/magic.h.
const SYSFS: u64 = 0x6265_6572;

/// Gives a mount its propagation.
pub fn propagate(mount: &OwnedFd, propagation: Propagation) -> Result<()> {
    use rustix::mount::MountPropagationFlags as Flags;
    let way = match propagation.way {
        PropagationWay::Shared => Flags::SHARED,
        PropagationWay::Slave => Flags::DOWNSTREAM,
        PropagationWay::Private => Flags::PRIVATE,
        PropagationWay::Unbindable => Flags::UNBINDABLE,
    };
    cairn_sys::mount_change(mount, 0, 0, u64::from(way.bits()), propagation.recursive)
        .step("set the propagation of a mount")
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty()).step(format!("open {}", path.display()))
}

/// A root file system, attached at its own directory in this process's own mount namespace.
pub struct BundleRoot {
    /// Its root directory.
    pub root: OwnedFd,
    nodes: Nodes,
}

/// Mounts everything; `places` are the container's groups, which its namespace does not name any more.
pub fn build(
    spec: &BundleSpec,
    places: &[GroupPlace],
    users: Option<&Users>,
) -> Result<BundleRoot> {
    let host = open(Path::new("/"))?;
    propagate(&host, spec.propagation)?;
    drop(host);
    private_parent(&spec.root)?;
    let root = clone(&spec.root, true)?;
    attach(&root, &open(&spec.root)?, &spec.root.display().to_string())?;
    for mount in &spec.mounts {
        add(&root, mount, spec, places, users)
            .map_err(|e| Error::Invalid(format!("mount {}: {}", mount.target, one_line(&e))))?;
    }
    let nodes = Nodes::make(&root, spec, users)?;
    Ok(BundleRoot { root, nodes })
}

fn one_line(e: &Error) -> String {
    cairn_model::one_line(e)
}

/// What is mounted below a shared mount shows in all its peers, and no root can be put there (pivot_root(2)).
/// The mount that has the root's directory is made private, in this namespace alone.
fn private_parent(root: &Path) -> Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    for place in root.ancestors() {
        match mount_change(place, MountPropagationFlags::PRIVATE) {
            // It is no mount's root.
            Err(rustix::io::Errno::INVAL) => {}
            done => return done.step(format!("make the mount of {} private", root.display())),
        }
    }
    Ok(())
}

/// Refuses places that would hide what protects a container, or the root itself. What the kernel shows of itself
/// is mounted on directories, never through links.
fn check(mount: &BundleMount, placed: &Placed, shown: &OwnedFd) -> Result<()> {
    let kind = rustix::fs::fstatfs(shown).step("look at what is mounted")?;
    let is_procfs = kind.f_type == rustix::fs::PROC_SUPER_MAGIC;
    let names: Vec<String> = placed
        .components()
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let asked: Vec<&str> = mount.target.split('/').filter(|n| !n.is_empty()).collect();
    let refused = |why: &str| Err(Error::Invalid(why.to_owned()));
    if (is_procfs || kind.f_type as u64 == SYSFS) && names != asked {
        return refused("it can be mounted on a directory only, not through a link");
    }
    match names.first().map(String::as_str) {
        None => refused("the root itself cannot be mounted over"),
        Some("proc") if names.len() == 1 && is_procfs => Ok(()),
        Some("proc") if names.len() == 1 => refused("only proc can be mounted on /proc"),
        Some("proc") if IN_PROC.contains(&names[1..].join("/").as_str()) => Ok(()),
        Some("proc") => refused("mounting in /proc is not allowed"),
        _ => Ok(()),
    }
}

fn add(
    root: &OwnedFd,
    mount: &BundleMount,
    spec: &BundleSpec,
    places: &[GroupPlace],
    users: Option<&Users>,
) -> Result<()> {
    let placed = place::resolve(root, mount.target.as_bytes())?;
    let made = mount::make(mount, spec, places, users)?;
    check(mount, &placed, &made.mount)?;
    let target = place::make_anywhere(root, &placed, made.is_directory)?;
    if mount.copy_up {
        super::copy_up::copy(&target, &made.mount)?;
    }
    mount::finish(mount, &made.mount)?;
    attach(&made.mount, &target, &mount.target)?;
    for propagation in &mount.propagation {
        propagate(&made.mount, *propagation)?;
    }
    if matches!(mount.what, BundleMountKind::Groups { .. }) && !made.whole {
        super::groups::mount_each(&made.mount, places, mount)?;
    }
    Ok(())
}

impl BundleRoot {
    /// Both ends of a new terminal; the process's end is also `/dev/console`.
    pub fn terminal(&self) -> Result<(OwnedFd, OwnedFd)> {
        let placed = place::resolve(&self.root, b"/dev/pts")?;
        let pts = place::open(&self.root, &placed)?;
        let pts = pts.filter(super::process::is_terminals).ok_or_else(|| {
            Error::Invalid("a terminal was asked for, but no devpts is mounted at /dev/pts".into())
        })?;
        let (master, slave) = crate::monitor::terminal::open_pair(&pts)?;
        let name = rustix::termios::ttyname(&slave, Vec::new()).step("name the terminal")?;
        let name = name.to_string_lossy().into_owned();
        let number = name.rsplit('/').next().unwrap_or_default();
        if let Some(node) = crate::detached::open_exact(&pts, number)? {
            let console = place::resolve(&self.root, b"/dev/console")?;
            let target = place::make_anywhere(&self.root, &console, false)?;
            attach(&clone_fd(&node, false)?, &target, "/dev/console")?;
        }
        Ok((master, slave))
    }

    /// Covers what is not to be seen or written, and closes the root.
    pub fn protect(&self, spec: &BundleSpec) -> Result<()> {
        for path in &spec.read_only_paths {
            if let Some(target) = self.there(path)? {
                let same = clone_fd(&target, true)?;
                cairn_sys::mount_read_only(&same, true).step(format!("make {path} read-only"))?;
                attach(&same, &target, path)?;
            }
        }
        for path in &spec.masked {
            if let Some(target) = self.there(path)? {
                mask_with(&target, path, self.nodes.null())?;
            }
        }
        if spec.read_only {
            cairn_sys::mount_read_only(&self.root, false).step("make the root read-only")?;
        }
        Ok(())
    }

    /// A place of the root; one that is not there, or cannot be, needs no cover.
    fn there(&self, path: &str) -> Result<Option<OwnedFd>> {
        let placed = place::resolve(&self.root, path.as_bytes())?;
        if placed.components().is_empty() {
            return Err(Error::Invalid(format!(
                "{path}: the root cannot be covered"
            )));
        }
        place::open(&self.root, &placed)
    }

    /// Makes the working directory where it is missing.
    pub fn make_directory(&self, path: &str) -> Result<()> {
        let placed = place::resolve(&self.root, path.as_bytes())?;
        if place::open(&self.root, &placed)?.is_none() {
            place::make_anywhere(&self.root, &placed, true)?;
        }
        Ok(())
    }

    /// Makes it the root of this process. How its mounts go on from here is said last: none of those that built
    /// it was to reach the host.
    pub fn enter(self, spec: &BundleSpec) -> Result<()> {
        match spec.no_pivot {
            false => crate::init::pivot(&self.root)?,
            true => self.cover()?,
        }
        match spec.propagation.way {
            // What is there already.
            PropagationWay::Slave => Ok(()),
            _ => propagate(&self.root, spec.propagation),
        }
    }

    fn cover(&self) -> Result<()> {
        rustix::process::fchdir(&self.root).step("enter the root")?;
        let host = open(Path::new("/"))?;
        // It leaves its own place and covers the host's root.
        rustix::mount::move_mount(
            &self.root,
            "",
            &host,
            "",
            rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
                | rustix::mount::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .step("move the root over the host's")?;
        rustix::process::chroot(".").step("change the root")?;
        rustix::process::chdir("/").step("enter the root")
    }
}

/// True for a directory.
pub fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = fstat(fd).step("look at what is mounted")?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Attributes by their bits.
pub fn attributes(bits: u64) -> MountAttrFlags {
    MountAttrFlags::from_bits_retain(bits as u32)
}
