//! `cairn init`.

use anyhow::Result;
use cairn_repo::{Options, Repo};
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn init`
pub fn init(env: &Env, frames: bool) -> Result<()> {
    let there = Repo::open(&env.root, env.options()?).is_ok();
    let repo = env.open_with(Options {
        frames,
        ..env.options()?
    })?;
    let root = repo.root().display();
    if env.json {
        return Ok(output::json(
            &json!({"root": root.to_string(), "created": !there}),
        )?);
    }
    if there {
        println!("{root} is already a repository");
    } else {
        println!("created an empty repository at {root}");
    }
    Ok(())
}
