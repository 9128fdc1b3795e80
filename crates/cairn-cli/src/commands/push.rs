//! `push`.

use anyhow::Result;
use cairn_model::{ImageRef, Reference};
use cairn_registry::{Client, Location};
use cairn_repo::{PushOptions, Pushed};
use serde::Serialize;

use super::Env;
use crate::args::Push;
use crate::output::{self, Usage, size};
use crate::progress::Bar;

/// What was pushed, and where.
#[derive(Serialize)]
struct PushedLine {
    reference: String,
    #[serde(flatten)]
    pushed: Pushed,
}

/// `cairn push`
pub fn push(env: &Env, args: &Push) -> Result<()> {
    let destination = match &args.destination {
        Some(name) => name.clone(),
        None => name(&args.image)?,
    };
    let location = Location::from(destination);
    let settings = env.settings()?;
    let repo = env.open()?;
    let registry = cairn_registry::Options {
        watch: env.watch.clone(),
        credentials: cairn_registry::credentials(&location)?,
        ..settings.registry()
    };
    let bar = Bar::new("pushing");
    env.watch.report_to(bar.clone());
    let client = |from: &[String]| Client::new(&location, registry.clone()).for_push(from);
    let options = PushOptions {
        packing: args.compression,
    };
    let pushed = repo
        .images()
        .push(&args.image, &location, &client, &options)?;
    drop(bar);
    let reference = location.to_string();
    if env.json {
        return Ok(output::report(&PushedLine { reference, pushed })?);
    }
    println!("{reference}  {}", pushed.digest);
    println!(
        "  {} layers, {} already present; sent {}",
        pushed.layers,
        pushed.layers_present,
        size(pushed.bytes_sent)
    );
    Ok(())
}

/// The name that an image is pushed to where no other is given.
fn name(image: &str) -> Result<ImageRef> {
    match image.parse::<Reference>() {
        Ok(Reference::Name(name, _)) => Ok(name),
        _ => Err(Usage(format!(
            "{image} is not a name; say where to push it: cairn push {image} NAME:TAG"
        ))
        .into()),
    }
}
