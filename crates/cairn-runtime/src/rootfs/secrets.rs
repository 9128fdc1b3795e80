//! Files of secrets: each in a file system in memory of its own, which never reaches a disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, openat};
use rustix::mount::{UnmountFlags, unmount};

use crate::detached::{QUIET, clone_fd, filesystem};
use crate::error::{Error, Result, Step};
use crate::secret::{Secret, SecretValue};
use crate::spec::LaunchSpec;

const FILE: &str = "secret";

/// Mounts of secrets, attached nowhere.
pub struct Secrets(Vec<(Secret, OwnedFd)>);

impl Secrets {
    /// That of a secret; each is there once.
    pub fn take(&mut self, secret: &Secret) -> Result<(OwnedFd, bool)> {
        let place = self.0.iter().position(|(other, _)| other == secret);
        let gone = || Error::Invalid(format!("secret {} has no value", secret.id));
        Ok((self.0.remove(place.ok_or_else(gone)?).1, false))
    }
}

/// Makes the secrets of a launch. `place` is used meanwhile, since only what is attached can be cloned.
pub fn make(spec: &LaunchSpec, values: &[SecretValue], place: &Path) -> Result<Secrets> {
    let secrets: Vec<&Secret> = spec.secrets().collect();
    if secrets.len() != values.len() {
        return Err(Error::Invalid(
            "the values of the container's secrets are missing".into(),
        ));
    }
    let pairs = secrets.into_iter().zip(values);
    let made = pairs.map(|(secret, value)| {
        let mount = one(spec, secret, value, place)?;
        Ok((secret.clone(), mount))
    });
    made.collect::<Result<_>>().map(Secrets)
}

fn one(spec: &LaunchSpec, secret: &Secret, value: &SecretValue, place: &Path) -> Result<OwnedFd> {
    let made = || format!("make the file of secret {}", secret.id);
    let memory = memory()?;
    cairn_view::attach(&memory, place)?;
    let written = write(spec, secret, value, &memory);
    let cloned = written.and_then(|()| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&memory, FILE, flags, Mode::empty()).step(made())?;
        clone_fd(&file, false)
    });
    unmount(place, UnmountFlags::DETACH).step(made())?;
    let mount = cloned?;
    cairn_sys::mount_quiet(&mount).step(made())?;
    Ok(mount)
}

/// Never swapped out where the kernel can promise that (Linux 6.4).
fn memory() -> Result<OwnedFd> {
    let plain = "mode=700,nr_inodes=4";
    filesystem("tmpfs", &format!("{plain},noswap"), QUIET)
        .or_else(|_| filesystem("tmpfs", plain, QUIET))
}

fn write(spec: &LaunchSpec, secret: &Secret, value: &SecretValue, memory: &OwnedFd) -> Result<()> {
    let made = || format!("write secret {}", secret.id);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(memory, FILE, flags, Mode::RUSR).step(made())?);
    file.write_all(value.bytes()).step(made())?;
    let owner = match &spec.ids {
        None => Some((secret.uid, secret.gid)),
        Some(range) => range.owner(secret.uid, secret.gid),
    };
    let (uid, gid) = owner.ok_or_else(|| {
        Error::Invalid(format!(
            "secret {}: the container has no user {} or no group {}",
            secret.id, secret.uid, secret.gid
        ))
    })?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).step(format!(
        "give secret {} to user {}:{}",
        secret.id, secret.uid, secret.gid
    ))?;
    fchmod(&file, Mode::from_raw_mode(secret.mode)).step(made())
}
