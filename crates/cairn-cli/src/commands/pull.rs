//! `pull`, and images that other commands pull.

use std::sync::Arc;

use anyhow::Result;
use cairn_image::Platform;
use cairn_model::{Class, Reference};
use cairn_registry::{Client, Location};
use cairn_repo::{PullOptions, Pulled, Repo, Settings};
use cairn_snapshot::Snapshotter as _;

use super::images::tell_names;
use super::{Env, events};
use crate::args::{Pull, When};
use crate::output::{self, size};
use crate::progress::Bar;
use crate::report::image::{PulledLine, names};

/// `cairn pull`: goes on after an image that cannot be pulled, and tells so by its exit code.
pub fn pull(env: &Env, args: &Pull) -> Result<u8> {
    let settings = env.settings()?;
    let platform = args.platform.clone().or_else(|| settings.platform.clone());
    let options = PullOptions {
        platform: platform.unwrap_or_else(Platform::host),
    };
    let repo = env.open_with(env.options_by(&settings))?;
    let registry = registry(env, &repo, &settings)?;
    let bar = Bar::new("pulling");
    env.watch.report_to(bar.clone());
    let mut done = Vec::new();
    let mut code = 0;
    for reference in &args.references {
        let pulled = one(&repo, reference, &registry, &options);
        // Nobody wants the others either.
        env.watch.check()?;
        let mut line = PulledLine {
            reference,
            pulled: None,
            error: None,
        };
        match pulled {
            Ok(pulled) => {
                events::image(&repo, "pull", &pulled.image.id, pulled.image.names.first());
                line.pulled = Some(pulled);
            }
            Err(e) => {
                line.error = Some(cairn_model::one_line(e.as_ref()));
                bar.aside(|| output::print_error(&e));
                code = output::exit_code(&e).max(code);
            }
        }
        if let (Some(pulled), false) = (&line.pulled, env.json) {
            bar.aside(|| tell(pulled));
        }
        done.push(line);
    }
    drop(bar);
    if env.json {
        output::report(&done)?;
    }
    Ok(code)
}

/// The repository, for a command that pulls at times.
pub fn open(env: &Env, when: When) -> Result<Repo> {
    match env.open() {
        Err(e) if when != When::Never && is_missing(&e) => env.open_or_create(),
        done => done,
    }
}

/// The same, with an image.
pub fn open_with(env: &Env, reference: &str, when: When) -> Result<Repo> {
    let repo = open(env, when)?;
    provide(env, &repo, reference, when)?;
    Ok(repo)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<cairn_repo::Error>();
    error.is_some_and(|e| e.class() == Class::NotFound)
}

/// Pulls an image where it has to be. What can be no image of a registry (an id, a snapshot that is there) is not
/// asked for.
pub fn provide(env: &Env, repo: &Repo, reference: &str, when: When) -> Result<()> {
    if when == When::Never {
        return Ok(());
    }
    let Ok(Reference::Name(name, _)) = reference.parse::<Reference>() else {
        return Ok(());
    };
    match repo.images().find(reference) {
        Ok(_) if when == When::Missing => return Ok(()),
        Ok(image) if image.names.contains(&name) => {}
        // An id, or the start of one.
        Ok(_) => return Ok(()),
        Err(cairn_repo::Error::NoImage(_)) => {}
        Err(e) => return Err(e.into()),
    }
    let snapshot = reference.parse().ok();
    if snapshot.is_some_and(|key| repo.snapshots().stat(&key).is_ok()) {
        return Ok(());
    }
    let settings = env.settings()?;
    let registry = registry(env, repo, &settings)?;
    let platform = settings.platform.clone().unwrap_or_else(Platform::host);
    let bar = Bar::new("pulling");
    env.watch.report_to(bar.clone());
    let pulled = one(repo, reference, &registry, &PullOptions { platform });
    drop(bar);
    match (pulled, when) {
        (Ok(_), _) => Ok(()),
        (Err(e), When::Always) => Err(e),
        (Err(e), _) => Err(e.context(format!(
            "image {reference} is not present, and cannot be pulled"
        ))),
    }
}

fn registry(env: &Env, repo: &Repo, settings: &Settings) -> Result<cairn_registry::Options> {
    Ok(cairn_registry::Options {
        watch: env.watch.clone(),
        downloads: Some(repo.downloads()?),
        ..settings.registry()
    })
}

fn one(
    repo: &Repo,
    reference: &str,
    registry: &cairn_registry::Options,
    options: &PullOptions,
) -> Result<Pulled> {
    let location: Location = reference.parse()?;
    let registry = cairn_registry::Options {
        credentials: cairn_registry::credentials(&location)?,
        ..registry.clone()
    };
    let client = Arc::new(Client::new(&location, registry));
    Ok(repo.images().pull(&client, &location, options)?)
}

fn tell(pulled: &Pulled) {
    let image = &pulled.image;
    let named = names(&image.names).join(", ");
    let name = if named.is_empty() {
        "(no name)"
    } else {
        &named
    };
    println!("{name}  {}", image.id);
    println!(
        "  {} layers, {} already present; new {}, stored as {}; manifest {}",
        image.layers,
        image.layers_present,
        size(image.stats.bytes_new),
        size(image.stats.bytes_stored),
        pulled.digest,
    );
    tell_names(image);
}
