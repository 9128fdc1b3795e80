//! `cairn cp`

use std::io::IsTerminal;

use anyhow::Result;
use cairn_container::{CopyOptions, Side};
use serde_json::json;

use super::Env;
use crate::args::Cp;
use crate::output::{self, Usage};

/// As many things that were left out are told one by one with `--json`.
const LEFT_OUT_MAX: usize = 1000;

/// `cairn cp`
pub fn cp(env: &Env, args: &Cp) -> Result<()> {
    let options = CopyOptions {
        from: Side::parse(&args.source)?,
        to: Side::parse(&args.target)?,
        archive: args.archive,
        follow: args.follow_link,
    };
    let (from_stream, to_stream) = (options.from == Side::Stream, options.to == Side::Stream);
    if from_stream && std::io::stdin().is_terminal() {
        return Err(Usage("standard input is a terminal, not an archive".into()).into());
    }
    if to_stream && std::io::stdout().is_terminal() {
        return Err(Usage("refusing to write an archive to a terminal".into()).into());
    }
    let repo = env.open()?;
    let mut left_out = Vec::new();
    let mut say = |path: &[u8], why: &str| {
        let name = String::from_utf8_lossy(path);
        if !env.json || to_stream {
            output::say(&format!("{name:?} is left out: {why}"));
        } else if left_out.len() < LEFT_OUT_MAX {
            left_out.push(json!({ "name": name, "why": why }));
        }
    };
    let done = cairn_container::copy(
        &repo,
        &options,
        &mut std::io::stdin().lock(),
        &mut output::Stdout,
        &mut say,
    )?;
    if env.json && !to_stream {
        output::json(
            &json!({ "entries": done.entries, "bytes": done.bytes, "left_out": left_out }),
        )?;
    }
    Ok(())
}
