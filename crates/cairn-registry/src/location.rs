//! Where an image is: a registry, a repository in it, and a tag or digest there.

use std::fmt;
use std::str::FromStr;

use cairn_model::{Digest, ImageRef};

use crate::error::{Error, Result};

/// `[HOST[:PORT]/]PATH[:TAG][@sha256:…]`, completed as Docker does. A digest decides, whatever the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    name: ImageRef,
    has_tag: bool,
    digest: Option<Digest>,
}

impl Location {
    /// Host and port of the registry, as the reference has them.
    pub fn registry(&self) -> &str {
        let full = self.name.full_repository();
        full.split_once('/').map_or(full, |(host, _)| host)
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        let full = self.name.full_repository();
        full.split_once('/').map_or(full, |(_, path)| path)
    }

    /// The tag, unless a digest takes its place.
    pub fn tag(&self) -> Option<&str> {
        self.digest.is_none().then(|| self.name.tag())
    }

    /// The digest of the manifest or index, if one is given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The whole reference, with the registry and everything that was given: `docker.io/library/py:1@sha256:…`.
    pub fn full(&self) -> String {
        let tag = match (self.has_tag, self.digest) {
            (false, Some(_)) => String::new(),
            _ => format!(":{}", self.name.tag()),
        };
        let digest = self.digest.map(|digest| format!("@{digest}"));
        let repository = self.name.full_repository();
        format!("{repository}{tag}{}", digest.unwrap_or_default())
    }

    /// What the registry is asked for: the digest, else the tag.
    pub fn reference(&self) -> String {
        self.digest
            .map_or_else(|| self.name.tag().to_owned(), |digest| digest.to_string())
    }

    /// The name that an image gets which is pulled from here: none where only a digest was given.
    pub fn name(&self) -> Option<&ImageRef> {
        self.has_tag.then_some(&self.name)
    }
}

impl From<ImageRef> for Location {
    fn from(name: ImageRef) -> Self {
        Self {
            name,
            has_tag: true,
            digest: None,
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, digest)) = text.split_once('@') else {
            return Ok(text.parse::<ImageRef>()?.into());
        };
        let parsed: ImageRef = name.parse()?;
        let wrong = || Error::Configuration {
            file: text.to_owned(),
            why: "the @ must be followed by sha256: and 64 lower-case hex digits".to_owned(),
        };
        // The last colon is one of a port where a slash follows.
        let has_tag = name
            .rsplit_once(':')
            .is_some_and(|(_, tag)| !tag.contains('/'));
        Ok(Self {
            name: parsed,
            has_tag,
            digest: Some(digest.parse().map_err(|_| wrong())?),
        })
    }
}

/// The short form, with the digest if there is one.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.has_tag, self.digest) {
            (_, None) => write!(f, "{}", self.name),
            (true, Some(digest)) => write!(f, "{}@{digest}", self.name),
            (false, Some(digest)) => write!(f, "{}@{digest}", self.name.repository()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_and_taken_apart() {
        let id = "sha256:".to_owned() + &"3f".repeat(32);
        for (text, registry, repository, reference, name) in [
            ("py", "docker.io", "library/py", "latest", Some("py:latest")),
            (
                "example/py:1",
                "docker.io",
                "example/py",
                "1",
                Some("example/py:1"),
            ),
            (
                "localhost:5000/a/b",
                "localhost:5000",
                "a/b",
                "latest",
                Some("localhost:5000/a/b:latest"),
            ),
            (&format!("host:5000/a@{id}"), "host:5000", "a", &id, None),
            (
                &format!("host:5000/a:2@{id}"),
                "host:5000",
                "a",
                &id,
                Some("host:5000/a:2"),
            ),
            (&format!("py@{id}"), "docker.io", "library/py", &id, None),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.registry(), registry, "{text}");
            assert_eq!(location.repository(), repository, "{text}");
            assert_eq!(location.reference(), reference, "{text}");
            assert_eq!(
                location.name().map(ImageRef::to_string).as_deref(),
                name,
                "{text}"
            );
            assert_eq!(location.to_string().parse::<Location>().unwrap(), location);
        }
        for bad in [
            "",
            "a@",
            "a@sha256:1",
            "@sha256:1",
            "A/b",
            "a@sha256:1@sha256:1",
            &id,
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
