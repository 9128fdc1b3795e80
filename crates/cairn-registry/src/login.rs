//! Whether a registry takes somebody's credentials.

use crate::client::{Client, Options};
use crate::error::{Error, Failure, Result};
use crate::http::Question;
use crate::location::Location;
use crate::registries::Registries;

/// A registry to log in to: `HOST[:PORT]`, or a part of its repositories (`HOST/NAMESPACE`), as it is in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    key: String,
    location: Location,
}

impl Account {
    /// That of a text, with or without a scheme.
    ///
    /// # Errors
    /// Where it is no registry.
    pub fn of(text: &str) -> Result<Self> {
        let key = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or(text)
            .trim_end_matches('/');
        let key = match key {
            "docker.io" | "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io" => {
                "docker.io"
            }
            key => key,
        };
        let location: Location = format!("{key}/x").parse()?;
        let host = key.split('/').next().unwrap_or_default();
        match location.registry() == host {
            true => Ok(Self {
                key: key.to_owned(),
                location,
            }),
            false => Err(Error::Configuration {
                file: text.to_owned(),
                why: "it is not the host of a registry, as in registry.example or localhost:5000"
                    .to_owned(),
            }),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.key
    }

    /// What files and helpers call it.
    pub(crate) fn key(&self) -> &str {
        match self.key.as_str() {
            // Docker looks for this and no other; podman takes it for the same.
            "docker.io" => "https://index.docker.io/v1/",
            key => key,
        }
    }

    /// A repository there, to find credentials by.
    pub fn location(&self) -> &Location {
        &self.location
    }
}

/// Asks the registry whether it takes the credentials of `options`.
///
/// # Errors
/// Where it does not, or cannot be asked.
pub fn verify(account: &Account, registries: &Registries, options: Options) -> Result<()> {
    let client = Client::at(&registries.target(&account.location)?, options).for_login();
    client.insist("access", || {
        let address = client.base().parse().map_err(Failure::wrong)?;
        client.get(address, &mut Question::get).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_host_or_namespace() {
        let known = |text: &str| {
            Account::of(text).map(|a| (a.key().to_owned(), a.location.registry().to_owned()))
        };
        for (text, key, registry) in [
            ("localhost:5000", "localhost:5000", "localhost:5000"),
            ("https://host.example/", "host.example", "host.example"),
            ("host.example/team", "host.example/team", "host.example"),
            ("docker.io", "https://index.docker.io/v1/", "docker.io"),
            (
                "https://index.docker.io/v1/",
                "https://index.docker.io/v1/",
                "docker.io",
            ),
        ] {
            let expected = (key.to_owned(), registry.to_owned());
            assert_eq!(known(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "team", "a b.example", "host.example/Team", "://"] {
            assert!(known(bad).is_err(), "{bad}");
        }
    }
}
