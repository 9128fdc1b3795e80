//! `cairn serve`.

use std::time::Duration;

use anyhow::Result;
use cairn_repo::Options;
use cairn_serve::ServeOptions;

use super::Env;
use crate::args::Serve;

/// How long a request waits for a command that holds the repository lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// `cairn serve`
pub fn serve(env: &Env, args: Serve) -> Result<()> {
    let options = Options {
        patience: Some(PATIENCE),
        ..env.options()?
    };
    let repo = env.open_with(options)?;
    let options = ServeOptions {
        address: args.address,
        state: args.state,
        containerd: args.containerd,
        idle_exit: args.idle_exit,
        metrics: args.metrics,
        group: args.group,
    };
    Ok(cairn_serve::serve(repo, options)?)
}
