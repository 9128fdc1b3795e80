//! `cairn top`

use anyhow::{Result, bail};
use cairn_runtime::processes;

use super::Env;
use crate::output::{self, Table};

/// `cairn top`
pub fn top(env: &Env, name: &str) -> Result<()> {
    let repo = env.open()?;
    let (info, _) = cairn_container::info(&repo, name)?;
    drop(repo);
    if !info.state.is_running() {
        bail!("container {name} is not running");
    }
    let all = processes(&info.state)?;
    if env.json {
        return Ok(output::report(&all)?);
    }
    let mut table = Table::new(&["USER", ">PID", ">HOST PID", ">PARENT", ">CPU", "COMMAND"]);
    for process in all {
        let seconds = process.cpu_ms / 1000;
        table.row(vec![
            process.user.unwrap_or_else(|| process.uid.to_string()),
            process.container_pid.to_string(),
            process.pid.to_string(),
            process.container_parent.to_string(),
            format!(
                "{}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            ),
            process.command,
        ]);
    }
    Ok(table.print()?)
}
