//! `cairn logs`

use anyhow::Result;

use super::Env;

/// `cairn logs`
pub fn logs(env: &Env, name: &str, follow: bool) -> Result<()> {
    let repo = env.open()?;
    let directory = repo.container_dir(&repo.container(name)?.id);
    drop(repo);
    Ok(cairn_container::logs(
        name,
        &directory,
        follow,
        &mut std::io::stdout(),
    )?)
}
