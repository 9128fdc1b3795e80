//! The configuration of a container: the image's, with what the user changed.

use std::path::Path;

use cairn_repo::Image;
use cairn_runtime::Text;
use serde_json::{Value, json};

use crate::command::CommandLine;
use crate::error::{Result, Step};
use crate::options::RunOptions;

/// File in a container's directory that holds it.
pub(crate) const CONFIG: &str = "config.json";

/// The image's configuration with what the user changed, for a commit (`docker commit` keeps it, too).
pub fn changed(
    image: Option<&Image>,
    options: &RunOptions,
    line: &CommandLine,
    env: &[Text],
    cwd: &Text,
    user: &str,
) -> Value {
    let of_image = image.and_then(|image| image.config.value().get("config"));
    let mut config = of_image
        .filter(|c| c.is_object())
        .cloned()
        .unwrap_or(json!({}));
    let words = |words: &[Text]| json!(words.iter().map(Text::lossy).collect::<Vec<_>>());
    if options.entrypoint.is_some() {
        config["Entrypoint"] = words(&line.entrypoint);
    }
    if options.entrypoint.is_some() || !options.command.is_empty() {
        config["Cmd"] = words(&line.command);
    }
    if !options.env.is_empty() || !options.env_files.is_empty() {
        config["Env"] = words(&last_of_each(env));
    }
    if options.workdir.is_some() {
        config["WorkingDir"] = json!(cwd.lossy());
    }
    if options.user.is_some() {
        config["User"] = json!(user);
    }
    for label in &options.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if !config["Labels"].is_object() {
            config["Labels"] = json!({});
        }
        config["Labels"][name] = json!(value);
    }
    if let Some(signal) = &options.stop_signal {
        config["StopSignal"] = json!(signal);
    }
    config
}

/// Each variable once, with the value that counts, in the order in which they came first.
fn last_of_each(env: &[Text]) -> Vec<Text> {
    let name = |v: &Text| {
        v.as_bytes()
            .split(|b| *b == b'=')
            .next()
            .map(<[u8]>::to_vec)
    };
    let mut places = std::collections::HashMap::new();
    let mut all: Vec<Text> = Vec::new();
    for variable in env {
        match places.get(&name(variable)) {
            Some(place) => {
                let place: &usize = place;
                all[*place] = variable.clone();
            }
            None => {
                places.insert(name(variable), all.len());
                all.push(variable.clone());
            }
        }
    }
    all
}

/// Writes it into the container's directory.
pub fn write(directory: &Path, config: &Value) -> Result<()> {
    use std::io::Write;
    let path = directory.join(CONFIG);
    let mut options = std::fs::File::options();
    // It has environment values.
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let bytes = serde_json::to_vec(config)
        .map_err(std::io::Error::other)
        .step("encode the container's configuration")?;
    options
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .step(format!("write {}", path.display()))
}
