//! Operating system and architecture, as the OCI image specification names them (Go's names).

use std::fmt;
use std::str::FromStr;

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v8`, `v7`, … where one matters.
    pub variant: Option<String>,
}

impl Platform {
    /// That of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    /// True where an image for `other` serves this platform.
    pub fn accepts(&self, other: &Self) -> bool {
        let variant =
            self.variant.is_none() || other.variant.is_none() || self.variant == other.variant;
        self.os == other.os && self.architecture == other.architecture && variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => {
                return Err(format!(
                    "{text:?} is no platform: expected OS/ARCHITECTURE, as in linux/amd64"
                ));
            }
        };
        if os.is_empty() || architecture.is_empty() {
            return Err(format!("{text:?} is no platform: a part is empty"));
        }
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant,
        })
    }
}
