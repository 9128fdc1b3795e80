//! Starting a container again, as it was created: the same settings, and what it wrote so far.

use cairn_model::MountPlan;
use cairn_repo::{Container, Repo};
use cairn_runtime::{ContainerLock, LaunchSpec, LogLimits, Mount, MountKind, State, Text};
use cairn_snapshot::Snapshotter;

use crate::error::{Error, Result};
use crate::prepare::Prepared;
use crate::{mounts, network, secrets, surroundings, users};

/// Prepares a container that does not run for another start; in the background, or with the caller's streams.
/// `None` where it runs already.
pub fn again(repo: &Repo, name: &str, detach: bool, interactive: bool) -> Result<Option<Prepared>> {
    // Finding out what works here takes trial mounts at its first time: not while others wait.
    repo.views().driver()?;
    let hold = repo.store().db().hold();
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    if State::load(&directory).is_running() {
        return Ok(None);
    }
    let lock = ContainerLock::take(&directory).map_err(|_| {
        Error::Refused(format!(
            "container {name} is starting or exiting; try again"
        ))
    })?;
    let mut spec = LaunchSpec::load(&directory)?;
    spec.plan = plan(repo, &container, &spec)?;
    show_images(repo, &mut spec.mounts)?;
    spec.detach = detach;
    if !detach {
        spec.interactive = interactive;
    }
    if spec.log.is_none() && spec.after.is_empty() {
        spec.log = Some(LogLimits::default());
    }
    spec.network = network::resolve(repo, &spec.network)?;
    surroundings::look_up_again(repo, &mut spec)?;
    let secrets = secrets::values(&spec)?;
    // The range that it had may be another container's now; nothing on the disk tells which it was.
    let claim = users::claim_again(&mut spec.ids, &container.id.hex())?;
    drop(hold);
    // What a monitor that was killed left behind. An ordinary user may have been given another group since.
    cairn_runtime::remove_groups(&spec.group);
    cairn_runtime::make_room_for_groups();
    spec.group = cairn_runtime::group_name(repo.root(), &container.id.hex());
    crate::runtime::write_bundle(&spec, &directory)?;
    spec.save(&directory)?;
    Ok(Some(Prepared {
        id: container.id.hex(),
        warnings: Vec::new(),
        name: container.name,
        directory,
        spec,
        secrets,
        lock,
        claim,
    }))
}

/// Says how to mount images now: views of them may have left the cache, too.
pub(crate) fn show_images(repo: &Repo, mounts: &mut [Mount]) -> Result<()> {
    for mount in mounts {
        if let MountKind::Image { snapshot, plan } = &mut mount.what {
            let key = snapshot.parse().map_err(cairn_repo::Error::from)?;
            *plan = repo.snapshots().mounts(&key)?;
        }
    }
    Ok(())
}

/// How to mount a container now: what shows it may have left the cache since it was created.
pub(crate) fn plan(repo: &Repo, container: &Container, spec: &LaunchSpec) -> Result<MountPlan> {
    let (directories, files) = mounts::mount_points(&spec.mounts, &spec.cwd);
    let bytes = |texts: &[Text]| -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    };
    let containers = repo.containers();
    let plan = containers.mounts(container)?;
    Ok(containers.launch_plan(container, plan, &bytes(&directories), &bytes(&files))?)
}
