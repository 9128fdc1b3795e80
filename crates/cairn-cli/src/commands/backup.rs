//! `cairn backup`.

use std::path::Path;

use anyhow::Result;
use cairn_repo::Repo;
use cairn_store::ScrubOptions;

use super::Env;
use crate::output::{self, Exit, size};
use crate::progress::Bar;

/// `cairn restore`: a repository that is there is left alone.
pub fn restore(env: &Env, directory: &Path) -> Result<()> {
    if Repo::require(&env.root).is_ok() {
        let root = env.root.display();
        let words =
            format!("{root} is a repository already; restore into another --root, or move it away");
        return Err(cairn_repo::Error::Invalid(words).into());
    }
    let backup = Repo::open(directory, env.options()?)?;
    let bar = Bar::new("restoring");
    env.watch.report_to(bar.clone());
    let report = backup.backup(&env.root)?;
    drop(bar);
    drop(backup);
    // What came is whole, as far as its structure tells; the next "check" reads its content.
    let found = env.open()?.check().packs(&ScrubOptions::structure())?;
    if let Some(fault) = found.faults.first() {
        return Err(Exit(3, format!("the restored repository is damaged: {fault}")).into());
    }
    if env.json {
        return Ok(output::report(&report)?);
    }
    println!(
        "{}: restored {} packs, {} ({} as hard links); check their content with \"cairn check\"",
        env.root.display(),
        report.new_packs,
        size(report.new_bytes),
        size(report.linked_bytes)
    );
    Ok(())
}

/// `cairn backup`
pub fn backup(env: &Env, directory: &Path) -> Result<()> {
    let bar = Bar::new("backing up");
    env.watch.report_to(bar.clone());
    let report = env.open()?.backup(directory)?;
    drop(bar);
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
