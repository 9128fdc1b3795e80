//! What there is to say about containers.

use std::collections::BTreeMap;

use cairn_repo::{Container, Repo, time};
use cairn_runtime::{LaunchSpec, Mount, MountKind, Network, Origin, Port, State, Status};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::error::Result;

/// A container with the state of its process.
#[derive(Debug, Clone)]
pub struct Info {
    /// The container.
    pub container: Container,
    /// Its process.
    pub state: State,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it has mounted of the host and of volumes.
    pub volumes: Vec<MountedVolume>,
    /// Ports of the host that lead to it.
    pub ports: Vec<Port>,
}

/// A volume, or a place of the host, in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// Name of the volume; none for a place of the host.
    pub name: Option<String>,
    /// In the container.
    pub target: String,
}

impl Info {
    /// One word for what its process does.
    pub fn status(&self) -> &'static str {
        match self.state.status {
            Status::Created => "created",
            Status::Running if self.state.paused => "paused",
            Status::Running => "running",
            Status::Exited(_) => "exited",
            Status::Lost => "lost",
        }
    }
}

impl Serialize for Info {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self {
            container, state, ..
        } = self;
        let code = match state.status {
            Status::Exited(code) => Some(code),
            _ => None,
        };
        let image = container.image.map(|id| id.to_string());
        let running = state.is_running();
        let mut fields = to.serialize_struct("Info", 14)?;
        fields.serialize_field("id", &container.id.hex())?;
        fields.serialize_field("name", &container.name)?;
        fields.serialize_field("image", &container.image_name)?;
        fields.serialize_field("image_id", &image)?;
        fields.serialize_field("snapshot", container.snapshot.as_str())?;
        fields.serialize_field("command", &container.command)?;
        fields.serialize_field("created", &time::rfc3339(container.created))?;
        fields.serialize_field("status", self.status())?;
        fields.serialize_field("exit_code", &code)?;
        fields.serialize_field("out_of_memory", &state.out_of_memory)?;
        fields.serialize_field("pid", &running.then_some(state.pid))?;
        fields.serialize_field("monitor", &running.then_some(state.monitor))?;
        fields.serialize_field("labels", &self.labels)?;
        let ports: Vec<_> = self.ports.iter().map(Port::fields).collect();
        fields.serialize_field("ports", &ports)?;
        fields.end()
    }
}

/// All containers, newest first.
pub fn list(repo: &Repo) -> Result<Vec<Info>> {
    let all = repo.containers().list()?.into_iter();
    Ok(all.map(|container| of(repo, container).0).collect())
}

/// One container, and how it was launched, if that was written down.
pub fn info(repo: &Repo, name: &str) -> Result<(Info, Option<LaunchSpec>)> {
    Ok(of(repo, repo.containers().find(name)?))
}

fn of(repo: &Repo, container: Container) -> (Info, Option<LaunchSpec>) {
    let directory = repo.containers().dir(&container.id);
    let spec = LaunchSpec::load(&directory).ok();
    let mounted = |mount: &Mount| match &mount.what {
        MountKind::Bind { source } | MountKind::FlatBind { source } => Some(MountedVolume {
            name: repo.volumes().name_of(source),
            target: mount.target.lossy(),
        }),
        _ => None,
    };
    let of_spec = |spec: &LaunchSpec| {
        let mounts = spec.mounts.iter();
        let mounts = mounts.filter(|mount| mount.origin != Origin::Generated);
        (spec.labels.clone(), mounts.filter_map(mounted).collect())
    };
    let (labels, volumes) = spec.as_ref().map(of_spec).unwrap_or_default();
    let info = Info {
        state: State::load(&directory),
        labels,
        volumes,
        ports: spec.as_ref().map_or_else(Vec::new, published),
        container,
    };
    (info, spec)
}

/// Ports of the host that lead to a container.
fn published(spec: &LaunchSpec) -> Vec<Port> {
    match &spec.network {
        Network::User(network) => network.ports.clone(),
        _ => Vec::new(),
    }
}
