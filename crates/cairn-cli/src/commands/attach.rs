//! `cairn attach`

use anyhow::{Result, bail};
use cairn_container::Attaching;
use cairn_runtime::{Attached, DetachKeys};

use super::Env;
use crate::args::Attach;
use crate::output::{self, Usage};

/// `cairn attach`
pub fn attach(env: &Env, args: &Attach) -> Result<u8> {
    let keys = args.detach_keys.as_deref().map(keys).transpose()?;
    let keys = keys.unwrap_or_default();
    let name = &args.container;
    let repo = env.open()?;
    let found = Attaching::find(&repo, name, !args.no_stdin, keys, args.sig_proxy)?;
    // From here on nothing holds the database.
    drop(repo);
    outcome(found.attach()?, name)
}

fn keys(text: &str) -> Result<DetachKeys> {
    Ok(DetachKeys::parse(text).map_err(|e| Usage(e.to_string()))?)
}

/// The keys that leave what has this process's terminal.
pub fn keys_at_terminal(text: &str) -> Result<DetachKeys> {
    let keys = keys(text)?;
    match std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        true => Ok(keys),
        false => Err(Usage("--detach-keys: standard input is not a terminal".into()).into()),
    }
}

/// The exit code of a client of container `name`, or the words for why it has none.
pub fn outcome(attached: Attached, name: &str) -> Result<u8> {
    match attached {
        Attached::Ended(code) => Ok(code),
        Attached::Left => {
            output::say(&format!("detached; container {name} is still running"));
            Ok(0)
        }
        Attached::Interrupted(signal) => {
            bail!(output::Exit(
                128 + (signal as u8 & 0x7f),
                format!("interrupted; container {name} is still running")
            ))
        }
    }
}
