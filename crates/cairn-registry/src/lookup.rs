//! What may be missing in a registry without being an error.

use cairn_model::{Class, Digest};
use ureq::http::Method;
use ureq::http::header::ACCEPT;

use crate::client::{Client, MANIFESTS};
use crate::error::{Failure, Result};
use crate::http::Question;

impl Client {
    /// The digest of what a tag names; none where there is no such tag, or the registry does not say.
    pub fn digest_of(&self, tag: &str) -> Result<Option<Digest>> {
        let read = || {
            let address = self.address(&format!("manifests/{tag}"))?;
            let answer = self.get(address, &mut |uri| {
                Question::of(Method::HEAD, uri).with(ACCEPT, MANIFESTS)
            })?;
            let stated = answer.header("docker-content-digest");
            Ok(stated.and_then(|text| text.parse().ok()))
        };
        self.unless_missing(&format!("manifest {tag}"), read)
            .map(Option::flatten)
    }

    /// Attempts until one succeeds; none where the registry does not have it.
    pub(crate) fn unless_missing<T>(
        &self,
        object: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Option<T>> {
        self.insist(object, || match attempt() {
            Err(failure) if failure.class == Class::NotFound => Ok(None),
            done => done.map(Some),
        })
    }
}
