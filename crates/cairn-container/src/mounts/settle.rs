//! From what the options want to what is mounted: volumes are found or made, and filled where they are new.

use cairn_repo::{Container, NewVolume, Repo, VolumeLock};
use cairn_runtime::{LaunchSpec, Mount, MountKind, Origin, Text};

use super::{Wanted, WantedVolume, long, normal, short, tmpfs};
use crate::error::{Error, Result};
use crate::options::RunOptions;

/// What is mounted, and what must not go before that is written down.
#[must_use = "volumes can be removed as soon as this is dropped"]
pub(crate) struct Settled {
    pub mounts: Vec<Mount>,
    pub held: Vec<VolumeLock>,
}

/// Decides the mounts of a new container. `declared` are the volumes that its image names.
pub(crate) fn settle<'a>(
    repo: &Repo,
    container: &Container,
    options: &RunOptions,
    declared: impl Iterator<Item = &'a String>,
) -> Result<Settled> {
    let mut wanted = asked_for(options)?;
    for text in &options.volumes_from {
        for mount in from_container(repo, text)? {
            add_unless_there(&mut wanted, mount);
        }
    }
    let asked = wanted.len();
    for target in declared.filter(|target| !normal(target.as_bytes()).is_empty()) {
        add_unless_there(
            &mut wanted,
            Wanted::Volume(WantedVolume {
                name: None,
                target: format!("/{}", target.trim_start_matches('/')).into(),
                read_only: false,
                copy: true,
                labels: Default::default(),
            }),
        );
    }
    let held = hold(repo, container, &wanted)?;
    let mut names = held.iter().filter(|(name, _)| name.is_none());
    let (mut mounts, mut images) = (Vec::new(), 0);
    for (number, wanted) in wanted.iter().enumerate() {
        let origin = match number < asked {
            true => Origin::User,
            false => Origin::Image,
        };
        mounts.push(match wanted {
            Wanted::Mount(mount) => mount.clone(),
            Wanted::Image { image, target } => {
                images += 1;
                image_mount(repo, container, images - 1, image, target)?
            }
            Wanted::Volume(volume) => {
                let lock = match &volume.name {
                    Some(_) => held.iter().find(|(name, _)| *name == volume.name),
                    None => names.next(),
                };
                let (_, lock) = lock.ok_or_else(|| Error::Refused("a volume is missing".into()))?;
                if volume.copy {
                    let target = volume.target.as_bytes();
                    repo.volumes().fill(lock, container, target)?;
                }
                Mount {
                    target: volume.target.clone(),
                    what: MountKind::Bind {
                        source: repo.volumes().data(lock.name()),
                    },
                    read_only: volume.read_only,
                    origin,
                }
            }
        });
    }
    let held = held.into_iter().map(|(_, lock)| lock).collect();
    Ok(Settled { mounts, held })
}

fn asked_for(options: &RunOptions) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for text in &options.tmpfs {
        wanted.push(Wanted::Mount(tmpfs::tmpfs(text)?));
    }
    for text in &options.volumes {
        wanted.push(short::volume(text)?);
    }
    for text in &options.mounts {
        wanted.push(long::mount(text)?);
    }
    for text in &options.secrets {
        wanted.push(Wanted::Mount(crate::secrets::secret(text)?));
    }
    Ok(wanted)
}

fn add_unless_there(wanted: &mut Vec<Wanted>, more: Wanted) {
    let names = normal(more.target().as_bytes());
    if wanted
        .iter()
        .all(|other| normal(other.target().as_bytes()) != names)
    {
        wanted.push(more);
    }
}

/// `NAME[:ro|rw]`: what that container has mounted of the host and of volumes.
fn from_container(repo: &Repo, text: &str) -> Result<Vec<Wanted>> {
    let (name, read_only) = match text.split_once(':') {
        None => (text, None),
        Some((name, "ro")) => (name, Some(true)),
        Some((name, "rw")) => (name, Some(false)),
        Some(_) => {
            return Err(Error::Usage(format!(
                "--volumes-from {text}: must be CONTAINER[:ro|rw]"
            )));
        }
    };
    let container = repo.containers().find(name)?;
    let spec = LaunchSpec::load(&repo.containers().dir(&container.id))?;
    let shared = |mount: &Mount| {
        mount.origin != Origin::Generated
            && matches!(
                mount.what,
                MountKind::Bind { .. } | MountKind::FlatBind { .. }
            )
    };
    let again = |mut mount: Mount| {
        // Nobody writes through another container to what it may only read.
        mount.read_only |= read_only == Some(true);
        mount.origin = Origin::User;
        let volume = match &mount.what {
            MountKind::Bind { source } => repo.volumes().name_of(source),
            _ => None,
        };
        match volume {
            None => Wanted::Mount(mount),
            Some(name) => Wanted::Volume(WantedVolume {
                name: Some(name),
                target: mount.target,
                read_only: mount.read_only,
                copy: false,
                labels: Default::default(),
            }),
        }
    };
    Ok(spec.mounts.into_iter().filter(shared).map(again).collect())
}

/// Takes hold of all volumes: in the order of their names, so that of two containers that want the same ones
/// neither waits for the other for ever. New ones, which nobody knows, come last.
fn hold(
    repo: &Repo,
    container: &Container,
    wanted: &[Wanted],
) -> Result<Vec<(Option<String>, VolumeLock)>> {
    let volumes = || {
        wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Volume(volume) => Some(volume),
            _ => None,
        })
    };
    let mut named: Vec<&WantedVolume> = volumes().filter(|v| v.name.is_some()).collect();
    // The first of those with one name says its labels.
    named.sort_by(|a, b| a.name.cmp(&b.name));
    named.dedup_by(|a, b| a.name == b.name);
    let own = volumes().filter(|volume| volume.name.is_none());
    let mut held = Vec::new();
    for volume in named.into_iter().chain(own) {
        let new = NewVolume {
            name: volume.name.clone(),
            labels: volume.labels.clone(),
            container: volume.name.is_none().then(|| container.id.hex()),
        };
        held.push((volume.name.clone(), repo.volumes().hold(&new)?));
    }
    Ok(held)
}

/// A view of an image, with a snapshot that keeps its layers until the container is removed.
fn image_mount(
    repo: &Repo,
    container: &Container,
    number: usize,
    image: &str,
    target: &Text,
) -> Result<Mount> {
    let found = repo.images().find(image)?;
    let (snapshot, plan) = repo.containers().mount_image(container, number, &found)?;
    Ok(Mount {
        target: target.clone(),
        what: MountKind::Image {
            snapshot: snapshot.to_string(),
            plan,
        },
        read_only: true,
        origin: Origin::User,
    })
}
