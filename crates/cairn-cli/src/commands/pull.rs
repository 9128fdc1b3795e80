//! `pull`.

use std::sync::Arc;

use anyhow::Result;
use cairn_image::Platform;
use cairn_registry::{Client, Location};
use cairn_repo::{PullOptions, Pulled, Repo};

use super::Env;
use super::images::tell_names;
use crate::args::Pull;
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
    let registry = cairn_registry::Options {
        watch: env.watch.clone(),
        downloads: Some(repo.downloads()?),
        ..settings.registry()
    };
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
            Ok(pulled) => line.pulled = Some(pulled),
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

fn one(
    repo: &Repo,
    reference: &str,
    registry: &cairn_registry::Options,
    options: &PullOptions,
) -> Result<Pulled> {
    let location: Location = reference.parse()?;
    let client = Arc::new(Client::new(&location, registry.clone()));
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
