//! `cairn ps`.

use anyhow::Result;
use cairn_container::Info;
use cairn_repo::time;
use cairn_runtime::{State, Status};
use serde_json::{Value, json};

use super::Env;
use crate::output::{self, Table, ago};

fn status_text(state: &State) -> String {
    match state.status {
        Status::Created => "created".into(),
        Status::Running if state.paused => "paused".into(),
        Status::Running => format!(
            "running for {}",
            ago(state.started as i64).trim_end_matches(" ago")
        ),
        Status::Exited(code) if state.out_of_memory => {
            format!("out of memory ({code}) {}", ago(state.finished as i64))
        }
        Status::Exited(code) => format!("exited ({code}) {}", ago(state.finished as i64)),
        Status::Lost => "lost (monitor was killed)".into(),
    }
}

/// The fields of a container that every command shows.
pub fn container_json(Info { container, state }: &Info) -> Value {
    let (status, code) = match state.status {
        Status::Created => ("created", None),
        Status::Running if state.paused => ("paused", None),
        Status::Running => ("running", None),
        Status::Exited(code) => ("exited", Some(code)),
        Status::Lost => ("lost", None),
    };
    json!({
        "id": container.id.hex(),
        "name": container.name,
        "image": container.image_name,
        "image_id": container.image.map(|id| id.to_string()),
        "snapshot": container.snapshot.to_string(),
        "command": container.command,
        "created": time::rfc3339(container.created),
        "status": status,
        "exit_code": code,
        "out_of_memory": state.out_of_memory,
        "pid": state.is_running().then_some(state.pid),
        "monitor": state.is_running().then_some(state.monitor),
    })
}

/// `cairn ps`
pub fn list(env: &Env, all: bool) -> Result<()> {
    let repo = env.open()?;
    let mut containers = cairn_container::list(&repo)?;
    containers.retain(|info| all || info.state.is_running());
    if env.json {
        return Ok(output::json(
            &containers.iter().map(container_json).collect(),
        )?);
    }
    let mut table = Table::new(&["NAME", "ID", "IMAGE", "COMMAND", "STATUS"]);
    for info in &containers {
        let container = &info.container;
        table.row(vec![
            container.name.clone(),
            container.id.short(),
            container.image_name.clone(),
            container.command.join(" "),
            status_text(&info.state),
        ]);
    }
    Ok(table.print()?)
}
