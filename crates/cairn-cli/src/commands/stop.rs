//! `cairn stop`, `kill`, `rm`, and the removal that `run --rm` owes.

use std::time::Duration;

use anyhow::{Context, Result};
use cairn_container as container;
use serde_json::json;

use super::Env;
use crate::output::{self, Usage};

/// What nobody would wait for anyway; larger numbers of seconds mean the same.
const STOP_SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// Says what became of each name: all errors, and as JSON the names that are done. Failed if one did.
pub fn told(env: &Env, verb: &str, outcomes: Vec<(String, container::Result<()>)>) -> Result<u8> {
    told_of(env, verb, outcomes)
}

/// The same for whatever has names.
pub fn told_of<E>(env: &Env, verb: &str, outcomes: Vec<(String, Result<(), E>)>) -> Result<u8>
where
    E: Into<anyhow::Error>,
{
    let (mut done, mut code) = (Vec::new(), 0);
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => done.push(name),
            Err(e) => {
                let e = e.into();
                code = code.max(output::exit_code(&e));
                output::print_error(&e);
            }
        }
    }
    if env.json {
        output::json(&json!({ verb: done }))?;
    }
    Ok(code)
}

/// How long a container may take to stop, if that was given.
pub fn patience(seconds: Option<u64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::from_secs(seconds.min(STOP_SECONDS_MAX)))
}

/// `cairn stop`
pub fn stop(env: &Env, names: &[String], seconds: Option<u64>) -> Result<u8> {
    let repo = env.open()?;
    let outcomes = container::stop(&repo, names, patience(seconds));
    told(env, "stopped", outcomes)
}

/// `cairn kill`
pub fn kill(env: &Env, names: &[String], signal: &str) -> Result<u8> {
    let number = cairn_runtime::signal_named(signal);
    let help = "use a name such as HUP or RTMIN+3, or a number";
    let number = number.ok_or_else(|| Usage(format!("unknown signal {signal:?}; {help}")))?;
    let repo = env.open()?;
    told(env, "signalled", container::kill(&repo, names, number))
}

/// `cairn rm`
pub fn remove(env: &Env, names: &[String], force: bool, volumes: bool) -> Result<u8> {
    let repo = env.open()?;
    let outcomes = container::remove(&repo, names, force, volumes);
    told(env, "removed", outcomes)
}

/// Waits until the monitor that holds the other end of standard input is done, then removes the
/// container.
pub fn after(env: &Env, id: &str) -> Result<()> {
    let stdin = rustix::fs::fstat(rustix::stdio::stdin()).context("read standard input")?;
    if !rustix::fs::FileType::from_raw_mode(stdin.st_mode).is_fifo() {
        return Err(Usage("this is an internal step of \"cairn run --rm\"".into()).into());
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    let repo = env.open()?;
    Ok(container::remove_when_ended(&repo, id)?)
}
