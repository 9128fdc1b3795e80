//! `rebase`, `which`.

use anyhow::{Result, bail};
use cairn_model::{ImageRef, path_display};
use cairn_repo::{Holder, Holding, Sought};
use serde_json::{Value, json};

use super::Env;
use crate::args::{Rebase, Which};
use crate::output::{self, Table};

/// `cairn rebase`
pub fn rebase(env: &Env, args: &Rebase) -> Result<()> {
    let repo = env.open()?;
    let images = repo.images();
    let image = images.find(&args.image)?;
    let (old, new) = (images.find(&args.old_base)?, images.find(&args.new_base)?);
    // Given by a name, that name moves on; an id says nothing of where the result should be found.
    let named = args.image.parse::<ImageRef>().ok();
    let own = named.filter(|name| image.names.contains(name));
    let Some(name) = args.name.clone().or(own) else {
        bail!(
            "{} is not a name; give the new image one with --name",
            args.image
        );
    };
    let done = images.rebase(&image, &old, &new, Some(&name))?;
    let both: Vec<String> = done.both_changed.iter().map(|path| shown(path)).collect();
    if env.json {
        return Ok(output::json(&json!({
            "id": done.image.id.to_string(),
            "name": name.to_string(),
            "from": done.from.to_string(),
            "layers_replaced": done.layers_replaced,
            "layers_kept": done.layers_kept,
            "both_changed": both,
        }))?);
    }
    println!("{name}  {}", done.image.id);
    println!(
        "  {} layers on a new base in place of {}; the image as it was is {}",
        done.layers_kept,
        done.layers_replaced,
        done.from.short()
    );
    for path in both {
        output::say(&format!(
            "{path} is changed by the new base and by the image, whose version is seen; compare them"
        ));
    }
    Ok(())
}

/// `cairn which`
pub fn which(env: &Env, args: &Which) -> Result<()> {
    let repo = env.open()?;
    let images = repo.images();
    let sought = match &args.image {
        Some(image) => images.content_of(
            &images.find(image)?,
            args.what.as_os_str().as_encoded_bytes(),
        )?,
        None => Sought::parse(&args.what)?,
    };
    let found = images.which(&sought)?;
    if env.json {
        return Ok(output::json(&found.iter().map(holding).collect())?);
    }
    if found.is_empty() {
        println!("nothing in the repository holds it");
        return Ok(());
    }
    let mut table = Table::new(&["HOLDER", "NAME", "PATH", "SEEN"]);
    for held in &found {
        let (kind, name) = match &held.holder {
            Holder::Layer { id, diff_id } => (
                "layer",
                diff_id.map_or(id.short(), |diff_id| diff_id.short()),
            ),
            Holder::Image { id, names } if names.is_empty() => ("image", id.short()),
            Holder::Image { names, .. } => ("image", names.join(", ")),
            Holder::Snapshot(key) => ("snapshot", key.to_string()),
            Holder::Head(key) => ("head", key.to_string()),
            _ => continue,
        };
        let seen = if held.visible { "yes" } else { "covered" };
        table.row(vec![kind.into(), name, shown(&held.path), seen.into()]);
    }
    Ok(table.print()?)
}

fn shown(path: &[u8]) -> String {
    format!("/{}", path_display(path))
}

fn holding(held: &Holding) -> Value {
    let (kind, name, names) = match &held.holder {
        Holder::Layer { id, diff_id } => {
            let name = diff_id.map_or(id.to_string(), |diff_id| diff_id.to_string());
            ("layer", name, None)
        }
        Holder::Image { id, names } => ("image", id.to_string(), Some(names)),
        Holder::Snapshot(key) => ("snapshot", key.to_string(), None),
        Holder::Head(key) => ("head", key.to_string(), None),
        _ => ("other", String::new(), None),
    };
    json!({"holder": kind, "name": name, "names": names, "path": shown(&held.path), "visible": held.visible})
}
