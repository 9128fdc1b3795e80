//! Builds the root file system: the view, and everything on it that is not part of the image.
//!
//! `/proc`, `/sys` and `/dev` are directories of the root itself, never links; what hides and protects parts
//! of them is applied through the descriptor of the mount just made. Every other target is looked up below
//! the root's descriptor at the moment its turn comes, upper directories first, and used by descriptor only:
//! an image with hostile links stays inside, and no mount hides another by accident.

pub(crate) mod dev;
pub(crate) mod place;
pub(crate) mod protect;
mod secrets;
mod shared_memory;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};

use crate::detached::{QUIET, attach, clone, filesystem, open_exact};
use crate::error::{Error, Result, Step};
use crate::secret::SecretValue;
use crate::spec::{LaunchSpec, Mount, MountKind, Origin};
use crate::users::IdRange;

pub use dev::Dev;
pub use place::Placed;

/// A root file system, attached in this process's own mount namespace.
pub struct Rootfs {
    /// Its root directory.
    pub root: OwnedFd,
    /// Its `/dev`.
    pub dev: Dev,
}

/// Mounts everything; the root is attached at `place`.
pub fn build(
    spec: &LaunchSpec,
    secrets: &[SecretValue],
    place: &Path,
    privileged: bool,
    users: Option<&OwnedFd>,
) -> Result<Rootfs> {
    private()?;
    let mut secrets = secrets::make(spec, secrets, place)?;
    let root = cairn_view::mount_for(&spec.plan, users.map(AsFd::as_fd))?;
    // Device nodes of an image open nothing; those in /dev are the container's own.
    if !spec.privileged {
        cairn_sys::mount_no_devices(&root).step("disable device nodes of the image")?;
    }
    cairn_view::attach(&root, place)?;
    let order = in_order(&root, &spec.mounts)?;
    let proc = procfs(spec.shares_processes())?;
    attach(&proc, &own_directory(&root, "proc")?, "/proc")?;
    let sys = sysfs(spec.privileged, privileged)?;
    attach(&sys, &own_directory(&root, "sys")?, "/sys")?;
    let dev = Dev::mount(&own_directory(&root, "dev")?, spec, privileged)?;
    if !spec.privileged {
        protect::apply(&proc, &sys, &dev)?;
    }
    for (path, mount) in order {
        let made = match &mount.what {
            MountKind::Secret(secret) => secrets.take(secret)?,
            what => detached(what, spec.ids.as_ref().zip(users))?,
        };
        add(&root, &path, mount, made)?;
    }
    if spec.read_only {
        cairn_sys::mount_read_only(&root, false).step("make the root read-only")?;
    }
    Ok(Rootfs { root, dev })
}

/// No mount reaches this namespace from now on, or leaves it.
fn private() -> Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("make mounts private")
}

/// Enters a mount namespace of this thread's own.
pub(crate) fn alone() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).step("create a mount namespace")?;
    private()
}

/// Mounts these on a root that is attached, where nobody else sees them.
pub(crate) fn add_all(root: &OwnedFd, mounts: &[Mount]) -> Result<()> {
    in_order(root, mounts)?
        .into_iter()
        .try_for_each(|(path, mount)| add(root, &path, mount, detached(&mount.what, None)?))
}

/// A directory of the root that is itself, not a link to another place.
fn own_directory(root: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let refused = |why: &str| {
        Error::Invalid(format!(
            "/{name} in the image is {why}, not a directory; refusing to run it"
        ))
    };
    let found = open_exact(root, name);
    let directory = found
        .map_err(|_| refused("a link or a mount"))?
        .ok_or_else(|| refused("missing"))?;
    let stat = rustix::fs::fstat(&directory).step(format!("read /{name}"))?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        kind if kind.is_dir() => Ok(directory),
        kind if kind.is_symlink() => Err(refused("a symbolic link")),
        _ => Err(refused("a file")),
    }
}

fn procfs(shared: bool) -> Result<OwnedFd> {
    match filesystem("proc", "", QUIET) {
        // A user namespace may not mount that of a PID namespace around it; it may show it.
        Err(_) if shared => clone(Path::new("/proc"), true),
        done => done,
    }
}

fn sysfs(writable: bool, privileged: bool) -> Result<OwnedFd> {
    let mut attributes = QUIET;
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, !writable);
    match filesystem("sysfs", "", attributes) {
        // A user namespace may not mount the host network's sysfs; it may show it.
        Err(_) if !privileged => {
            let sys = clone(Path::new("/sys"), true)?;
            cairn_sys::mount_read_only(&sys, true).step("make /sys read-only")?;
            Ok(sys)
        }
        done => done,
    }
}

/// The mounts with the places they are for, upper directories first. Of two on one place the one that was
/// asked for more clearly counts; two that the user named are an error.
fn in_order<'a>(root: &OwnedFd, mounts: &'a [Mount]) -> Result<Vec<(Placed, &'a Mount)>> {
    let mut order: Vec<(Placed, &Mount)> = Vec::new();
    for mount in mounts {
        let placed = place::resolve(root, mount.target.as_bytes())?;
        let refused = |why: &str| {
            let target = mount.target.lossy();
            Err(Error::Invalid(format!("{target} in the container: {why}")))
        };
        match placed.components().first().map(Vec::as_slice) {
            None => return refused("the root itself cannot be mounted over"),
            // What protects /proc was put there by us, and stays the last word on it.
            Some(b"proc") => return refused("mounting in /proc is not allowed"),
            _ => {}
        }
        match order.iter_mut().find(|(other, _)| *other == placed) {
            None => order.push((placed, mount)),
            Some((_, other)) if other.origin == Origin::User && mount.origin == Origin::User => {
                return refused("two mounts use this path");
            }
            Some((_, other)) if other.origin < mount.origin => *other = mount,
            Some(_) => {}
        }
    }
    // A stable order, so that the same command line always gives the same container.
    order.sort_by_key(|(placed, _)| placed.components().len());
    Ok(order)
}

/// Mounts what was made for it at its place.
fn add(
    root: &OwnedFd,
    placed: &Placed,
    mount: &Mount,
    (made, is_directory): (OwnedFd, bool),
) -> Result<()> {
    let name = mount.target.lossy();
    if mount.origin == Origin::Generated {
        // Inodes of the host's that the container owns: never a way to leave a program there.
        cairn_sys::mount_quiet(&made).step(format!("shut {name} off"))?;
    }
    if mount.read_only {
        cairn_sys::mount_read_only(&made, true).step(format!("make {name} read-only"))?;
    }
    match place::make(root, placed, is_directory) {
        Ok(target) => attach(&made, &target, &name),
        // The user's own mount is read-only there, and comes before what every container has.
        Err(_) if mount.origin == Origin::Generated => Ok(()),
        Err(e) => Err(e),
    }
}

/// What is to be mounted, attached nowhere yet, and whether it is a directory. Ids are shown as `mapped` says.
fn detached(what: &MountKind, mapped: Option<(&IdRange, &OwnedFd)>) -> Result<(OwnedFd, bool)> {
    match what {
        MountKind::Secret(_) => Err(Error::Invalid("a secret has no mount yet".into())),
        MountKind::Bind { source } => bind(source, true, mapped),
        MountKind::FlatBind { source } => bind(source, false, mapped),
        MountKind::Image { plan, .. } => {
            let made = cairn_view::mount_for(plan, mapped.map(|(_, users)| users.as_fd()))?;
            // As in the root: device nodes of an image open nothing.
            cairn_sys::mount_no_devices(&made).step("disable device nodes of the image")?;
            Ok((made, true))
        }
        MountKind::Tmpfs {
            options,
            exec,
            suid,
            dev,
        } => {
            let mut attributes = MountAttrFlags::empty();
            attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, !exec);
            attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, !suid);
            attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !dev);
            let options = match mapped {
                Some((range, _)) => &range.options(options)?,
                None => options,
            };
            Ok((filesystem("tmpfs", options, attributes)?, true))
        }
    }
}

/// A file or directory of the host.
fn bind(
    source: &Path,
    recursive: bool,
    mapped: Option<(&IdRange, &OwnedFd)>,
) -> Result<(OwnedFd, bool)> {
    let made = clone(source, recursive)?;
    if let Some((_, users)) = mapped {
        // Whatever is mounted below it, too.
        cairn_sys::mount_map_ids(&made, users, true).step(format!(
            "map the ids of {}: its file system, or one mounted below it, cannot do so; omit the volume, or use --userns host",
            source.display()
        ))?;
    }
    let stat = rustix::fs::fstat(&made).step(format!("read {}", source.display()))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok((made, is_directory))
}
