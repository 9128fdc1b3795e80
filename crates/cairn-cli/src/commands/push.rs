//! `push`.

use anyhow::Result;
use cairn_model::{ImageRef, Reference};
use cairn_registry::Location;
use cairn_repo::{PushOptions, Pushed};
use serde::Serialize;

use super::registry::Registry;
use super::{Env, sign};
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
    let key = args.sign_by.as_deref().map(sign::signing_key).transpose()?;
    let options = PushOptions {
        sign_by: key.as_ref(),
        packing: args.compression,
        jobs: Some(registry.jobs()),
        chunks: args.chunks || (!args.no_chunks && settings.push_chunks.unwrap_or(false)),
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
    if let Some(chunks) = &pushed.chunks {
        println!(
            "  chunks of {} layers: {} blobs, {} already present; sent {}; {}",
            chunks.layers,
            chunks.blobs,
            chunks.blobs_present,
            size(chunks.bytes_sent),
            chunks.digest
        );
    }
    if let Some(referrers) = &pushed.referrers {
        println!("  of what refers to it: {} pushed", referrers.carried);
        if let Some(why) = referrers.why {
            println!("  {} not pushed: {why}", referrers.left);
        }
    }
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
