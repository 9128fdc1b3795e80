//! `cairn driver`.

use super::{Caller, Env};
use crate::output;
use anyhow::Result;
use cairn_repo::{DriverReport, PacksReport};
use cairn_runtime::rootless::Rootless;
use serde::Serialize;

/// What `cairn driver` tells.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    report: DriverReport,
    /// None for root, who has all.
    ids: Option<Ids>,
}

/// The user ids that an ordinary user's containers have.
#[derive(Serialize)]
struct Ids {
    count: u64,
    /// Why there are no more.
    why: Option<String>,
}

impl Ids {
    fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::Plain => None,
            Caller::Rootless(Rootless { ids, why_single }) => Some(Self {
                count: *ids,
                why: why_single.clone(),
            }),
            Caller::Shut(e) => Some(Self {
                count: 0,
                why: Some(cairn_model::one_line(e)),
            }),
        }
    }
}

/// Whether the driver packs can be used, in words.
pub(super) fn packs(report: &PacksReport) -> String {
    match (&report.why_not, report.frames) {
        (Some(why), _) => format!("the driver packs does not work here: {why}"),
        (None, true) => {
            "the driver packs works here; it is used unless another one is named".to_owned()
        }
        (None, false) => {
            "the driver packs works here, and needs a repository made by \"cairn init --frames\""
                .to_owned()
        }
    }
}

/// `cairn driver`
pub fn show(env: &Env) -> Result<()> {
    let report = env.open()?.views().report()?;
    if env.json {
        let ids = Ids::of(&env.caller);
        return Ok(output::report(&Shown { report, ids })?);
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
    println!("packs      {}", packs(&report.packs));
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
