//! Operating system and architecture, as the OCI image specification names them (Go's names).

use std::fmt;
use std::str::FromStr;

/// `os/architecture[/variant]`, in the normal form: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are
/// `arm64`, `arm` is `arm/v7`, `amd64/v1` is `amd64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v3`, `v7`, … where it is not the usual one.
    pub variant: Option<String>,
}

/// How well an image fits; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8, i64);

impl Platform {
    /// A platform as documents write it, in the normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = variant.to_ascii_lowercase();
        // Numbers are written with and without the v.
        let variant = match variant.as_bytes().first() {
            Some(b'0'..=b'9') => format!("v{variant}"),
            _ => variant,
        };
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "amd64" | "x86_64" | "x86-64" => match variant.as_str() {
                "v1" => ("amd64".to_owned(), String::new()),
                _ => ("amd64".to_owned(), variant),
            },
            "arm64" | "aarch64" => match variant.as_str() {
                "v8" | "v8.0" => ("arm64".to_owned(), String::new()),
                _ => ("arm64".to_owned(), variant),
            },
            "arm" if variant.is_empty() => ("arm".to_owned(), "v7".to_owned()),
            "armhf" | "armv7l" => ("arm".to_owned(), "v7".to_owned()),
            "armel" | "armv6l" => ("arm".to_owned(), "v6".to_owned()),
            "386" | "i386" | "i686" | "x86" => ("386".to_owned(), variant),
            "powerpc64le" => ("ppc64le".to_owned(), variant),
            other => (other.to_owned(), variant),
        };
        Self {
            os,
            architecture,
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// That of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        };
        Self::new("linux", architecture, "")
    }

    /// The variant as a number that can be compared: `v8.2` is (8, 2), none is the usual one.
    fn level(&self) -> Option<(u32, u32)> {
        let Some(variant) = self.variant.as_deref() else {
            return Some(match self.architecture.as_str() {
                "arm64" => (8, 0),
                _ => (1, 0),
            });
        };
        let number = variant.strip_prefix('v')?;
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// How well an image for `other` serves this platform; `None` where it does not. Best is the variant
    /// asked for, then lower ones, the highest first. Where none was asked for, higher ones come last, the
    /// lowest first: they may run here.
    pub fn rank(&self, other: &Self) -> Option<Rank> {
        if other.architecture.is_empty() {
            return Some(Rank(3, 0));
        }
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        if self.variant == other.variant {
            return Some(Rank(0, 0));
        }
        let number = |(major, minor): (u32, u32)| (i64::from(major) << 32) + i64::from(minor);
        match (self.level(), other.level()) {
            (Some(wanted), Some(has)) if has <= wanted => Some(Rank(1, -number(has))),
            (Some(_), Some(has)) if self.variant.is_none() => Some(Rank(2, number(has))),
            (_, None) if self.variant.is_none() => Some(Rank(2, i64::MAX)),
            _ => None,
        }
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
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => {
                return Err(format!(
                    "{text:?} is not a platform: expected OS/ARCHITECTURE, as in linux/amd64"
                ));
            }
        };
        if os.is_empty() || architecture.is_empty() || variant.is_some_and(str::is_empty) {
            return Err(format!("{text:?} is not a platform: a part is empty"));
        }
        Ok(Self::new(os, architecture, variant.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_have_one_normal_form() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8.2", "linux/arm64/v8.2"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(platform(text).to_string(), normal);
        }
        assert!("linux".parse::<Platform>().is_err());
        assert!("linux/amd64/".parse::<Platform>().is_err());
    }

    #[test]
    fn the_best_variant_comes_first() {
        fn best_of<'a>(wanted: &str, of: &[&'a str]) -> Option<&'a str> {
            let wanted = platform(wanted);
            let rank = |text: &&'a str| Some((wanted.rank(&platform(text))?, *text));
            of.iter().filter_map(rank).min().map(|(_, text)| text)
        }
        let amd64 = [
            "linux/amd64/v3",
            "linux/amd64/v2",
            "linux/amd64",
            "linux/arm64",
        ];
        assert_eq!(best_of("linux/amd64", &amd64), Some("linux/amd64"));
        assert_eq!(best_of("linux/amd64/v3", &amd64), Some("linux/amd64/v3"));
        assert_eq!(best_of("linux/amd64/v4", &amd64), Some("linux/amd64/v3"));
        assert_eq!(best_of("linux/amd64", &amd64[..2]), Some("linux/amd64/v2"));
        assert_eq!(best_of("linux/amd64/v2", &amd64[..1]), None);
        let arm = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64/v8",
        ];
        assert_eq!(best_of("linux/arm", &arm), Some("linux/arm/v7"));
        assert_eq!(best_of("linux/arm/v6", &arm), Some("linux/arm/v6"));
        assert_eq!(best_of("linux/arm/v6", &arm[2..]), None);
        assert_eq!(best_of("linux/aarch64", &arm), Some("linux/arm64/v8"));
        assert_eq!(best_of("linux/s390x", &arm), None);
    }
}
