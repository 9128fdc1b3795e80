//! `cairn bundle`

use std::path::Path;

use anyhow::Result;
use cairn_container::Interrupts;
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn bundle`
pub fn bundle(env: &Env, name: &str, directory: &Path) -> Result<()> {
    // Before other threads are started.
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = env.open()?;
    let directory = std::path::absolute(directory)?;
    let done = cairn_container::bundle(&repo, name, &directory, &interrupts)?;
    for (path, why) in done.left_out.iter().filter(|_| !env.json) {
        output::say(&format!(
            "{:?} is left out: {why}",
            String::from_utf8_lossy(path)
        ));
    }
    if env.json {
        let left_out = done
            .left_out
            .iter()
            .map(|(path, why)| json!({"name": String::from_utf8_lossy(path), "why": why}));
        output::json(&json!({"bundle": directory, "left_out": left_out.collect::<Vec<_>>()}))?;
    } else {
        println!("{}", directory.display());
    }
    Ok(())
}
