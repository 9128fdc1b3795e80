//! One `[[registry]]` table: which references it is about, and where they lead.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::location::Location;

/// What is said of the references that start with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Registry, or more of a reference; `*.example.com` for all hosts below one.
    pub prefix: String,
    /// What takes the prefix's place; empty where nothing does.
    pub location: String,
    pub insecure: bool,
    pub blocked: bool,
    pub mirrors: Vec<Mirror>,
    /// Where it is written.
    pub file: PathBuf,
}

/// Another place for the same images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub location: String,
    pub insecure: bool,
    pub by_digest: bool,
    pub by_tag: bool,
}

impl Mirror {
    /// True where it is asked for images that are named so.
    pub fn serves(&self, pinned: bool) -> bool {
        if pinned { self.by_digest } else { self.by_tag }
    }
}

impl Rule {
    /// Where the prefix ends in a reference that it fits.
    pub fn end_in(&self, full: &str) -> Option<usize> {
        match self.prefix.strip_prefix('*') {
            Some(domain) => {
                let host = full.split('/').next().unwrap_or_default();
                let name = host.split(':').next().unwrap_or_default();
                let below = name.strip_suffix(domain)?;
                (!below.is_empty()).then_some(name.len())
            }
            None => {
                let rest = full.strip_prefix(self.prefix.as_str())?;
                // A port makes another registry; a tag does not make another repository.
                let ends: &[char] = match self.prefix.contains('/') {
                    true => &['/', ':', '@'],
                    false => &['/'],
                };
                (rest.is_empty() || rest.starts_with(ends)).then_some(self.prefix.len())
            }
        }
    }

    /// The reference with `to` in the place of the prefix.
    pub fn moved(&self, to: &str, rest: &str) -> Result<Location> {
        let text = format!("{to}{rest}");
        text.parse().map_err(|e| Error::Configuration {
            file: self.file.display().to_string(),
            why: format!("{} leads to {text}: {e}", self.prefix),
        })
    }

    /// Fails where nothing is to be had from there.
    pub fn refuse_if_blocked(&self, location: &Location) -> Result<()> {
        match self.blocked {
            false => Ok(()),
            true => Err(Error::Configuration {
                file: self.file.display().to_string(),
                why: format!("{} is blocked, and with it {location}", self.prefix),
            }),
        }
    }
}
