//! `cairn port`

use anyhow::{Context, Result};
use cairn_runtime::{Network, Port, UserNetwork};
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn port`
pub fn port(env: &Env, name: &str) -> Result<()> {
    let repo = env.open()?;
    let (_, spec) = cairn_container::info(&repo, name)?;
    let spec = spec.with_context(|| format!("container {name} has no launch spec"))?;
    if let Network::User(network) = &spec.network {
        return published(env, name, network);
    }
    let (network, words) = match spec.network {
        Network::Host => ("host", "uses the host's network: its ports are the host's"),
        Network::None => ("none", "has no port that can be reached from outside"),
        Network::Container { .. } => (
            "container",
            "has the ports of the container whose network it is in",
        ),
        _ => ("ns", "has the ports of its network namespace"),
    };
    if env.json {
        return Ok(output::json(&json!({"network": network, "ports": []}))?);
    }
    println!("container {name} {words}");
    Ok(())
}

/// What leads to a container that has a network of its own.
fn published(env: &Env, name: &str, network: &UserNetwork) -> Result<()> {
    if env.json {
        let ports: Vec<_> = network.ports.iter().map(Port::fields).collect();
        return Ok(output::json(&json!({"network": "user", "ports": ports}))?);
    }
    for port in &network.ports {
        println!("{port}");
    }
    if network.ports.is_empty() {
        println!(
            "container {name} has no port that can be reached from outside; see -p of \"cairn run\""
        );
    }
    Ok(())
}
