//! `cairn logs`

use anyhow::Result;

use super::Env;
use crate::output;

/// `cairn logs`
pub fn logs(env: &Env, name: &str, follow: bool) -> Result<()> {
    let repo = env.open()?;
    let directory = repo.containers().dir(&repo.containers().find(name)?.id);
    drop(repo);
    let done = cairn_container::logs(name, &directory, follow, &mut output::Stdout);
    match done {
        // Told at the end, as of any command.
        Err(_) if output::is_broken() => Ok(()),
        done => Ok(done?),
    }
}
