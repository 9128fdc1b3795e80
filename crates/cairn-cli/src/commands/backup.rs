//! `cairn backup`.

use std::path::Path;

use anyhow::Result;

use super::Env;
use crate::output::{self, size};

/// `cairn backup`
pub fn backup(env: &Env, directory: &Path) -> Result<()> {
    let report = env.open()?.backup(directory)?;
    if env.json {
        return Ok(output::report(&report)?);
    }
    println!(
        "{}: added {} packs, {} ({} as hard links); {} packs were up to date",
        directory.display(),
        report.new_packs,
        size(report.new_bytes),
        size(report.linked_bytes),
        report.kept_packs
    );
    for name in &report.left_out {
        println!("skipped snapshot {name}: it is not committed");
    }
    for name in &report.volumes_left_out {
        println!("skipped volume {name}: copy its directory, see \"cairn volume inspect\"");
    }
    Ok(())
}
