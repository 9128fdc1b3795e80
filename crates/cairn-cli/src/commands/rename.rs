//! `cairn rename`

use anyhow::Result;
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn rename`
pub fn rename(env: &Env, container: &str, name: &str) -> Result<()> {
    let repo = env.open()?;
    let container = repo.containers().find(container)?;
    cairn_container::rename(&repo, &container, name)?;
    if env.json {
        output::json(&json!({"id": container.id.hex(), "name": name}))?;
    }
    Ok(())
}
