//! Volumes and who uses them.
//!
//! A container uses the volumes that its launch spec names, whether it runs or not.

use std::collections::{BTreeMap, BTreeSet};

use cairn_repo::{Container, NewVolume, Repo, Volume};
use cairn_runtime::{LaunchSpec, MountKind};
use serde::Serialize;

use crate::error::Outcomes;
use crate::error::{Error, Result};

/// A volume with those who use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: String,
    /// Nobody named it: it was made for a container.
    pub anonymous: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its content, on the host.
    pub directory: String,
    /// Names of the containers that use it.
    pub containers: Vec<String>,
}

/// Names of the volumes that a container uses.
fn used_by(repo: &Repo, container: &Container) -> BTreeSet<String> {
    let spec = LaunchSpec::load(&repo.containers().dir(&container.id));
    let mounts = spec.map(|spec| spec.mounts).unwrap_or_default();
    let volume = |what: &MountKind| match what {
        MountKind::Bind { source } => repo.volumes().name_of(source),
        _ => None,
    };
    mounts
        .iter()
        .filter_map(|mount| volume(&mount.what))
        .collect()
}

/// All that is used, with the names of the containers that do.
fn users(repo: &Repo) -> cairn_repo::Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for container in repo.containers().list()? {
        for volume in used_by(repo, &container) {
            users
                .entry(volume)
                .or_default()
                .push(container.name.clone());
        }
    }
    Ok(users)
}

/// Makes a volume; one that is there stays as it is. Its name.
pub fn create(repo: &Repo, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<String> {
    let new = NewVolume {
        name: name.map(str::to_owned),
        labels,
        container: None,
    };
    let (volume, is_new) = repo.volumes().create(&new)?;
    if is_new {
        crate::events::tell_volume(repo, &volume.name, "create");
    }
    Ok(volume.name)
}

/// All volumes, by name.
pub fn list(repo: &Repo) -> Result<Vec<VolumeInfo>> {
    let mut users = users(repo)?;
    let info = |volume: Volume| info_of(repo, volume, &mut users);
    Ok(repo.volumes().list()?.into_iter().map(info).collect())
}

/// One volume.
pub fn info(repo: &Repo, name: &str) -> Result<VolumeInfo> {
    let volume = repo.volumes().find(name)?;
    Ok(info_of(repo, volume, &mut users(repo)?))
}

fn info_of(repo: &Repo, volume: Volume, users: &mut BTreeMap<String, Vec<String>>) -> VolumeInfo {
    let directory = repo.volumes().data(&volume.name);
    VolumeInfo {
        created: cairn_repo::time::rfc3339(volume.created),
        anonymous: volume.container.is_some(),
        labels: volume.labels,
        directory: directory.to_string_lossy().into_owned(),
        containers: users.remove(&volume.name).unwrap_or_default(),
        name: volume.name,
    }
}

/// Volumes that were made for a container because nobody named them.
pub(crate) fn own(repo: &Repo, container: &Container) -> Result<Vec<String>> {
    let id = container.id.hex();
    let is_own = |volume: &Volume| volume.container.as_deref() == Some(&id[..]);
    let of_spec = used_by(repo, container);
    if !of_spec.is_empty() {
        let found = of_spec
            .iter()
            .filter_map(|name| repo.volumes().find(name).ok());
        return Ok(found.filter(is_own).map(|volume| volume.name).collect());
    }
    if LaunchSpec::load(&repo.containers().dir(&container.id)).is_ok() {
        return Ok(Vec::new());
    }
    // Its creation was cut off.
    let all = repo.volumes().list()?.into_iter();
    Ok(all.filter(is_own).map(|volume| volume.name).collect())
}

/// Removes a volume that no container uses.
pub(crate) fn remove_one(repo: &Repo, name: &str) -> Result<()> {
    let user = |name: &str| {
        let users = users(repo)?.remove(name);
        Ok(users.map(|users| match &users[..] {
            [one] => format!("container {one}"),
            all => format!("containers {}", all.join(", ")),
        }))
    };
    repo.volumes().remove(name, &user)?;
    crate::events::tell_volume(repo, name, "remove");
    Ok(())
}

/// Removes volumes that no container uses. With `force`, one that does not exist is no error.
pub fn remove(repo: &Repo, names: &[String], force: bool) -> Outcomes {
    let one = |name: &String| match remove_one(repo, name) {
        Err(Error::Repo(cairn_repo::Error::NoVolume(_))) if force => Ok(()),
        done => done,
    };
    names.iter().map(|name| (name.clone(), one(name))).collect()
}

/// Removes the volumes that no container uses and nobody named; with `all`, named ones too. What was removed.
pub fn prune(repo: &Repo, all: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for volume in list(repo)? {
        if !volume.containers.is_empty() || !(all || volume.anonymous) {
            continue;
        }
        match remove_one(repo, &volume.name) {
            Ok(()) => removed.push(volume.name),
            // Somebody has begun to use it, or removed it.
            Err(Error::Repo(cairn_repo::Error::InUse { .. } | cairn_repo::Error::NoVolume(_))) => {}
            Err(e) => return Err(e),
        }
    }
    repo.volumes().drop_unfinished()?;
    Ok(removed)
}
