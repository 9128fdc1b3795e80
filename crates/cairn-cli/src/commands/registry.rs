//! Registries as commands deal with them: settings, credentials, mirrors, and what a reference means.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use cairn_image::Platform;
use cairn_model::{Class, one_line};
use cairn_registry::{Client, Location, Options, Registries, Source};
use cairn_repo::{Estimate, PullOptions, Pulled, Repo, Settings};

use super::{Env, sign};
use crate::args::Wire;
use crate::output;

/// What a command has to know of registries.
pub struct Registry {
    known: Registries,
    options: Options,
    authfile: Option<PathBuf>,
    pull: PullOptions,
}

impl Registry {
    /// By the settings of the repository and what was given with the command.
    pub fn of(env: &Env, settings: &Settings, wire: &Wire) -> Result<Self> {
        let mut options = Options {
            watch: env.watch.clone(),
            ..settings.registry()
        };
        if let Some(jobs) = wire.jobs {
            options.jobs = jobs as usize;
        }
        let platform = settings.platform.clone();
        Ok(Self {
            known: Registries::load()?,
            pull: PullOptions {
                platform: platform.unwrap_or_else(Platform::host),
                jobs: options.jobs,
                policy: None,
                referrers: false,
            },
            options,
            authfile: wire.authfile.clone(),
        })
    }

    /// The same for pulling into a repository, for a platform if one is given.
    pub fn into(mut self, repo: &Repo, platform: Option<&Platform>) -> Result<Self> {
        self.options.downloads = Some(repo.downloads()?);
        self.pull.policy = sign::policy()?;
        Ok(match platform {
            Some(platform) => self.for_platform(platform),
            None => self,
        })
    }

    /// The same for another platform.
    #[must_use]
    pub fn for_platform(mut self, platform: &Platform) -> Self {
        self.pull.platform = platform.clone();
        self
    }

    /// The same, where what refers to an image may be kept.
    #[must_use]
    pub fn with_referrers(mut self, keep: bool) -> Self {
        self.pull.referrers = keep;
        self
    }

    /// How many layers go at once.
    pub fn jobs(&self) -> usize {
        self.options.jobs
    }

    /// What a reference means, in the order to try.
    pub fn meant(&self, reference: &str) -> Result<Vec<Location>> {
        Ok(self.known.meant(reference)?)
    }

    fn client(&self, source: &Source) -> Result<Client> {
        let credentials = cairn_registry::credentials(&source.location, self.authfile.as_deref())?;
        let options = Options {
            credentials,
            ..self.options.clone()
        };
        Ok(Client::at(source, options))
    }

    /// Makes clients for pushing to a place, which may take blobs from some repositories of its registry.
    pub fn pusher(&self, to: &Location) -> Result<impl Fn(&[String]) -> Client + use<>> {
        let target = self.known.target(to)?;
        let credentials = cairn_registry::credentials(&target.location, self.authfile.as_deref())?;
        let options = Options {
            credentials,
            ..self.options.clone()
        };
        Ok(move |from: &[String]| Client::at(&target, options.clone()).for_push(from))
    }

    /// Does something with the first source that it can be done with: mirrors, then the registry itself.
    pub fn with_any<T>(
        &self,
        location: &Location,
        work: impl Fn(Client) -> Result<T>,
    ) -> Result<T> {
        let mut sources = self.known.sources(location)?;
        let own = sources.pop().unwrap_or_else(|| location.clone().into());
        let mut refused = Vec::new();
        for mirror in sources {
            match self.client(&mirror).and_then(&work) {
                Ok(done) => return Ok(done),
                Err(e) => {
                    // Whoever ended it wants no other source either.
                    self.options.watch.check()?;
                    let why = one_line(e.as_ref());
                    tracing::warn!(mirror = %mirror.location, why, "go on with the next source");
                    refused.push(format!("{}: {why}", mirror.location));
                }
            }
        }
        let done = self.client(&own).and_then(work);
        match refused.is_empty() {
            true => done,
            false => done.with_context(|| format!("no mirror has it ({})", refused.join("; "))),
        }
    }

    /// Pulls what a reference means: what was found, and the image.
    pub fn pull(&self, repo: &Repo, reference: &str) -> Result<(Location, Pulled)> {
        self.with_meant(reference, |client, location| {
            Ok(repo
                .images()
                .pull(&Arc::new(client), location, &self.pull)?)
        })
    }

    /// What pulling it would fetch.
    pub fn estimate(&self, repo: &Repo, reference: &str) -> Result<Estimate> {
        let estimated = self.with_meant(reference, |client, location| {
            let images = repo.images();
            Ok(images.estimate_pull(&Arc::new(client), location, &self.pull)?)
        });
        estimated.map(|(_, estimate)| estimate)
    }

    /// Does something with the first that a reference means and that is there.
    fn with_meant<T>(
        &self,
        reference: &str,
        work: impl Fn(Client, &Location) -> Result<T>,
    ) -> Result<(Location, T)> {
        let mut meant = self.meant(reference)?.into_iter().peekable();
        while let Some(location) = meant.next() {
            match self.with_any(&location, |client| work(client, &location)) {
                Err(e) if meant.peek().is_some() && is_missing(&e) => {}
                done => return Ok((location, done?)),
            }
        }
        anyhow::bail!("{reference} is nowhere to be had")
    }

    /// References of all tags of a repository.
    pub fn all_tags(&self, reference: &str) -> Result<Vec<String>> {
        let last = reference.rsplit('/').next().unwrap_or_default();
        if last.contains([':', '@']) {
            let why = format!("{reference} names one image; --all-tags takes a repository");
            return Err(output::Usage(why).into());
        }
        let location = self.meant(reference)?.into_iter().next();
        let location = location.with_context(|| format!("{reference} is no repository"))?;
        let repository = format!("{}/{}", location.registry(), location.repository());
        let tags = self.with_any(&location, |client| Ok(client.tags()?))?;
        let name = |tag: String| format!("{repository}:{tag}");
        Ok(tags.into_iter().map(name).collect())
    }
}

/// True where the registry says that there is no such thing.
fn is_missing(error: &anyhow::Error) -> bool {
    let class = |cause: &(dyn std::error::Error + 'static)| {
        let registry = cause.downcast_ref::<cairn_registry::Error>();
        let repo = cause.downcast_ref::<cairn_repo::Error>();
        let class = registry.map(cairn_registry::Error::class);
        class.or_else(|| repo.map(cairn_repo::Error::class))
    };
    error
        .chain()
        .filter_map(class)
        .any(|c| c == Class::NotFound)
}
