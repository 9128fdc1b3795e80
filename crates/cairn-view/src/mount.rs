//! Carries out mount plans, with the new mount API (fsopen(2) and its kin): a mount is made detached, so
//! that nothing shows or stays when something fails, and attached last.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use cairn_model::{Driver, MountPlan};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use crate::error::{At, Error, Result};

struct Step(Driver);

impl Step {
    fn check<T>(
        &self,
        done: Result<T, Errno>,
        step: impl Into<String>,
        context: Option<&OwnedFd>,
    ) -> Result<T> {
        done.map_err(|source| Error::Mount {
            driver: self.0.to_string(),
            step: step.into(),
            hint: match (source, context) {
                (Errno::PERM, _) => " (mounting needs root; the driver copy does not)".to_owned(),
                (_, Some(context)) => message(context),
                _ => String::new(),
            },
            source: source.into(),
        })
    }
}

/// What the kernel wrote to a mount context about an error.
fn message(context: &OwnedFd) -> String {
    let mut buffer = [0; 512];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) if length > 2 => {
            format!(" ({})", String::from_utf8_lossy(&buffer[2..length]).trim())
        }
        _ => String::new(),
    }
}

/// Makes the mount that `plan` describes, detached.
pub fn mount(plan: &MountPlan) -> Result<OwnedFd> {
    let step = Step(plan.driver);
    match plan.driver {
        Driver::Erofs | Driver::ErofsLoop => {
            let lowers = plan.lowers.iter().map(|image| match plan.driver {
                Driver::ErofsLoop => erofs_loop(image),
                _ => erofs(&step, image),
            });
            let lowers = lowers.collect::<Result<Vec<_>>>()?;
            overlay(
                &step,
                plan,
                &lowers.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
            )
        }
        Driver::Overlay => {
            let open = |path: &std::path::PathBuf| clone(&step, path);
            let lowers = plan.lowers.iter().map(open).collect::<Result<Vec<_>>>()?;
            overlay(
                &step,
                plan,
                &lowers.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
            )
        }
        Driver::Copy => {
            let directory = plan
                .head
                .as_ref()
                .map(|head| &head.upper)
                .or(plan.lowers.first());
            let Some(directory) = directory else {
                return step.check(Err(Errno::INVAL), "finding the directory in the plan", None);
            };
            let tree = clone(&step, directory)?;
            if plan.head.is_none() {
                cairn_sys::mount_read_only(&tree, false).at("make read-only", directory)?;
            }
            Ok(tree)
        }
    }
}

fn clone(step: &Step, path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    step.check(
        open_tree(rustix::fs::CWD, path, flags),
        format!("open_tree {}", path.display()),
        None,
    )
}

fn erofs(step: &Step, image: &Path) -> Result<OwnedFd> {
    let context = step.check(
        fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC),
        "fsopen erofs",
        None,
    )?;
    let fail = Some(&context);
    step.check(fsconfig_set_flag(&context, "ro"), "erofs: ro", fail)?;
    step.check(
        fsconfig_set_string(&context, "source", image),
        "erofs: source",
        fail,
    )?;
    step.check(
        fsconfig_create(&context),
        format!("erofs: opening {}", image.display()),
        fail,
    )?;
    step.check(
        fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_RDONLY,
        ),
        "erofs: fsmount",
        fail,
    )
}

/// By mount(8), which takes a loop device; the mount is then taken over detached.
fn erofs_loop(image: &Path) -> Result<OwnedFd> {
    let step = Step(Driver::ErofsLoop);
    let place = tempfile::tempdir().at("make a directory for", image)?;
    let output = Command::new("mount")
        .args(["-t", "erofs", "-o", "ro,loop"])
        .arg(image)
        .arg(place.path())
        .output();
    let output = output.at("run mount(8) for", image)?;
    if !output.status.success() {
        return Err(Error::Mount {
            driver: Driver::ErofsLoop.to_string(),
            step: format!("mount -o loop {}", image.display()),
            hint: String::new(),
            source: std::io::Error::other(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ),
        });
    }
    let tree = clone(&step, place.path());
    let gone = rustix::mount::unmount(place.path(), UnmountFlags::DETACH);
    step.check(gone, "unmounting the helper mount", None)?;
    tree
}

fn overlay(step: &Step, plan: &MountPlan, lowers: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let context = step.check(
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC),
        "fsopen overlay",
        None,
    )?;
    let set = |key: &str, value: &Path| {
        step.check(
            fsconfig_set_string(&context, key, value),
            format!("overlay: {key}={}", value.display()),
            Some(&context),
        )
    };
    set("source", Path::new("cairn"))?;
    for (key, value) in [
        ("metacopy", "on"),
        ("redirect_dir", "on"),
        ("index", "off"),
        ("xino", "auto"),
    ] {
        set(key, Path::new(value))?;
    }
    for lower in lowers {
        // Descriptors are taken since Linux 6.13; before, by the name they have under /proc.
        let done = fsconfig_set_fd(&context, "lowerdir+", lower);
        if done.is_err() {
            set(
                "lowerdir+",
                Path::new(&format!("/proc/self/fd/{}", lower.as_raw_fd())),
            )?;
        }
    }
    if let Some(objects) = &plan.objects {
        set("datadir+", objects)?;
    }
    if let Some(head) = &plan.head {
        set("upperdir", &head.upper)?;
        set("workdir", &head.work)?;
    }
    step.check(
        fsconfig_create(&context),
        "overlay: creating the mount",
        Some(&context),
    )?;
    let attributes = if plan.head.is_none() {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    step.check(
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes),
        "overlay: fsmount",
        Some(&context),
    )
}

/// Takes away what only a container should have: setuid programs, and devices.
pub fn restrict(mount: &OwnedFd, no_setuid: bool, no_devices: bool) -> Result<()> {
    let place = Path::new("the mount");
    if no_setuid {
        cairn_sys::mount_no_setuid(mount).at("forbid setuid programs in", place)?;
    }
    if no_devices {
        cairn_sys::mount_no_devices(mount).at("forbid devices in", place)?;
    }
    Ok(())
}

/// Attaches a detached mount to `target`.
pub fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    move_mount(
        mount,
        "",
        rustix::fs::CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("attach the mount to", target)
}

/// True where something is mounted on just this directory.
pub fn is_mountpoint(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let escaped = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(Vec::new(), |mut out, byte| {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => {
                    out.extend_from_slice(format!("\\{byte:03o}").as_bytes())
                }
                _ => out.push(*byte),
            }
            out
        });
    table
        .split(|b| *b == b'\n')
        .any(|line| line.split(|b| *b == b' ').nth(4) == Some(&escaped))
}

/// Unmounts `target`. An answer "busy" is tried again for a moment; `lazy` then detaches it all the same.
pub fn unmount(target: &Path, lazy: bool) -> Result<()> {
    for _ in 0..20 {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            done => return done.at("unmount", target),
        }
    }
    let flags = if lazy {
        UnmountFlags::NOFOLLOW | UnmountFlags::DETACH
    } else {
        UnmountFlags::NOFOLLOW
    };
    rustix::mount::unmount(target, flags).at("unmount", target)
}
