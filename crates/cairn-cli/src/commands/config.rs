//! `cairn config`: the settings of a repository.

use anyhow::Result;
use cairn_repo::{Repo, Setting, SettingsFile};
use cairn_store::Disk;
use serde_json::{Value, json};

use super::Env;
use crate::args::Config;
use crate::output::{self, Table};

/// `cairn config`
pub fn run(env: &Env, command: &Config) -> Result<()> {
    // It is not opened: with wrong settings, or a base that is elsewhere now, it may not, and this command
    // mends that.
    Repo::require(&env.root)?;
    let (root, disk) = (&env.root, &Disk::default());
    match command {
        Config::Get { key } => get(env, key),
        Config::List => list(env),
        Config::Set { key, value } => {
            SettingsFile::set(root, disk, key, value)?;
            changed(env, key)
        }
        Config::Unset { key } => {
            SettingsFile::unset(root, disk, key)?;
            changed(env, key)
        }
    }
}

/// A setting with the value that is in force.
struct InForce {
    setting: &'static Setting,
    value: String,
    from: From,
}

enum From {
    Default,
    Line(usize),
    Option,
}

fn in_force(env: &Env) -> Result<Vec<InForce>> {
    let file = SettingsFile::read(&env.root)?;
    file.settings()?;
    let values = file.values()?;
    let given = |name: &str| match name {
        "base-root" => env.base.as_ref().map(|base| base.display().to_string()),
        "verify" => env.verify.map(|verify| verify.to_string()),
        "driver" => env.driver.map(|driver| driver.to_string()),
        _ => None,
    };
    let one = |setting: &'static Setting| {
        let in_file = values.iter().find(|value| value.name == setting.name);
        let (value, from) = match (given(setting.name), in_file) {
            (Some(value), _) => (value, From::Option),
            (None, Some(value)) => (value.text.clone(), From::Line(value.line)),
            (None, None) => (setting.default(), From::Default),
        };
        InForce {
            setting,
            value,
            from,
        }
    };
    Ok(Setting::all().iter().map(one).collect())
}

fn as_json(one: &InForce) -> Value {
    let (source, line) = match one.from {
        From::Default => ("default", None),
        From::Line(line) => ("file", Some(line)),
        From::Option => ("option", None),
    };
    json!({
        "key": one.setting.name,
        "value": one.value,
        "source": source,
        "line": line,
        "default": one.setting.default(),
        "about": one.setting.about,
    })
}

fn get(env: &Env, key: &str) -> Result<()> {
    let setting = Setting::named(key)?;
    for one in in_force(env)? {
        if one.setting.name != setting.name {
            continue;
        }
        if env.json {
            return Ok(output::json(&as_json(&one))?);
        }
        println!("{}", one.value);
    }
    Ok(())
}

fn list(env: &Env) -> Result<()> {
    let all = in_force(env)?;
    if env.json {
        return Ok(output::json(&all.iter().map(as_json).collect())?);
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for one in all {
        let from = match one.from {
            From::Default => "default".to_owned(),
            From::Line(line) => format!("cairn.toml, line {line}"),
            From::Option => "option or environment".to_owned(),
        };
        table.row(vec![one.setting.name.to_owned(), one.value, from]);
    }
    Ok(table.print()?)
}

/// What is in force after a change; a program wants to read it, a person knows.
fn changed(env: &Env, key: &str) -> Result<()> {
    match env.json && Setting::named(key).is_ok() {
        true => get(env, key),
        false => Ok(()),
    }
}
