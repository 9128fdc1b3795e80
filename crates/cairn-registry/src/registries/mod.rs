//! `registries.conf` of the containers world, version 2: where a registry really is, which mirrors it has, and what a
//! name without a registry means.
//!
//! A name stays what it is, wherever the image came from. What is pushed goes to the very place that is named:
//! locations and mirrors are for pulls.

mod file;
mod load;
mod rule;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::location::Location;
use rule::Rule;

/// The registry that Docker completes names with.
const DOCKER: &str = "docker.io";

/// Which registries a name without one may mean, if there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    /// None of them: the name is refused.
    #[default]
    Enforcing,
    /// The first that has it.
    Any,
}

/// What the files say.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    rules: Vec<Rule>,
    /// Registries for names without one, and the file that names them.
    search: Option<(Vec<String>, PathBuf)>,
    mode: Mode,
    /// Names without a registry and what they stand for.
    aliases: Vec<(String, String)>,
}

/// A place to pull an image from, or to push one to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Registry, repository, and what is asked for there.
    pub location: Location,
    /// True where plain http, and certificates that nobody vouches for, will do.
    pub insecure: bool,
    /// True for a mirror.
    pub mirror: bool,
}

impl From<Location> for Source {
    fn from(location: Location) -> Self {
        Self {
            location,
            insecure: false,
            mirror: false,
        }
    }
}

impl Registries {
    /// The rule of the longest prefix that fits, and where in the reference the prefix ends.
    fn rule(&self, full: &str) -> Option<(&Rule, usize)> {
        let fits = self
            .rules
            .iter()
            .filter_map(|rule| Some((rule, rule.end_in(full)?)));
        fits.max_by_key(|(rule, _)| rule.prefix.len())
    }

    /// Where the image is to be had, in the order to try: mirrors first.
    ///
    /// # Errors
    /// Where the registry is blocked, or a location cannot be one.
    pub fn sources(&self, location: &Location) -> Result<Vec<Source>> {
        let full = location.full();
        let Some((rule, end)) = self.rule(&full) else {
            return Ok(vec![location.clone().into()]);
        };
        rule.refuse_if_blocked(location)?;
        let (rest, pinned) = (&full[end..], location.digest().is_some());
        let mirrors = rule.mirrors.iter().filter(|mirror| mirror.serves(pinned));
        let mut out = Vec::new();
        for mirror in mirrors {
            out.push(Source {
                location: rule.moved(&mirror.location, rest)?,
                insecure: mirror.insecure,
                mirror: true,
            });
        }
        out.push(Source {
            location: match rule.location.as_str() {
                "" => location.clone(),
                to => rule.moved(to, rest)?,
            },
            insecure: rule.insecure,
            mirror: false,
        });
        Ok(out)
    }

    /// Where an image is pushed to: the place that is named.
    ///
    /// # Errors
    /// Where the registry is blocked.
    pub fn target(&self, location: &Location) -> Result<Source> {
        let mut target = Source::from(location.clone());
        if let Some((rule, _)) = self.rule(&location.full()) {
            rule.refuse_if_blocked(location)?;
            target.insecure = rule.insecure;
        }
        Ok(target)
    }

    /// What a reference means: itself where it names a registry, else what an alias or the registries that are
    /// searched make of it, in the order to try. Without any it is completed as Docker does.
    ///
    /// # Errors
    /// Where it is no reference, or may mean several images.
    pub fn meant(&self, text: &str) -> Result<Vec<Location>> {
        let location: Location = text.parse()?;
        if location.registry() != DOCKER || names_docker(text) {
            return Ok(vec![location]);
        }
        let (name, rest) = text.split_at(name_len(text));
        if let Some((_, target)) = self.aliases.iter().find(|(alias, _)| alias == name) {
            return Ok(vec![format!("{target}{rest}").parse()?]);
        }
        match &self.search {
            None => Ok(vec![location]),
            Some((search, file)) if search.len() > 1 && self.mode == Mode::Enforcing => {
                Err(Error::Configuration {
                    file: file.display().to_string(),
                    why: format!(
                        "{text} may be in {}; name the registry",
                        search.join(" or ")
                    ),
                })
            }
            Some((search, _)) => search
                .iter()
                .map(|registry| format!("{registry}/{text}").parse())
                .collect(),
        }
    }
}

/// True where Docker's registry is named and not merely meant.
fn names_docker(text: &str) -> bool {
    [DOCKER, "index.docker.io"].iter().any(|host| {
        text.strip_prefix(host)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Length of a reference without tag and digest, which has no registry.
fn name_len(text: &str) -> usize {
    text.find([':', '@']).unwrap_or(text.len())
}

#[cfg(test)]
mod tests;
