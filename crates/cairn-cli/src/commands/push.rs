//! `push`.

use anyhow::Result;
use cairn_model::{ImageRef, Reference};
use cairn_registry::Location;
use cairn_repo::{PushOptions, Pushed};
use serde::Serialize;

use super::Env;
use super::registry::Registry;
use crate::args::Push;
use crate::output::{self, Usage, size};
use crate::progress::Transfers;

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
    let settings = env.settings()?;
    let repo = env.open()?;
    let registry = Registry::of(env, &settings, &args.wire)?;
    let location = Location::from(destination);
    let client = registry.pusher(&location)?;
    let progress = Transfers::new("pushing", args.wire.progress);
    env.watch.report_to(progress.clone());
    progress.begin(&location.to_string());
    let options = PushOptions {
        packing: args.compression,
        jobs: Some(registry.jobs()),
    };
    let pushed = repo
        .images()
        .push(&args.image, &location, &client, &options)?;
    drop(progress);
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
