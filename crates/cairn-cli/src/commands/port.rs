//! `cairn port`

use anyhow::{Context, Result};
use cairn_runtime::Network;
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn port`
pub fn port(env: &Env, name: &str) -> Result<()> {
    let repo = env.open()?;
    let (_, spec) = cairn_container::info(&repo, name)?;
    let spec = spec.with_context(|| format!("container {name} has no launch spec"))?;
    let (network, words) = match spec.network {
        Network::Host => ("host", "uses the host's network: its ports are the host's"),
        Network::None => ("none", "has no port that can be reached from outside"),
        _ => ("ns", "has the ports of its network namespace"),
    };
    if env.json {
        return Ok(output::json(&json!({"network": network, "ports": []}))?);
    }
    println!("container {name} {words}");
    Ok(())
}
