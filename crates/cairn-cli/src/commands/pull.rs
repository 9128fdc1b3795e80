//! `pull`, and images that other commands pull.

use anyhow::{Result, bail};
use cairn_image::Platform;
use cairn_model::{Class, Reference};
use cairn_repo::{Pulled, Repo};
use cairn_snapshot::Snapshotter as _;

use super::images::tell_names;
use super::registry::Registry;
use super::{Env, events};
use crate::args::{Pull, When, Wire};
use crate::output::{self, size};
use crate::progress::Transfers;
use crate::report::image::{PulledLine, names};

/// `cairn pull`: goes on after an image that cannot be pulled, and tells so by its exit code.
pub fn pull(env: &Env, args: &Pull) -> Result<u8> {
    let settings = env.settings()?;
    let repo = env.open_with(env.options_by(&settings))?;
    let registry = Registry::of(env, &settings, &args.wire)?
        .into(&repo, args.platform.as_ref())?
        .with_referrers(args.referrers);
    let progress = Transfers::new("pulling", args.wire.progress);
    env.watch.report_to(progress.clone());
    let mut pulls = Pulls {
        env,
        repo: &repo,
        registry: &registry,
        progress: &progress,
        done: Vec::new(),
        code: 0,
    };
    for reference in &args.references {
        match args.all_tags {
            false => pulls.one(reference)?,
            true => pulls.all_tags(reference)?,
        }
    }
    let Pulls { done, code, .. } = pulls;
    drop(progress);
    if env.json {
        output::report(&done)?;
    }
    Ok(code)
}

/// Several pulls, of which some may fail.
struct Pulls<'a> {
    env: &'a Env,
    repo: &'a Repo,
    registry: &'a Registry,
    progress: &'a Transfers,
    done: Vec<PulledLine>,
    code: u8,
}

impl Pulls<'_> {
    fn all_tags(&mut self, reference: &str) -> Result<()> {
        match self.registry.all_tags(reference) {
            Ok(tags) => tags.iter().try_for_each(|tag| self.one(tag)),
            Err(e) => self.note(reference, Err(e)),
        }
    }

    fn one(&mut self, reference: &str) -> Result<()> {
        self.progress.begin(reference);
        let pulled = self.registry.pull(self.repo, reference);
        self.note(reference, pulled.map(|(_, pulled)| pulled))
    }

    fn note(&mut self, reference: &str, pulled: Result<Pulled>) -> Result<()> {
        // Nobody wants the others either.
        self.env.watch.check()?;
        let mut line = PulledLine {
            reference: reference.to_owned(),
            pulled: None,
            error: None,
        };
        match pulled {
            Ok(pulled) => {
                let image = &pulled.image;
                events::image(self.repo, "pull", &image.id, image.names.first());
                if !self.env.json {
                    self.progress.aside(|| tell(&pulled));
                }
                line.pulled = Some(pulled);
            }
            Err(e) => {
                line.error = Some(cairn_model::one_line(e.as_ref()));
                self.progress.aside(|| output::print_error(&e));
                self.code = output::exit_code(&e).max(self.code);
            }
        }
        self.done.push(line);
        Ok(())
    }
}

/// The repository, for a command that pulls at times.
pub fn open(env: &Env, when: When) -> Result<Repo> {
    match env.open() {
        Err(e) if when != When::Never && is_missing(&e) => env.open_or_create(),
        done => done,
    }
}

/// What a command that pulls at times wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// When to pull.
    pub when: When,
    /// What the image has to be for, where that was said.
    pub platform: Option<&'a Platform>,
}

impl Wanted<'_> {
    /// True where an image, if it is there, is for the platform.
    fn fits(&self, repo: &Repo, text: &str) -> bool {
        let Some(platform) = self.platform else {
            return true;
        };
        let found = repo.images().find(text);
        found.map_or(true, |image| {
            platform.rank(&image.config.platform()).is_some()
        })
    }
}

/// The same, with an image, and what it is to be called.
pub fn open_with(env: &Env, reference: &str, wanted: Wanted<'_>) -> Result<(Repo, String)> {
    let repo = open(env, wanted.when)?;
    let reference = provide(env, &repo, reference, wanted)?;
    Ok((repo, reference))
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<cairn_repo::Error>();
    error.is_some_and(|e| e.class() == Class::NotFound)
}

/// True where what was found will do as it is.
fn will_do(repo: &Repo, reference: &Reference, text: &str, when: When) -> Result<bool> {
    match (repo.images().find(text), reference) {
        (Ok(image), Reference::Name(name, _)) => {
            // An id, or the start of one, leads to one image for ever, and so does a digest.
            Ok(when == When::Missing || !image.names.contains(name))
        }
        (Ok(_), _) => Ok(true),
        (Err(cairn_repo::Error::NoImage(_)), _) => {
            let snapshot = text.parse().ok();
            Ok(snapshot.is_some_and(|key| repo.snapshots().stat(&key).is_ok()))
        }
        (Err(e), _) => Err(e.into()),
    }
}

/// Pulls an image where it has to be; what it is called here. What can be no image of a registry (an id, a snapshot
/// that is there) is not asked for.
pub fn provide(env: &Env, repo: &Repo, reference: &str, wanted: Wanted<'_>) -> Result<String> {
    let Wanted { when, platform } = wanted;
    let fits = wanted.fits(repo, reference);
    let parsed = reference.parse::<Reference>();
    let named = match &parsed {
        Ok(Reference::Name(..)) => true,
        // The digest of a manifest.
        Ok(Reference::Id(_)) => reference.find('@').is_some_and(|at| at > 0),
        _ => false,
    };
    let (true, Ok(parsed)) = (named && when != When::Never, parsed) else {
        let other = platform.filter(|_| !fits);
        return match other {
            Some(platform) => bail!(
                "image {reference} is present, but not for {platform}; pull it by its name with \"cairn pull --platform {platform}\""
            ),
            None => Ok(reference.to_owned()),
        };
    };
    if fits && will_do(repo, &parsed, reference, when)? {
        return Ok(reference.to_owned());
    }
    let registry = Registry::of(env, &env.settings()?, &Wire::default())?.into(repo, platform)?;
    if when == When::Missing {
        // What the name stands for may be here.
        for location in registry.meant(reference)? {
            let text = location.to_string();
            if repo.images().find(&text).is_ok() && wanted.fits(repo, &text) {
                return Ok(text);
            }
        }
    }
    let progress = Transfers::new("pulling", crate::args::Progress::Auto);
    env.watch.report_to(progress.clone());
    let pulled = registry.pull(repo, reference);
    drop(progress);
    match (pulled, when) {
        (Ok((location, _)), _) => Ok(location.to_string()),
        (Err(e), When::Always) => Err(e),
        (Err(e), _) => Err(e.context(format!(
            "image {reference} is not present, and cannot be pulled"
        ))),
    }
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
    if let Some(chunks) = &pulled.chunks {
        println!(
            "  {} layers from chunks; fetched {} blobs, {}",
            chunks.layers,
            chunks.blobs,
            size(chunks.bytes),
        );
    }
    if let Some(count) = pulled.referrers {
        println!("  kept what refers to it: {count}");
    }
    tell_names(image);
}
