//! `rebase`, `flatten`, `which`.

use anyhow::{Result, bail};
use cairn_model::{ImageRef, path_display};
use cairn_repo::{Holder, Image, Sought};
use serde::Serialize;

use super::{Env, events};
use crate::args::{Flatten, Rebase, Which};
use crate::output::{self, Table, size};

/// A result with the name it was given.
#[derive(Serialize)]
struct Named<'a, R> {
    #[serde(flatten)]
    done: &'a R,
    name: String,
}

impl<'a, R> Named<'a, R> {
    fn of(name: &ImageRef, done: &'a R) -> Self {
        let name = name.to_string();
        Self { done, name }
    }
}

/// The name that was asked for, or that of the image, which then moves on; an id says nothing of where the
/// result should be found.
fn name_of_result(asked: Option<&ImageRef>, reference: &str, image: &Image) -> Result<ImageRef> {
    let named = reference.parse::<ImageRef>().ok();
    let own = named.filter(|name| image.names.contains(name));
    match asked.cloned().or(own) {
        Some(name) => Ok(name),
        None => bail!("{reference} is not a name; give the new image one with --name"),
    }
}

/// `cairn rebase`
pub fn rebase(env: &Env, args: &Rebase) -> Result<()> {
    let repo = env.open()?;
    let images = repo.images();
    let image = images.find(&args.image)?;
    let (old, new) = (images.find(&args.old_base)?, images.find(&args.new_base)?);
    let name = name_of_result(args.name.as_ref(), &args.image, &image)?;
    let done = images.rebase(&image, &old, &new, Some(&name))?;
    events::image(&repo, "rebase", &done.image.id, Some(&name));
    if env.json {
        return Ok(output::report(&Named::of(&name, &done))?);
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

/// `cairn flatten`
pub fn flatten(env: &Env, args: &Flatten) -> Result<()> {
    let repo = env.open()?;
    let image = repo.images().find(&args.image)?;
    let name = name_of_result(args.name.as_ref(), &args.image, &image)?;
    let done = repo.images().flatten(&image, args.keep_base, Some(&name))?;
    events::image(&repo, "flatten", &done.image.id, Some(&name));
    if env.json {
        return Ok(output::report(&Named::of(&name, &done))?);
    }
    println!("{name}  {}", done.image.id);
    println!(
        "  {} layers with {} became one with {}; the image as it was is {}",
        done.layers_merged,
        size(done.bytes_before),
        size(done.bytes_after),
        done.from.short()
    );
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
