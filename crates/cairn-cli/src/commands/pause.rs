//! `cairn pause`, `cairn unpause`

use anyhow::Result;

use super::Env;
use super::stop::told;

/// `cairn pause`
pub fn pause(env: &Env, names: &[String]) -> Result<u8> {
    let repo = env.open()?;
    told(env, "paused", cairn_container::pause(&repo, names))
}

/// `cairn unpause`
pub fn unpause(env: &Env, names: &[String]) -> Result<u8> {
    let repo = env.open()?;
    told(env, "unpaused", cairn_container::unpause(&repo, names))
}
