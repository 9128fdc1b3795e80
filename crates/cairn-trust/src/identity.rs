//! Which names a signature may be for, in the words of a policy (`signedIdentity`).

use serde::Deserialize;

use crate::error::{Error, Result};

/// What the name in a signature has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The name that is asked for, with its tag.
    Exact,
    /// The same; where a digest is asked for, its repository with any tag.
    RepoDigestOrExact,
    /// The repository that is asked for, with any tag.
    Repository,
    /// This very name, with its tag.
    ExactReference(String),
    /// This repository, with any tag.
    ExactRepository(String),
}

// The braces are for what else a policy says there: of a variant without fields serde would pass it over.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Words {
    #[serde(rename = "matchExact")]
    Exact {},
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact {},
    #[serde(rename = "matchRepository")]
    Repository {},
    #[serde(rename = "exactReference")]
    ExactReference {
        #[serde(rename = "dockerReference")]
        reference: String,
    },
    #[serde(rename = "exactRepository")]
    ExactRepository {
        #[serde(rename = "dockerRepository")]
        repository: String,
    },
}

impl Identity {
    /// What a policy says.
    pub(crate) fn parse(value: &serde_json::Value) -> Result<Self> {
        let words: Words = serde_json::from_value(value.clone())
            .map_err(|e| Error::Policy(format!("signedIdentity: {e}")))?;
        Ok(match words {
            Words::Exact {} => Self::Exact,
            Words::RepoDigestOrExact {} => Self::RepoDigestOrExact,
            Words::Repository {} => Self::Repository,
            Words::ExactReference { reference } => Self::ExactReference(reference),
            Words::ExactRepository { repository } => Self::ExactRepository(repository),
        })
    }

    /// True where a signature for `signed` is one for the image `tag` of `repository`, which names its registry. No
    /// tag is given where a digest is asked for.
    ///
    /// A name without a tag, as cosign signs it, is no name with a tag: whoever wants that says `matchRepository`.
    pub fn fits(&self, signed: &str, repository: &str, tag: Option<&str>) -> bool {
        let (name, signed_tag) = split(signed);
        let same_tag = tag.is_some() && tag == signed_tag;
        match self {
            Self::Exact => name == repository && same_tag,
            Self::RepoDigestOrExact => name == repository && (tag.is_none() || same_tag),
            Self::Repository => name == repository,
            Self::ExactReference(exact) => (name, signed_tag) == split(exact),
            Self::ExactRepository(exact) => name == exact,
        }
    }
}

/// Repository and tag of a name; a digest after it says nothing.
fn split(name: &str) -> (&str, Option<&str>) {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_or_do_not() {
        let parse = |text: &str| Identity::parse(&serde_json::from_str(text).unwrap());
        let exact = Identity::RepoDigestOrExact;
        assert!(!exact.fits("h:5000/a", "h:5000/a", Some("1")));
        assert!(!Identity::Exact.fits("h:5000/a", "h:5000/a", None));
        assert!(Identity::Exact.fits("h:5000/a:1", "h:5000/a", Some("1")));
        assert!(exact.fits("h:5000/a:1", "h:5000/a", Some("1")));
        assert!(exact.fits("h:5000/a:2", "h:5000/a", None));
        assert!(!exact.fits("h:5000/a:2", "h:5000/a", Some("1")));
        assert!(!exact.fits("h:5000/b", "h:5000/a", None));
        assert!(!exact.fits("h/a", "h:5000/a", None));
        let repository = parse(r#"{"type":"matchRepository"}"#).unwrap();
        assert!(repository.fits("h/a:2", "h/a", Some("1")) && !repository.fits("h/b", "h/a", None));
        let other = r#"{"type":"exactRepository","dockerRepository":"h/b"}"#;
        assert!(parse(other).unwrap().fits("h/b:3", "h/a", Some("1")));
        let other = r#"{"type":"exactReference","dockerReference":"h/b:1"}"#;
        let other = parse(other).unwrap();
        assert!(other.fits("h/b:1", "h/a", None) && !other.fits("h/b:2", "h/a", None));
        for unknown in [
            r#"{"type":"matchAnything"}"#,
            r#"{"type":"remapIdentity","prefix":"a","signedPrefix":"b"}"#,
            r#"{"type":"matchRepository","more":1}"#,
            "7",
        ] {
            assert!(parse(unknown).is_err(), "{unknown}");
        }
    }
}
