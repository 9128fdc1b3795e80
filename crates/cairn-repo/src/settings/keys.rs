//! Which settings there are: name, meaning, default and bounds of each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_image::Platform;
use cairn_layer::Limits;
use cairn_model::{Driver, units};
use cairn_store::gc::Policy;
use cairn_view::Verify;

use crate::error::{Error, Result};
use crate::retention::{Retention, parse_rules};

const ENTRIES_MAX: u64 = 4_000_000;
const BYTES_MAX: u64 = 64 << 30;
const LOG_BYTES_MAX: u64 = 10_000_000;
const LOG_FILES: u32 = 3;

/// What a repository's file says; `None` where it says nothing and the default is in force.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// A pack is rewritten when more than this share of it is dead.
    pub gc_dead_share_max: Option<f64>,
    /// More small packs than this are merged.
    pub gc_small_packs_max: Option<u64>,
    /// A pack of fewer bytes is small.
    pub gc_small_pack_bytes: Option<u64>,
    /// Live bytes that one round of a collection copies.
    pub gc_round_bytes_max: Option<u64>,
    /// Which images a collection removes of itself.
    pub retention: Retention,
    /// Size at which a file of a container's log is rotated.
    pub log_bytes_max: Option<u64>,
    /// How many of these files are kept.
    pub log_files: Option<u32>,
    /// Seconds that a registry may send nothing.
    pub registry_timeout: Option<u32>,
    /// How often something of a registry is tried again.
    pub registry_retries: Option<u32>,
    /// How many connections bring blobs of a registry at once.
    pub registry_jobs: Option<u32>,
    /// Whether a push attaches what is needed to fetch single blobs.
    pub push_chunks: Option<bool>,
    /// Entries that an imported layer may have.
    pub entries_max: Option<u64>,
    /// Bytes that an imported layer may have.
    pub bytes_max: Option<u64>,
}

impl Settings {
    /// When a collection rewrites packs.
    pub fn gc(&self) -> Policy {
        let unsaid = Policy::default();
        let packs = self
            .gc_small_packs_max
            .and_then(|n| usize::try_from(n).ok());
        Policy {
            dead_share_max: self.gc_dead_share_max.unwrap_or(unsaid.dead_share_max),
            small_packs_max: packs.unwrap_or(unsaid.small_packs_max),
            small_pack_bytes: self.gc_small_pack_bytes.unwrap_or(unsaid.small_pack_bytes),
            round_bytes_max: self.gc_round_bytes_max.unwrap_or(unsaid.round_bytes_max),
            ..unsaid
        }
    }

    /// Size at which a file of a new container's log is rotated.
    pub fn log_bytes_max(&self) -> u64 {
        self.log_bytes_max.unwrap_or(LOG_BYTES_MAX)
    }

    /// How many of these files a new container keeps.
    pub fn log_files(&self) -> u32 {
        self.log_files.unwrap_or(LOG_FILES)
    }

    /// How registries are dealt with.
    pub fn registry(&self) -> cairn_registry::Options {
        let unsaid = cairn_registry::Options::default();
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        cairn_registry::Options {
            retries: self.registry_retries.unwrap_or(unsaid.retries),
            jobs: self.registry_jobs.map_or(unsaid.jobs, |jobs| jobs as usize),
            silence_max: self.registry_timeout.map_or(unsaid.silence_max, seconds),
            ..unsaid
        }
    }

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
#[non_exhaustive]
pub struct Setting {
    /// Its name; `import.max-bytes` is `max-bytes` in the table `import`.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    default: fn() -> String,
    take: fn(&mut Settings, &str) -> Result<(), String>,
}

/// All settings. A new one is a field of [`Settings`] and an entry here.
static ALL: [Setting; 21] = [
    Setting {
        name: "verify",
        about: "When cached files are verified: boot (once after each start of the machine), always or never",
        default: || "boot".into(),
        take: |settings, text| put(&mut settings.verify, text.parse()),
    },
    Setting {
        name: "driver",
        about: "Mount driver: auto (the best that works), erofs, erofs-loop, overlay, overlay-user, copy, or packs (in repositories made with --frames)",
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
    Setting {
        name: "log.max-size",
        about: "Size at which the file of a new container's log is rotated, for example 20M; 66K to 1000G",
        default: || LOG_BYTES_MAX.to_string(),
        take: |settings, text| {
            let bytes = units::bytes(text)?;
            put(
                &mut settings.log_bytes_max,
                between(Some(bytes), 66_000, 1_000_000_000_000),
            )
        },
    },
    Setting {
        name: "log.max-files",
        about: "Number of log files that a new container keeps, 1 to 100",
        default: || LOG_FILES.to_string(),
        take: |settings, text| {
            let files = between(text.parse().ok(), 1, 100)?;
            settings.log_files = u32::try_from(files).ok();
            Ok(())
        },
    },
    Setting {
        name: "registry.timeout",
        about: "Seconds that a registry may send nothing before the connection is given up, 1 to 3600",
        default: || {
            cairn_registry::Options::default()
                .silence_max
                .as_secs()
                .to_string()
        },
        take: |settings, text| {
            let seconds = between(text.parse().ok(), 1, 3600)?;
            settings.registry_timeout = u32::try_from(seconds).ok();
            Ok(())
        },
    },
    Setting {
        name: "registry.retries",
        about: "How often a failed request to a registry is tried again, 0 to 100",
        default: || cairn_registry::Options::default().retries.to_string(),
        take: |settings, text| {
            let retries = between(text.parse().ok(), 0, 100)?;
            settings.registry_retries = u32::try_from(retries).ok();
            Ok(())
        },
    },
    Setting {
        name: "registry.jobs",
        about: "Number of connections to a registry that layers are pulled or pushed over at once, 1 to 64",
        default: || cairn_registry::Options::default().jobs.to_string(),
        take: |settings, text| {
            let jobs = between(text.parse().ok(), 1, 64)?;
            settings.registry_jobs = u32::try_from(jobs).ok();
            Ok(())
        },
    },
    Setting {
        name: "push.chunks",
        about: "Whether push attaches chunks to images, so that others fetch only what they lack: yes or no",
        default: || "no".into(),
        take: |settings, text| put(&mut settings.push_chunks, yes_or_no(text)),
    },
    Setting {
        name: "gc.max-dead",
        about: "gc rewrites a pack of which more than this share is unreferenced, above 0% to 100%",
        default: || format!("{}%", Policy::default().dead_share_max * 100.0),
        take: |settings, text| put(&mut settings.gc_dead_share_max, units::percent(text)),
    },
    Setting {
        name: "gc.max-small-packs",
        about: "gc merges small packs when there are more than this, 1 to 1000000",
        default: || Policy::default().small_packs_max.to_string(),
        take: |settings, text| {
            put(
                &mut settings.gc_small_packs_max,
                between(text.parse().ok(), 1, 1_000_000),
            )
        },
    },
    Setting {
        name: "gc.small-pack-size",
        about: "Size below which a pack is small, for example 8M; 1K to 1G",
        default: || Policy::default().small_pack_bytes.to_string(),
        take: |settings, text| {
            let bytes = units::bytes(text)?;
            put(
                &mut settings.gc_small_pack_bytes,
                between(Some(bytes), 1_000, 1_000_000_000),
            )
        },
    },
    Setting {
        name: "gc.round-size",
        about: "Live data that gc copies before it frees the packs it came from, for example 500M; 1M to 1000G",
        default: || Policy::default().round_bytes_max.to_string(),
        take: |settings, text| {
            let bytes = units::bytes(text)?;
            put(
                &mut settings.gc_round_bytes_max,
                between(Some(bytes), 1_000_000, 1_000_000_000_000),
            )
        },
    },
    Setting {
        name: "gc.rules",
        about: "Which images gc removes, for example \"match=ci/*,keep-last=3,unused-for=14d; unnamed,remove\"; see \"cairn gc --help\"",
        default: String::new,
        take: |settings, text| {
            settings.retention.rules = parse_rules(text)?;
            Ok(())
        },
    },
    Setting {
        name: "gc.max-used",
        about: "Size of the repository above which gc removes least recently used views and images, for example 100G, or unlimited",
        default: || "unlimited".into(),
        take: |settings, text| {
            settings.retention.used_max = limit(text)?;
            Ok(())
        },
    },
    Setting {
        name: "gc.min-free",
        about: "Free disk space below which gc removes least recently used views and images, for example 10G, or none",
        default: || "none".into(),
        take: |settings, text| {
            settings.retention.free_min = match text {
                "none" => None,
                text => limit(text)?,
            };
            Ok(())
        },
    },
    Setting {
        name: "gc.reserved",
        about: "Size of the repository below which gc removes nothing to make room, for example 20G",
        default: || "0".into(),
        take: |settings, text| {
            settings.retention.reserved = match text {
                "0" => 0,
                text => units::bytes(text)?,
            };
            Ok(())
        },
    },
];

/// A size, or no limit.
fn limit(text: &str) -> Result<Option<u64>, String> {
    match text {
        "unlimited" => Ok(None),
        text => between(Some(units::bytes(text)?), 1_000_000, 1_000_000_000_000_000).map(Some),
    }
}

fn put<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *field = Some(value?);
    Ok(())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{text:?} is neither yes nor no")),
    }
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
