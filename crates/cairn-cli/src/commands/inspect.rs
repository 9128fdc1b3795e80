//! `cairn inspect`: an image, or else a container.

use anyhow::Result;
use cairn_image::without_values;
use cairn_model::{Digest, one_line};
use cairn_repo::Repo;
use serde_json::{Value, json};

use super::Env;
use super::template::Template;
use crate::output::{self, Usage};
use crate::report::image::{ImageLine, LayerLine};

/// `cairn inspect`
pub fn inspect(env: &Env, name: &str, format: Option<&str>, show_env: bool) -> Result<()> {
    let template = format.map(Template::parse).transpose().map_err(Usage)?;
    let repo = env.open()?;
    let value = match repo.images().find(name) {
        Err(cairn_repo::Error::NoImage(_)) => container(&repo, name, show_env)?,
        found => {
            let found = found?;
            let mut value = image(&found, show_env)?;
            value["referrers"] = match repo.images().referrers(&found) {
                // The image is as good as ever.
                Err(e) if e.is_corruption() => {
                    output::say(&format!("warning: {}", one_line(&e)));
                    Value::Null
                }
                kept => serde_json::to_value(kept?)?,
            };
            value
        }
    };
    match template {
        Some(template) => {
            let text = template.fill(&value).map_err(Usage)?;
            println!("{text}");
            Ok(())
        }
        None => Ok(output::json(&value)?),
    }
}

/// `cairn inspect --document`
pub fn document(env: &Env, name: &str, digest: &Digest) -> Result<()> {
    let repo = env.open()?;
    let image = repo.images().find(name)?;
    let bytes = repo.images().document(&image, digest)?;
    output::raw(&bytes);
    Ok(())
}

fn image(image: &cairn_repo::Image, show_env: bool) -> Result<Value> {
    // With the diff ids, once somebody has asked for them.
    let outside = image.outside()?;
    let digest = outside.as_ref().map(|config| config.digest().to_string());
    let mut config = outside.as_ref().unwrap_or(&image.config).value().clone();
    if !show_env {
        redact(&mut config);
    }
    let mut value = serde_json::to_value(ImageLine::from(image))?;
    value["top_snapshot"] = json!(image.row.top.as_ref().map(ToString::to_string));
    let layers: Vec<LayerLine> = image.layers.iter().map(LayerLine::from).collect();
    value["digest"] = json!(digest);
    value["layers"] = serde_json::to_value(layers)?;
    value["config"] = config;
    Ok(value)
}

fn container(repo: &Repo, name: &str, show_env: bool) -> Result<Value> {
    let (info, spec) = cairn_container::info(repo, name)?;
    let mut value = serde_json::to_value(&info)?;
    if let Some(spec) = spec {
        let mut spec = serde_json::to_value(spec)?;
        if !show_env {
            let mut config = json!({"config": {"Env": spec["env"]}});
            redact(&mut config);
            spec["env"] = config["config"]["Env"].take();
        }
        // The program is for the kernel; people want to know where it is from.
        spec["seccomp"] = spec["seccomp"]["profile"].take();
        value["launch"] = spec;
    }
    Ok(value)
}

/// Hides the values of environment variables: passwords end up there.
fn redact(config: &mut Value) {
    for pointer in ["/config/Env", "/container_config/Env"] {
        if let Some(Value::Array(env)) = config.pointer_mut(pointer) {
            for variable in env {
                let text = variable.as_str().unwrap_or_default();
                let name = text.split_once('=').map_or(text, |(name, _)| name);
                // Not a secret, and what people look for most.
                if name != "PATH" {
                    *variable = json!(format!("{name}=<hidden; use --show-env>"));
                }
            }
        }
    }
    for step in config["history"].as_array_mut().into_iter().flatten() {
        if let Some(by) = step["created_by"].as_str().map(without_values) {
            step["created_by"] = json!(by);
        }
    }
}
