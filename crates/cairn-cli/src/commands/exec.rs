//! `cairn exec`

use anyhow::Result;
use cairn_container::ExecOptions;
use cairn_runtime::Text;

use super::Env;
use crate::args::Exec;
use crate::output::{self, Usage};

/// `cairn exec`
pub fn exec(env: &Env, args: Exec) -> Result<u8> {
    let mut words = args.container_and_command.into_iter();
    let container = words.next().unwrap_or_default().into_string();
    let container =
        container.map_err(|name| Usage(format!("{} is not a container name", name.display())))?;
    let options = ExecOptions {
        container,
        command: words.map(Text::from).collect(),
        interactive: args.interactive,
        terminal: args.tty,
        detach: args.detach,
        env: args.env.into_iter().map(Text::from).collect(),
        env_files: args.env_file,
        workdir: args.workdir.map(Text::from),
        user: args.user,
        privileged: args.privileged,
    };
    let repo = env.open()?;
    let prepared = cairn_container::exec(&repo, &options)?;
    // From here on nothing holds the database: what watches is a fresh program image.
    drop(repo);
    if !options.detach {
        return Err(prepared.become_watcher().into());
    }
    prepared.start_detached()?;
    if env.json {
        output::json(&serde_json::json!({ "container": options.container }))?;
    }
    Ok(0)
}
