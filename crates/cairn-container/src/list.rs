//! What there is to say about containers.

use cairn_repo::{Container, Repo, time};
use cairn_runtime::{LaunchSpec, State, Status};
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
        let Self { container, state } = self;
        let code = match state.status {
            Status::Exited(code) => Some(code),
            _ => None,
        };
        let image = container.image.map(|id| id.to_string());
        let running = state.is_running();
        let mut fields = to.serialize_struct("Info", 12)?;
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
        fields.end()
    }
}

/// All containers, newest first.
pub fn list(repo: &Repo) -> Result<Vec<Info>> {
    let with_state = |container: Container| Info {
        state: State::load(&repo.containers().dir(&container.id)),
        container,
    };
    Ok(repo
        .containers()
        .list()?
        .into_iter()
        .map(with_state)
        .collect())
}

/// One container, and how it was launched, if that was written down.
pub fn info(repo: &Repo, name: &str) -> Result<(Info, Option<LaunchSpec>)> {
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let info = Info {
        state: State::load(&directory),
        container,
    };
    Ok((info, LaunchSpec::load(&directory).ok()))
}
