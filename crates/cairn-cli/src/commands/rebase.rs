//! `rebase`, `which`.

use anyhow::{Result, bail};
use cairn_model::{ImageRef, path_display};
use cairn_repo::{Holder, Sought};

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
    if env.json {
        let mut value = serde_json::to_value(&done)?;
        value["name"] = name.to_string().into();
        return Ok(output::json(&value)?);
    }
    println!("{name}  {}", done.image.id);
    println!(
        "  {} layers on a new base in place of {}; the image as it was is {}",
        done.layers_kept,
        done.layers_replaced,
        done.from.short()
    );
    for path in done.both_changed.iter().map(|path| path_display(path)) {
        output::say(&format!(
            "/{path} is changed by the new base and by the image, whose version is seen; compare them"
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
        return Ok(output::report(&found)?);
    }
    if found.is_empty() {
        println!("nothing in the repository holds it");
        return Ok(());
    }
    let mut table = Table::new(&["HOLDER", "NAME", "PATH", "SEEN"]);
    for held in &found {
        let name = match &held.holder {
            Holder::Layer { id, diff_id } => diff_id.map_or(id.short(), |diff_id| diff_id.short()),
            Holder::Image { id, names } if names.is_empty() => id.short(),
            Holder::Image { names, .. } => names.join(", "),
            Holder::Snapshot(key) | Holder::Head(key) => key.to_string(),
            _ => continue,
        };
        let seen = if held.visible { "yes" } else { "covered" };
        let kind = held.holder.kind().into();
        table.row(vec![kind, name, held.rooted_path(), seen.into()]);
    }
    Ok(table.print()?)
}
