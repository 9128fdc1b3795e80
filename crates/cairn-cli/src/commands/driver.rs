//! `cairn driver`.

use anyhow::Result;

use super::Env;
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
    let can = if report.fs_verity { "could" } else { "cannot" };
    println!("fs-verity  the repository's file system {can} seal files; Cairn does not use it");
    Ok(())
}
