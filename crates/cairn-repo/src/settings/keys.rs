//! Which settings there are: name, meaning, default and bounds of each.

use std::path::{Path, PathBuf};

use cairn_image::Platform;
use cairn_layer::Limits;
use cairn_model::{Driver, units};
use cairn_view::Verify;

use crate::error::{Error, Result};

const ENTRIES_MAX: u64 = 4_000_000;
const BYTES_MAX: u64 = 64 << 30;

/// What a repository's file says; `None` where it says nothing and the default is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// When cached files are verified.
    pub verify: Option<Verify>,
    /// Driver for mounts.
    pub driver: Option<Driver>,
    /// Where the repository below this one is now.
    pub base_root: Option<PathBuf>,
    /// Which image of a multi-platform archive is imported.
    pub platform: Option<Platform>,
    /// What a collection cuts the cache down to.
    pub cache_bytes_max: Option<u64>,
    /// Entries that an imported layer may have.
    pub entries_max: Option<u64>,
    /// Bytes that an imported layer may have.
    pub bytes_max: Option<u64>,
}

impl Settings {
    /// What an imported layer may have.
    pub fn limits(&self) -> Limits {
        Limits {
            entries_max: self.entries_max.unwrap_or(ENTRIES_MAX),
            bytes_max: self.bytes_max.unwrap_or(BYTES_MAX),
            ..Limits::default()
        }
    }
}

/// One setting that there is.
pub struct Setting {
    /// Its name; `import.max-bytes` is `max-bytes` in the table `import`.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    default: fn() -> String,
    take: fn(&mut Settings, &str) -> Result<(), String>,
}

/// All settings. A new one is a field of [`Settings`] and an entry here.
static ALL: [Setting; 7] = [
    Setting {
        name: "verify",
        about: "When cached files are verified: boot (once after each start of the machine), always or never",
        default: || "boot".into(),
        take: |settings, text| put(&mut settings.verify, text.parse()),
    },
    Setting {
        name: "driver",
        about: "Mount driver: auto (the best that works), erofs, erofs-loop, overlay or copy",
        default: || "auto".into(),
        take: |settings, text| match text {
            "auto" => {
                settings.driver = None;
                Ok(())
            }
            text => put(&mut settings.driver, text.parse()),
        },
    },
    Setting {
        name: "base-root",
        about: "Repository to share content with: an absolute path, or remembered (where it was last)",
        default: || "remembered".into(),
        take: |settings, text| {
            settings.base_root = match text {
                "remembered" => None,
                text => Some(absolute(text)?),
            };
            Ok(())
        },
    },
    Setting {
        name: "platform",
        about: "Platform to import from a multi-platform image, as OS/ARCHITECTURE",
        default: || Platform::host().to_string(),
        take: |settings, text| put(&mut settings.platform, text.parse()),
    },
    Setting {
        name: "import.max-entries",
        about: "Largest number of entries allowed in an imported layer, 1 to 1000000000",
        default: || ENTRIES_MAX.to_string(),
        take: |settings, text| {
            put(
                &mut settings.entries_max,
                between(text.parse().ok(), 1, 1_000_000_000),
            )
        },
    },
    Setting {
        name: "import.max-bytes",
        about: "Largest uncompressed size allowed for an imported layer, for example 20G; 1M to 1000000G",
        default: || BYTES_MAX.to_string(),
        take: |settings, text| {
            let bytes = units::bytes(text)?;
            put(
                &mut settings.bytes_max,
                between(Some(bytes), 1_000_000, 1_000_000_000_000_000),
            )
        },
    },
    Setting {
        name: "cache.max-bytes",
        about: "Size to which gc cuts down the cache, for example 20G, 0 to keep only what is in use, or unlimited",
        default: || "unlimited".into(),
        take: |settings, text| {
            settings.cache_bytes_max = match text {
                "unlimited" => None,
                "0" => Some(0),
                text => Some(between(
                    Some(units::bytes(text)?),
                    1_000,
                    1_000_000_000_000_000,
                )?),
            };
            Ok(())
        },
    },
];

fn put<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *field = Some(value?);
    Ok(())
}

fn between(value: Option<u64>, min: u64, max: u64) -> Result<u64, String> {
    value
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("must be a number from {min} to {max}"))
}

/// The directory a command is started in is no part of a setting.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Err(format!("{text:?} is not an absolute path")),
    }
}

impl Setting {
    /// All that there are.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The one of this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        Self::find(name).map_err(Error::Setting)
    }

    /// The value in force where the file says nothing.
    pub fn default(&self) -> String {
        (self.default)()
    }

    /// The one of this name, or words that lead to it.
    pub(super) fn find(name: &str) -> Result<&'static Self, String> {
        if let Some(known) = ALL.iter().find(|setting| setting.name == name) {
            return Ok(known);
        }
        let likeness = |setting: &&Self| (strsim::jaro_winkler(setting.name, name) * 1e6) as u64;
        let nearest = ALL.iter().max_by_key(likeness).map(|setting| setting.name);
        Err(format!(
            "unknown setting {name:?}; did you mean {:?}? \"cairn config list\" shows all of them",
            nearest.unwrap_or_default()
        ))
    }

    /// Puts a value from the file or the command line among the others, if it is in bounds.
    pub(super) fn take(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        (self.take)(settings, text).map_err(|why| format!("{}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_can_be_set() {
        for setting in Setting::all() {
            let mut settings = Settings::default();
            assert_eq!(
                setting.take(&mut settings, &setting.default()),
                Ok(()),
                "{}",
                setting.name
            );
        }
        let (said, unsaid) = (
            Settings {
                entries_max: Some(ENTRIES_MAX),
                bytes_max: Some(BYTES_MAX),
                ..Settings::default()
            },
            Settings::default(),
        );
        assert_eq!(said.limits().bytes_max, unsaid.limits().bytes_max);
        assert_eq!(said.limits().entries_max, unsaid.limits().entries_max);
    }

    #[test]
    fn a_name_that_is_nearly_right_leads_to_the_right_one() {
        for (wrong, right) in [
            ("verfy", "verify"),
            ("max-bytes", "import.max-bytes"),
            ("import.maxentries", "import.max-entries"),
            ("Driver", "driver"),
        ] {
            let words = Setting::find(wrong).err().unwrap();
            assert!(words.contains(&format!("{right:?}?")), "{words}");
        }
        assert!(Setting::find("").is_err());
    }
}
