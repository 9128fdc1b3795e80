//! `cairn driver`.

use anyhow::Result;

use cairn_runtime::rootless::Rootless;

use super::{Caller, Env};
use crate::output;

/// `cairn driver`
pub fn show(env: &Env) -> Result<()> {
    let report = env.open()?.views().report()?;
    if env.json {
        return Ok(output::report(&report)?);
    }
    let why = if report.forced {
        "named with --driver or in cairn.toml"
    } else {
        "the best that works here"
    };
    println!("driver     {} ({why})", report.driver);
    for (driver, why) in &report.refused {
        println!("{:<10} does not work here: {why}", driver.to_string());
    }
    match &env.caller {
        Caller::Plain => {}
        Caller::Rootless(Rootless { ids, why_single }) => {
            let why = why_single
                .as_deref()
                .unwrap_or("your own and your subordinate ids");
            println!("ids        {ids} ({why})");
        }
        Caller::Shut(e) => println!("ids        none: {}", cairn_model::one_line(e)),
    }
    let can = if report.fs_verity { "could" } else { "cannot" };
    println!("fs-verity  the repository's file system {can} seal files; Cairn does not use it");
    Ok(())
}
