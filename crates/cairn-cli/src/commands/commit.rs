//! `cairn commit`

use anyhow::{Result, bail};
use cairn_model::path_display;
use serde_json::{Value, json};

use super::Env;
use crate::args::Commit;
use crate::output::{self, Usage};

/// `cairn commit`
pub fn commit(env: &Env, args: &Commit) -> Result<()> {
    let repo = env.open()?;
    let options = cairn_container::Commit {
        name: args.name.clone(),
        author: args.author.clone().unwrap_or_default(),
        message: args.message.clone().unwrap_or_default(),
    };
    // Instructions are read before the container is held still.
    let apply = |config: Value| {
        changed(config, &args.change).map_err(|e| cairn_container::Error::Usage(e.to_string()))
    };
    let done = cairn_container::commit(&repo, &args.container, options, apply)?;
    for path in &done.left_out {
        eprintln!(
            "cairn: left out {}: layers hold no sockets, and commits no device nodes",
            path_display(path)
        );
    }
    if env.json {
        return Ok(output::json(
            &json!({"id": done.id.to_string(), "bytes_new": done.stats.bytes_new, "bytes_stored": done.stats.bytes_stored}),
        )?);
    }
    println!("{}", done.id);
    Ok(())
}

/// Applies `NAME VALUE` instructions, as `docker commit --change` has them.
fn changed(mut config: Value, changes: &[String]) -> Result<Value> {
    for change in changes {
        let (instruction, rest) = change.split_once([' ', '=']).unwrap_or((change, ""));
        let rest = rest.trim();
        let words = || match serde_json::from_str::<Vec<String>>(rest) {
            Ok(words) => json!(words),
            Err(_) => json!(["/bin/sh", "-c", rest]),
        };
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => config["Cmd"] = words(),
            "ENTRYPOINT" => config["Entrypoint"] = words(),
            "USER" => config["User"] = json!(rest),
            "WORKDIR" => config["WorkingDir"] = json!(rest),
            "ENV" => {
                let (name, value) = rest.split_once(['=', ' ']).unwrap_or((rest, ""));
                let mut env: Vec<String> =
                    serde_json::from_value(config["Env"].clone()).unwrap_or_default();
                env.retain(|variable| !variable.starts_with(&format!("{name}=")));
                env.push(format!("{name}={}", value.trim_matches('"')));
                config["Env"] = json!(env);
            }
            "LABEL" => {
                let (name, value) = rest.split_once(['=', ' ']).unwrap_or((rest, ""));
                if !config["Labels"].is_object() {
                    config["Labels"] = json!({});
                }
                config["Labels"][name] = json!(value.trim_matches('"'));
            }
            _ => bail!(Usage(format!(
                "change {change:?}: known are CMD, ENTRYPOINT, ENV, LABEL, USER and WORKDIR"
            ))),
        }
    }
    Ok(config)
}
