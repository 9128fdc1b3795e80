//! `cairn volume`

use std::collections::BTreeMap;

use anyhow::Result;
use cairn_container::volumes::{self, VolumeInfo};
use serde_json::json;

use super::Env;
use super::stop::told;
use super::template::Template;
use crate::args::Volume;
use crate::output::{self, Table, Usage};

/// `cairn volume`
pub fn run(env: &Env, command: Volume) -> Result<u8> {
    match command {
        Volume::Create { name, label } => create(env, name.as_deref(), &label)?,
        Volume::Ls {
            filter,
            quiet,
            format,
        } => list(env, &filter, quiet, format.as_deref())?,
        Volume::Inspect { volumes } => inspect(env, &volumes)?,
        Volume::Rm { volumes, force } => {
            let repo = env.open()?;
            return told(env, "removed", volumes::remove(&repo, &volumes, force));
        }
        Volume::Prune { all, .. } => prune(env, all)?,
    }
    Ok(0)
}

fn create(env: &Env, name: Option<&str>, labels: &[String]) -> Result<()> {
    let mut map = BTreeMap::new();
    for label in labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.trim().is_empty() {
            return Err(Usage(format!("--label {label:?}: must be NAME[=VALUE]")).into());
        }
        map.insert(name.to_owned(), value.to_owned());
    }
    let name = volumes::create(&env.open()?, name, map)?;
    if env.json {
        return Ok(output::json(&json!({ "name": name }))?);
    }
    println!("{name}");
    Ok(())
}

/// What has to be true of a volume to be shown.
enum Filter {
    Name(String),
    Label(String, Option<String>),
    Dangling(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text.split_once('=') {
            Some(("name", name)) => Self::Name(name.to_owned()),
            Some(("label", label)) => match label.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            },
            Some(("dangling", "true" | "1")) => Self::Dangling(true),
            Some(("dangling", "false" | "0")) => Self::Dangling(false),
            _ => {
                return Err(Usage(format!(
                    "--filter {text}: must be name=TEXT, label=NAME[=VALUE] or dangling=true|false"
                ))
                .into());
            }
        })
    }

    fn accepts(&self, volume: &VolumeInfo) -> bool {
        match self {
            Self::Name(text) => volume.name.contains(text),
            Self::Label(name, value) => {
                let has = volume.labels.get(name);
                has.is_some_and(|has| value.as_ref().is_none_or(|value| has == value))
            }
            Self::Dangling(wanted) => volume.containers.is_empty() == *wanted,
        }
    }
}

fn list(env: &Env, filters: &[String], quiet: bool, format: Option<&str>) -> Result<()> {
    let template = format.map(Template::parse).transpose().map_err(Usage)?;
    let filters = filters.iter().map(|text| Filter::parse(text));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let mut all = volumes::list(&env.open()?)?;
    all.retain(|volume| filters.iter().all(|filter| filter.accepts(volume)));
    if let Some(template) = template {
        for volume in &all {
            let text = template.fill(&serde_json::to_value(volume)?);
            println!("{}", text.map_err(Usage)?);
        }
        return Ok(());
    }
    if env.json {
        return Ok(output::report(&all)?);
    }
    if quiet {
        all.iter().for_each(|volume| println!("{}", volume.name));
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "CREATED", "USED BY"]);
    for volume in all {
        table.row(vec![
            volume.name,
            volume.created,
            volume.containers.join(", "),
        ]);
    }
    Ok(table.print()?)
}

fn inspect(env: &Env, names: &[String]) -> Result<()> {
    let repo = env.open()?;
    let all = names.iter().map(|name| volumes::info(&repo, name));
    Ok(output::report(
        &all.collect::<cairn_container::Result<Vec<_>>>()?,
    )?)
}

fn prune(env: &Env, all: bool) -> Result<()> {
    let removed = volumes::prune(&env.open()?, all)?;
    if env.json {
        return Ok(output::json(&json!({ "removed": removed }))?);
    }
    removed.iter().for_each(|name| println!("{name}"));
    Ok(())
}
