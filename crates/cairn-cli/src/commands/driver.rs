//! `cairn driver`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Env;
use crate::output;

/// `cairn driver`
pub fn show(env: &Env) -> Result<()> {
    let report = env.open()?.views().report()?;
    if env.json {
        let refused: Vec<Value> = report
            .refused
            .iter()
            .map(|(driver, why)| json!({"driver": driver.to_string(), "why": why}))
            .collect();
        return Ok(output::json(&json!({
            "driver": report.driver.to_string(),
            "forced": report.forced,
            "refused": refused,
            "file_system_has_fs_verity": report.fs_verity,
        }))?);
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
