//! `cairn ps`.

use anyhow::Result;
use cairn_runtime::{State, Status};

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

/// `cairn ps`
pub fn list(env: &Env, all: bool) -> Result<()> {
    let repo = env.open()?;
    let mut containers = cairn_container::list(&repo)?;
    containers.retain(|info| all || info.state.is_running());
    if env.json {
        return Ok(output::report(&containers)?);
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
